package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Aim: whatever a power cut leaves of unsynced blocks and names, every
// acknowledged record, cursor and session is there afterwards, and nothing that
// nobody sent. Method: one node's storage, Raft included, over file systems in
// memory; a random workload; clones of both file systems as a power cut at that
// instant leaves them; each clone is opened and compared with what had been
// acknowledged before the cut. Some clones become the next life of the node, so
// that cuts hit recoveries, too.
func TestPowerCuts(t *testing.T) {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("%d cuts, -seed %d", *cuts, s)
	workers := 2
	var wg sync.WaitGroup
	for w := range workers {
		n := *cuts / workers
		if w == 0 {
			n += *cuts % workers
		}
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(s, uint64(w)))
			for done := 0; done < n && !t.Failed(); {
				done += cutLives(t, rng, n-done, func(f vfs.FS) vfs.FS { return f })
			}
		})
	}
	wg.Wait()
}

// reporter is what a check tells its findings to: a test, or one that wants to
// see that there are findings.
type reporter interface {
	Errorf(format string, args ...any)
	Failed() bool
}

// livesMax bounds how long one history grows, and so how long a check takes.
const livesMax = 6

// cutLives runs one history through some lives and returns how many cuts it
// checked.
func cutLives(t reporter, rng *rand.Rand, cutsMax int, wrap func(vfs.FS) vfs.FS) (checked int) {
	h := newHistory()
	files, indexFiles := vfs.NewMem(), pebblevfs.NewCrashableMem()
	for life := 0; life < livesMax && checked < cutsMax; life++ {
		st, err := openForTest(wrap(files), indexFiles, rng)
		if err != nil {
			t.Errorf("life %d: open: %v", life, err)
			return checked
		}
		if !h.check(t, st, fmt.Sprintf("life %d", life)) {
			return checked
		}
		next, n := h.live(t, st, files, indexFiles, rng, min(4, cutsMax-checked))
		checked += n
		if err := st.close(); err != nil {
			t.Errorf("life %d: close: %v", life, err)
		}
		if t.Failed() {
			return checked
		}
		files, indexFiles = next.files, next.indexFiles
		h = next.history
	}
	return checked
}

func openForTest(files vfs.FS, indexFiles pebblevfs.FS, rng *rand.Rand) (*storage, error) {
	o := &Options{
		Dir: "data", NodeID: "n1", ClusterID: "test", Partitions: 2, Files: files, IndexFiles: indexFiles,
		SegmentBytes: segment.SegmentBytesMin, FlushDelay: time.Duration(1+rng.IntN(20)) * time.Millisecond,
	}
	o.EnsureDefaults()
	st, err := openStorage(o, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	if err := st.awaitLeading(10 * time.Second); err != nil {
		return nil, errors.Join(err, st.close())
	}
	return st, nil
}

// history is what was sent, and what of it was acknowledged. A record's value is
// made from its id, so that ids are all there is to remember.
type history struct {
	mu      sync.Mutex
	sent    []uint8                            // by id: index of its channel
	acked   [cutChannels]map[record.Offset]int // id
	session map[string][2]int                  // by name: highest version acknowledged, and sent
	floor   [cutChannels][2]record.Offset
	trimmed [cutChannels][2]record.Offset
	terms   []uint64 // by partition: the term that was led; never led again
}

// value is the record with the given id: the id, and bytes whose number and
// content follow from it.
func value(id int) []byte {
	v := binary.LittleEndian.AppendUint64(nil, uint64(id))
	n := id * 7919 % 1500
	return append(v, bytes.Repeat([]byte{byte(id)}, n)...)
}

func newHistory() *history {
	h := &history{session: map[string][2]int{}}
	for i := range h.acked {
		h.acked[i] = map[record.Offset]int{}
	}
	return h
}

// clone is taken before the file systems are cloned: what it says is
// acknowledged was so before the cut.
func (h *history) clone() *history {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &history{session: maps.Clone(h.session), floor: h.floor, trimmed: h.trimmed}
	for i := range h.acked {
		c.acked[i] = maps.Clone(h.acked[i])
	}
	return c
}

// sentNow adds all that was sent up to now: after the file systems are cloned.
func (h *history) sentNow(now *history) {
	now.mu.Lock()
	defer now.mu.Unlock()
	h.sent = slices.Clone(now.sent)
	for k, v := range now.session {
		h.session[k] = [2]int{h.session[k][0], v[1]}
	}
	for i := range h.floor {
		h.floor[i][1] = now.floor[i][1]
		h.trimmed[i][1] = now.trimmed[i][1]
	}
}

type afterCut struct {
	files      *vfs.MemFS
	indexFiles *pebblevfs.MemFS
	history    *history
}

// live runs a workload over the storage, cuts the power n times, checks each
// clone, and returns the last one.
func (h *history) live(t reporter, st *storage, files *vfs.MemFS, indexFiles *pebblevfs.MemFS, rng *rand.Rand, n int) (last afterCut, checked int) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wrng := rand.New(rand.NewPCG(rng.Uint64(), rng.Uint64()))
		wg.Go(func() { h.work(t, st, wrng, stop) })
	}
	defer wg.Wait()
	defer close(stop)
	for range max(n, 1) {
		time.Sleep(time.Duration(rng.IntN(6000)) * time.Microsecond)
		share := []float64{0, 0, 0.1, 0.5, 0.9, 1}[rng.IntN(6)]
		c := h.clone()
		for _, sh := range st.shards {
			c.terms = append(c.terms, sh.group.Status().Term)
		}
		// The index first: it may be older than the segments, never newer.
		cut := afterCut{
			indexFiles: indexFiles.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: int(share * 100), RNG: rand.New(rand.NewPCG(rng.Uint64(), 1))}),
			files:      files.CrashClone(vfs.CrashOptions{UnsyncedShare: share, TearBytes: []int{0, 512}[rng.IntN(2)], Rand: rand.New(rand.NewPCG(rng.Uint64(), 2))}),
			history:    c,
		}
		c.sentNow(h)
		// The check must not change what the next life starts from.
		probe := cut.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 1})
		probeIndex := cut.indexFiles.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(1, 1))})
		again, err := openForTest(probe, probeIndex, rng)
		if err != nil {
			t.Errorf("open after a cut that kept %v of unsynced blocks: %v", share, err)
			return cut, checked
		}
		c.check(t, again, fmt.Sprintf("after a cut that kept %v of unsynced blocks", share))
		if err := again.close(); err != nil {
			t.Errorf("close after a cut: %v", err)
		}
		checked++
		last = cut
	}
	return last, checked
}

const cutChannels = 4

func channelName(i int) string { return []string{"a", "b.c", "d", "e.f.g"}[i] }

// work publishes, moves a cursor, writes sessions and trims until stop.
func (h *history) work(t reporter, st *storage, rng *rand.Rand, stop <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	window := make(chan struct{}, 1+rng.IntN(12))
	for {
		select {
		case <-stop:
			for range cap(window) {
				window <- struct{}{}
			}
			return
		case window <- struct{}{}:
		}
		done := func() { <-window }
		// What counts is the number of cuts, not of records between them.
		time.Sleep(time.Duration(rng.IntN(200)) * time.Microsecond)
		switch rng.IntN(20) {
		case 0:
			h.putSession(t, st, rng, done)
		case 1:
			h.moveCursor(t, st, rng, done)
		case 2:
			if rng.IntN(10) == 0 {
				h.trim(ctx, t, st, rng)
			}
			done()
		default:
			h.publish(t, st, rng, done)
		}
	}
}

func (h *history) publish(t reporter, st *storage, rng *rand.Rand, done func()) {
	ch := rng.IntN(cutChannels)
	c, err := st.set.Ensure(channelName(ch))
	if err != nil {
		t.Errorf("ensure: %v", err)
		done()
		return
	}
	n := 1 + rng.IntN(6)
	h.mu.Lock()
	first := len(h.sent)
	for range n {
		h.sent = append(h.sent, uint8(ch))
	}
	h.mu.Unlock()
	a := c.NewAppend()
	for i := range n {
		if err := a.AddValue(value(first + i)); err != nil {
			t.Errorf("add: %v", err)
		}
	}
	a.Done = func(a *partition.Append) {
		if a.Err == nil {
			h.mu.Lock()
			for i := range n {
				h.acked[ch][a.Base+record.Offset(i)] = first + i
			}
			h.mu.Unlock()
		} else {
			t.Errorf("publish: %v", a.Err)
		}
		done()
	}
	c.Append(a)
}

func (h *history) putSession(t reporter, st *storage, rng *rand.Rand, done func()) {
	name := fmt.Sprintf("client-%d", rng.IntN(3))
	h.mu.Lock()
	v := h.session[name]
	v[1]++
	h.session[name] = v
	// Under the lock, so that versions are proposed in order.
	st.set.PutSession(1, name, fmt.Appendf(nil, "%d", v[1]), func(err error) {
		if err != nil {
			t.Errorf("put session: %v", err)
		}
		h.mu.Lock()
		now := h.session[name]
		now[0] = max(now[0], v[1])
		h.session[name] = now
		h.mu.Unlock()
		done()
	})
	h.mu.Unlock()
}

func (h *history) moveCursor(t reporter, st *storage, rng *rand.Rand, done func()) {
	ch := rng.IntN(cutChannels)
	c, ok := st.set.Channel(channelName(ch))
	if !ok {
		done()
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &h.floor[ch]
	f[1] += record.Offset(rng.IntN(5))
	to := f[1]
	c.PutCursor("durable", []byte("meta"), cursor.New(to+1), func(err error) {
		if err != nil {
			t.Errorf("put cursor: %v", err)
		}
		h.mu.Lock()
		f[0] = max(f[0], to)
		h.mu.Unlock()
		done()
	})
}

func (h *history) trim(ctx context.Context, t reporter, st *storage, rng *rand.Rand) {
	ch := rng.IntN(cutChannels)
	c, ok := st.set.Channel(channelName(ch))
	if !ok {
		return
	}
	first := min(c.First()+record.Offset(rng.IntN(20)), c.Last()+1)
	h.mu.Lock()
	h.trimmed[ch][1] = max(h.trimmed[ch][1], first)
	h.mu.Unlock()
	if err := c.Trim(ctx, first); err != nil {
		t.Errorf("trim: %v", err)
	}
	h.mu.Lock()
	h.trimmed[ch][0] = max(h.trimmed[ch][0], first)
	h.mu.Unlock()
}

// check compares what the storage holds with what was acknowledged and sent.
func (h *history) check(t reporter, st *storage, when string) bool {
	ok := true
	fail := func(format string, args ...any) {
		ok = false
		t.Errorf("%s: %s", when, fmt.Sprintf(format, args...))
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, term := range h.terms {
		if now := st.shards[i].group.Status().Term; now <= term {
			fail("partition %d leads in term %d, and did so in %d before: its vote is lost", i, now, term)
		}
	}
	for ch := range cutChannels {
		name := channelName(ch)
		c, exists := st.set.Channel(name)
		if !exists {
			if len(h.acked[ch]) > 0 {
				fail("channel %s with %d acknowledged records is gone", name, len(h.acked[ch]))
			}
			continue
		}
		found, err := readAll(c)
		if err != nil {
			fail("read %s: %v", name, err)
			continue
		}
		if first, tr := c.First(), h.trimmed[ch]; first < tr[0] || first > max(tr[1], 1) {
			fail("channel %s begins at %d, trimmed to %d, asked for %d", name, first, tr[0], tr[1])
		}
		seen := map[int]bool{}
		for off, id := range found {
			if id >= len(h.sent) || int(h.sent[id]) != ch {
				fail("channel %s offset %d holds record %d, which nobody sent there", name, off, id)
			}
			if seen[id] {
				fail("channel %s holds record %d twice", name, id)
			}
			seen[id] = true
		}
		for off, id := range h.acked[ch] {
			if got, there := found[off]; off >= c.First() && (!there || got != id) {
				fail("channel %s offset %d: acknowledged %d, found %d (%t); last is %d", name, off, id, got, there, c.Last())
			}
		}
		if f := h.floor[ch]; f[0] > 0 {
			k, there := c.Cursor("durable")
			if !there || k.Place.Floor() < f[0] {
				fail("channel %s: cursor at %v (%t), acknowledged %d", name, k.Place, there, f[0])
			}
		}
	}
	for name, v := range h.session {
		value, there := st.set.Session(1, name)
		var got int
		if there {
			if _, err := fmt.Sscanf(string(value), "%d", &got); err != nil {
				fail("session %s is %q", name, value)
			}
		}
		if got < v[0] || got > v[1] {
			fail("session %s has version %d, acknowledged %d, sent %d", name, got, v[0], v[1])
		}
	}
	return ok
}

// readAll returns the ids of all records by offset, and an error when offsets
// have a gap or a value is not what its id makes it.
func readAll(c *partition.Channel) (map[record.Offset]int, error) {
	found := map[record.Offset]int{}
	r := c.NewReader(1)
	defer r.Close()
	var b record.Batch
	var rec record.Record
	next := c.First()
	for {
		first, ok, err := r.Next(&b)
		if err != nil || !ok {
			if err == nil && next != c.Last()+1 {
				err = fmt.Errorf("read up to %d, last is %d", next-1, c.Last())
			}
			return found, err
		}
		for k := first; k < int(b.Count); k++ {
			if err := b.Record(k, &rec); err != nil {
				return nil, err
			}
			if rec.Offset != next {
				return nil, fmt.Errorf("offset %d follows %d", rec.Offset, next-1)
			}
			next++
			if len(rec.Value) < 8 {
				return nil, fmt.Errorf("offset %d holds %d bytes", rec.Offset, len(rec.Value))
			}
			id := int(binary.LittleEndian.Uint64(rec.Value))
			if !bytes.Equal(rec.Value, value(id)) {
				return nil, fmt.Errorf("offset %d does not hold what record %d was", rec.Offset, id)
			}
			found[rec.Offset] = id
		}
	}
}

// Aim: the index is derived: deleted, it comes back equal. Method: a workload
// with rolls, trims, cursors and sessions; close; keep the index's dump; remove
// the index; open; compare dumps.
func TestIndexRebuild(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	files, indexFiles := vfs.NewMem(), pebblevfs.NewMem()
	h := newHistory()
	st, err := openForTest(files, indexFiles, rng)
	require.NoError(t, err)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { h.work(t, st, rng, stop) })
	require.Eventually(t, func() bool { return len(st.shards[0].log.Segments()) > 4 }, 30*time.Second, time.Millisecond)
	close(stop)
	wg.Wait()
	require.True(t, h.check(t, st, "before"))
	require.NoError(t, st.close())
	before := dumpIndex(t, files, indexFiles)
	require.Contains(t, before, "extent")

	require.NoError(t, indexFiles.RemoveAll(filepath.Join("data", "index")))
	st, err = openForTest(files, indexFiles, rng)
	require.NoError(t, err)
	require.True(t, h.check(t, st, "after"))
	require.NoError(t, st.close())
	require.Equal(t, before, dumpIndex(t, files, indexFiles))
}
