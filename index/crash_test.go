package index_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

// entry writes what entry i of a partition's log does: it makes channel i, moves a cursor to i and puts an extent whose
// last offset is i; with applied = i all in one batch.
func entry(p *index.Partition, i uint64, padding int) error {
	b := p.NewBatch()
	defer b.Discard()
	b.PutChannel(record.ChannelID(i), make([]byte, padding))
	b.PutCursor(1, "c", binary.LittleEndian.AppendUint64(nil, i))
	b.PutExtent(1, record.SegmentID(i), extent(record.Offset(i), record.Offset(i), int64(i), int64(i)))
	b.SetApplied(i, i/10)
	return b.Commit()
}

// checkEntries checks that the effects in a partition are those of the entries up to applied, which it returns.
func checkEntries(t *testing.T, p *index.Partition) uint64 {
	t.Helper()
	applied, term, err := p.Applied()
	require.NoError(t, err)
	require.Equal(t, applied/10, term)
	next := uint64(1)
	require.NoError(t, p.Channels(func(ch record.ChannelID, _ []byte) error {
		require.EqualValues(t, next, ch)
		next++
		return nil
	}))
	require.Equal(t, applied+1, next)
	count := uint64(0)
	require.NoError(t, p.Extents(1, func(seg record.SegmentID, e index.Extent) error {
		count++
		require.EqualValues(t, count, seg)
		require.EqualValues(t, count, e.Last)
		return nil
	}))
	require.Equal(t, applied, count)
	cursor := uint64(0)
	require.NoError(t, p.Cursors(1, func(_ string, value []byte) error {
		cursor = binary.LittleEndian.Uint64(value)
		return nil
	}))
	require.Equal(t, applied, cursor)
	return applied
}

// TestCrashKeepsAppliedAndEffectsTogether cuts the power of a file system that keeps any part of what was not synced, again
// and again over one history that flushes often, reopens, and checks that the effects are exactly those of the entries up
// to applied, then goes on from there.
func TestCrashKeepsAppliedAndEffectsTogether(t *testing.T) {
	var written, damaged int
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 7))
		fs := vfs.NewCrashableMem()
		for range 4 {
			x, err := index.Open(options(fs))
			if err != nil {
				// A log that was never synced may look damaged; that is said, and rebuilt.
				require.ErrorIs(t, err, index.ErrDamaged)
				damaged++
				require.NoError(t, index.Destroy(fs, "index"))
				x = open(t, fs)
			}
			var last [3]uint64
			for id := range last {
				last[id] = checkEntries(t, x.Partition(uint32(id)))
			}
			for range r.IntN(600) {
				id := r.IntN(len(last))
				last[id]++
				written++
				require.NoError(t, entry(x.Partition(uint32(id)), last[id], r.IntN(20_000)))
				if r.IntN(200) == 0 {
					require.NoError(t, x.Sync())
				}
			}
			clone := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 30, 90, 100}[r.IntN(4)], RNG: r})
			require.NoError(t, x.Close())
			fs = clone
		}
		x, err := index.Open(options(fs))
		if err != nil {
			require.ErrorIs(t, err, index.ErrDamaged)
			damaged++
			continue
		}
		for id := range uint32(3) {
			checkEntries(t, x.Partition(id))
		}
		require.NoError(t, x.Close())
	}
	t.Logf("entries written %d, found damaged %d of 80", written, damaged)
	require.LessOrEqual(t, damaged, 8, "a power cut must rarely cost a rebuild")
}

// TestSyncSurvivesPowerCut checks that what was committed before Sync is there after a crash that drops all that was not
// synced, and that without Sync it may be gone.
func TestSyncSurvivesPowerCut(t *testing.T) {
	fs := vfs.NewCrashableMem()
	x := open(t, fs)
	for i := range uint64(10) {
		require.NoError(t, entry(x.Partition(1), i+1, 10))
	}
	require.NoError(t, x.Sync())
	require.NoError(t, entry(x.Partition(1), 11, 10))
	clone := fs.CrashClone(vfs.CrashCloneCfg{})
	require.Equal(t, uint64(11), checkEntries(t, x.Partition(1)))
	require.NoError(t, x.Close())
	require.Equal(t, uint64(10), checkEntries(t, open(t, clone).Partition(1)))
	require.Equal(t, uint64(11), checkEntries(t, open(t, fs).Partition(1)), "closing loses nothing")
}

// TestEveryFlippedByteIsFound damages one byte at a time of each file of a closed index, over all of the small files and
// samples of the large ones, and checks that the index then either says that it is damaged, at opening or reading, or
// reads exactly as before; it must never panic or give other data.
func TestEveryFlippedByteIsFound(t *testing.T) {
	fs := vfs.NewMem()
	x := open(t, fs)
	for i := range uint64(150) {
		require.NoError(t, entry(x.Partition(1), i+1, 1000))
	}
	want := dump(t, x.Partition(1))
	require.NoError(t, x.Close())
	x = open(t, fs)
	for i := range uint64(20) {
		require.NoError(t, entry(x.Partition(2), i+1, 100)) // stays in the log
	}
	want += dump(t, x.Partition(2))
	require.NoError(t, x.Sync())
	files := readFiles(t, fs)
	require.NoError(t, x.Close())

	r := rand.New(rand.NewPCG(1, 1))
	found := map[string]int{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		data := files[name]
		if name == "LOCK" || len(data) == 0 {
			continue
		}
		small := len(data) <= 1<<10
		flips := 60
		if small {
			flips = len(data)
		}
		for i := range flips {
			at, bit := r.IntN(len(data)), byte(1)<<r.IntN(8)
			if small {
				at = i
			}
			data[at] ^= bit
			got, err := readAll(t, files)
			data[at] ^= bit
			switch {
			case err != nil:
				require.ErrorIs(t, err, index.ErrDamaged, "%s at %d", name, at)
				found[name]++
			case got != want:
				// The end of a log that nothing vouches for cannot be told from one that was never written; what is
				// left is a prefix, and checkEntries in readAll saw that it is.
				require.Regexp(t, `\.log$`, name, "at %d", at)
			}
		}
	}
	t.Log(fmt.Sprint("flips found: ", found))
	require.NotEmpty(t, found)
}

func readFiles(t *testing.T, fs vfs.FS) map[string][]byte {
	t.Helper()
	names, err := fs.List("index")
	require.NoError(t, err)
	files := map[string][]byte{}
	for _, name := range names {
		f, err := fs.Open("index/" + name)
		require.NoError(t, err)
		info, err := f.Stat()
		require.NoError(t, err)
		data := make([]byte, info.Size())
		if len(data) > 0 {
			_, err = f.ReadAt(data, 0)
			require.NoError(t, err)
		}
		require.NoError(t, f.Close())
		files[name] = data
	}
	return files
}

// writeFiles makes a file system with a copy of files.
func writeFiles(t *testing.T, files map[string][]byte) vfs.FS {
	t.Helper()
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("index", 0o755))
	for name, data := range files {
		f, err := fs.Create("index/"+name, vfs.WriteCategoryUnspecified)
		require.NoError(t, err)
		_, err = f.Write(append([]byte(nil), data...))
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	return fs
}

// readAll opens a copy of files, and reads all of it.
func readAll(t *testing.T, files map[string][]byte) (string, error) {
	t.Helper()
	fs := writeFiles(t, files)
	x, err := index.Open(options(fs))
	if err != nil {
		return "", err
	}
	defer func() { _ = x.Close() }()
	var all string
	for id := range uint32(3) {
		var w writer
		if err := x.Partition(id).Dump(&w); err != nil {
			return "", err
		}
		checkEntries(t, x.Partition(id))
		all += string(w)
	}
	return all, nil
}

type writer []byte

func (w *writer) Write(b []byte) (int, error) {
	*w = append(*w, b...)
	return len(b), nil
}
