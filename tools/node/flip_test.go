package node

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// closedNode is the directory of a node that was closed, with what it holds.
type closedNode struct {
	files *vfs.MemFS
	index pebblevfs.FS
	h     *history
}

func newClosedNode(t *testing.T) *closedNode {
	t.Helper()
	d, h := newDisk(), newHistory()
	for range 2 { // the second life has tables in the index, and a log
		st, err := d.storage()
		require.NoError(t, err)
		h.fill(t, st, 2+len(st.shards[0].log.Segments()))
		for _, sh := range st.shards {
			require.NoError(t, sh.group.Snapshot())
		}
		require.NoError(t, h.store(st, 1, 3))
		require.NoError(t, st.close())
	}
	return &closedNode{files: d.files, index: d.index, h: h}
}

// class tells what kind of file a path is.
func class(name string) string {
	base := filepath.Base(name)
	switch {
	case strings.HasSuffix(base, ".seg"):
		return "segment"
	case strings.HasPrefix(base, "MANIFEST") && strings.Contains(name, "partition-"):
		return "manifest"
	case strings.HasSuffix(base, ".vote"):
		return "vote"
	case strings.Contains(name, "raft"):
		return "snapshot"
	}
	return base
}

// Aim: no flipped bit in any file of a closed node changes a record that is
// served, deletes anything, or loses an acknowledged record without a word.
// Method: flip random bits of each class of files (of small files, one in every
// byte); the node opens and serves exactly what was stored, or the reader is
// told, or the node refuses to start, names the file, and has left every segment
// as it was.
func TestBitFlips(t *testing.T) {
	n := newClosedNode(t)
	flips := 120
	if *cuts >= 1000 {
		flips = 1000
	}
	byClass := map[string][]string{}
	for _, name := range walk(t, n.files, "data") {
		c := class(name)
		byClass[c] = append(byClass[c], name)
	}
	delete(byClass, "LOCK") // says nothing
	require.Len(t, byClass, 5, "%v", byClass)
	for c, names := range byClass {
		t.Run(c, func(t *testing.T) {
			var all tally
			var work sync.WaitGroup
			for w := range 2 {
				work.Go(func() {
					rng := rand.New(rand.NewPCG(uint64(len(c)), uint64(w)))
					for i := w; i < flips; i += 2 {
						name := names[rng.IntN(len(names))]
						info, err := n.files.Stat(name)
						if err != nil || info.SizeBytes == 0 {
							continue
						}
						at := rng.Int64N(info.SizeBytes)
						if info.SizeBytes < int64(flips) {
							at = int64(i) % info.SizeBytes
						}
						bit := rng.IntN(8)
						files := n.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 1})
						if err := flip(files, name, at, bit); err != nil {
							t.Error(err)
							return
						}
						n.judge(t, &all, fmt.Sprintf("bit %d of byte %d of %s", bit, at, name), name, files, cloneIndex(t, n.index))
					}
				})
			}
			work.Wait()
			t.Log(all.String())
		})
	}
}

// Aim: as above for the index, which is derived: whatever happens to it, all is
// served. Method: flip bits of its files, cut them short, remove them.
func TestIndexDamage(t *testing.T) {
	n := newClosedNode(t)
	names, err := n.index.List("data/index")
	require.NoError(t, err)
	flips := 40
	if *cuts >= 1000 {
		flips = 1000
	}
	for _, name := range names {
		if name == "LOCK" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			full := path.Join("data/index", name)
			data := readIndexFile(t, n.index, full)
			rng := rand.New(rand.NewPCG(1, uint64(len(name))))
			var all tally
			for i := range flips {
				changed := append([]byte(nil), data...)
				when := "removed"
				switch {
				case i == 0:
					changed = nil
				case i < 4:
					changed = changed[:rng.IntN(len(data)+1)]
					when = fmt.Sprintf("cut to %d bytes", len(changed))
				case len(data) > 0:
					at := rng.IntN(len(data))
					changed[at] ^= 1 << rng.IntN(8)
					when = fmt.Sprintf("byte %d flipped", at)
				}
				index := cloneIndex(t, n.index)
				require.NoError(t, index.Remove(full))
				if i > 0 {
					f, err := index.Create(full, pebblevfs.WriteCategoryUnspecified)
					require.NoError(t, err)
					_, err = f.Write(changed)
					require.NoError(t, err)
					require.NoError(t, f.Close())
				}
				n.judge(t, &all, name+" "+when, name, n.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 1}), index)
			}
			t.Log(all.String())
			require.Zero(t, all.refused+all.told, "an index is no reason to serve nothing")
		})
	}
}

func readIndexFile(t *testing.T, files pebblevfs.FS, name string) []byte {
	t.Helper()
	f, err := files.Open(name)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	return data
}

// Aim: a file that is gone is never taken for one that never was. Method: remove
// each file of a closed node in turn.
func TestLostFiles(t *testing.T) {
	n := newClosedNode(t)
	var all tally
	for _, name := range walk(t, n.files, "data") {
		files := n.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 1})
		require.NoError(t, files.Remove(name))
		n.judge(t, &all, name+" removed", "", files, cloneIndex(t, n.index))
	}
	for _, dir := range []string{"data/partition-0000", "data/partition-0001", "data/raft"} {
		files := n.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 1})
		for _, name := range walk(t, files, dir) {
			require.NoError(t, files.Remove(name))
		}
		require.NoError(t, files.Remove(dir))
		n.judge(t, &all, dir+" removed", "", files, cloneIndex(t, n.index))
		n.judge(t, &all, dir+" and the index removed", "", files, pebblevfs.NewMem())
	}
	t.Log(all.String())
}

// Aim: a write that the disk lost is found. Method: drop one write of a history,
// a different one each time, and go on; after a clean close the node opens and
// serves exactly what was stored, or somebody is told.
func TestLostWrites(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWriteVecAt, vfs.OpWriteAt} {
		t.Run(op.String(), func(t *testing.T) {
			var all tally
			for k := 0; ; k++ {
				d, h := newDisk(), newHistory()
				rule := d.fault.Inject(vfs.Rule{Op: op, After: k, Count: 1, Skip: true})
				st, err := d.storage()
				if err != nil {
					all.refused++ // noticed at once
					continue
				}
				h.fill(&recorder{}, st, 2)
				_ = h.store(st, 1, 3)
				_ = st.close() // may have noticed, too
				if rule.Hits() == 0 {
					break
				}
				n := &closedNode{files: d.files, index: d.index, h: h}
				n.judge(t, &all, fmt.Sprintf("write %d lost", k), "", d.files, d.index)
			}
			t.Log(all.String())
		})
	}
}

// tally counts how damage was met.
type tally struct {
	mu                    sync.Mutex
	refused, told, served int // guarded by mu
}

func (a *tally) String() string {
	return fmt.Sprintf("%d refused at start, %d told to readers, %d served as stored", a.refused, a.told, a.served)
}

func (a *tally) add(n *int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	*n++
}

func flip(files *vfs.MemFS, name string, at int64, bit int) error {
	f, err := files.OpenReadWrite(name)
	if err != nil {
		return err
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1 << bit
	if _, err := f.WriteAt(b[:], at); err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// judge opens a damaged directory.
func (n *closedNode) judge(t *testing.T, all *tally, what, file string, files *vfs.MemFS, index pebblevfs.FS) {
	t.Helper()
	before := segments(t, files)
	st, err := diskOf(files, index).storage()
	if err != nil {
		all.add(&all.refused)
		if file != "" && !strings.Contains(err.Error(), filepath.Base(file)) {
			t.Errorf("%s: the error does not name the file: %v", what, err)
		}
		after := segments(t, files)
		for name, data := range before {
			if !keeps(after[name], data) {
				t.Errorf("%s: the node refused to start (%v) and changed %s", what, err, name)
			}
		}
		return
	}
	defer func() { _ = st.close() }()
	if told := n.compare(t, st, what); told {
		all.add(&all.told)
		return
	}
	all.add(&all.served)
	n.h.check(t, st, what)
}

// segments are the files that hold records, wherever they were put aside to.
func segments(t *testing.T, files *vfs.MemFS) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, data := range contents(t, files, "data") {
		if class(name) == "segment" && strings.Trim(data[min(len(data), 4096):], "\x00") != "" {
			all[filepath.Base(filepath.Dir(strings.Replace(name, "orphans/", "", 1)))+filepath.Base(name)] = data
		}
	}
	return all
}

// keeps tells whether whatever was in a file is there still. A partition that
// is well may have been written to before another one refused.
func keeps(after, before string) bool {
	if len(after) != len(before) {
		return false
	}
	for i := range len(before) {
		if before[i] != 0 && after[i] != before[i] {
			return false
		}
	}
	return true
}

// compare reads all that was acknowledged, and reports whether some reader was
// told of damage.
func (n *closedNode) compare(t *testing.T, st *storage, what string) (told bool) {
	t.Helper()
	for ch, acked := range n.h.acked {
		c, ok := st.set.Channel(channelName(ch))
		if !ok {
			if len(acked) > 0 {
				t.Errorf("%s: channel %s is gone without a word", what, channelName(ch))
			}
			continue
		}
		found, err := readAll(c)
		if err != nil {
			told = true
			if !errors.Is(err, partition.ErrCorrupt) {
				t.Errorf("%s: a reader is told %v", what, err)
			}
		}
		last := record.Offset(0)
		for off, id := range acked {
			last = max(last, off)
			if got, there := found[off]; err == nil && !there || there && got != id {
				t.Errorf("%s: channel %s offset %d holds %d (%t), acknowledged was %d", what, channelName(ch), off, got, there, id)
				return told
			}
		}
		if c.Last() < last {
			t.Errorf("%s: channel %s ends at %d, acknowledged was %d", what, channelName(ch), c.Last(), last)
		}
	}
	return told
}
