package segment_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// flip changes one bit of a file.
func flip(t testing.TB, f vfs.File, at int64, bit int) {
	var b [1]byte
	_, err := f.ReadAt(b[:], at)
	require.NoError(t, err)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], at)
	require.NoError(t, err)
}

// sealedSet makes a log with two sealed segments and an active one, closed.
func sealedSet(t testing.TB, fs vfs.FS) *history {
	h := newHistory(20)
	l := open(t, options(fs))
	for range 2 {
		for range 3 {
			require.NoError(t, l.Append(h.make(2, 300)))
		}
		require.NoError(t, l.Roll())
	}
	require.NoError(t, l.Append(h.make(2, 300)))
	closeLog(t, l)
	return h
}

func verify(t testing.TB, fs vfs.FS) *segment.Report {
	r, err := segment.Verify(context.Background(), options(fs), nil)
	require.NoError(t, err)
	return r
}

// Aim: a log without damage has no findings, at any moment of its life too, and what
// Verify counts is what is there. Method: logs of all kinds of the other tests.
func TestVerifyClean(t *testing.T) {
	fs := vfs.NewMem()
	h := sealedSet(t, fs)
	r := verify(t, fs)
	require.Empty(t, r.Findings)
	require.Equal(t, segment.TailClean, r.State())
	require.Equal(t, len(h.entries), r.Entries)
	require.Equal(t, h.last(), r.Last.Index)
	require.Len(t, r.Segments, 3)

	// What is read is a copy: the race detector sees a mapping of a MemFS.
	now := func() vfs.FS { return fs.CrashClone(vfs.CrashOptions{UnsyncedShare: 1}) }
	l := open(t, options(fs))
	require.NoError(t, l.Append(h.make(20, 9000)))
	require.Empty(t, verify(t, now()).Findings)
	require.NoError(t, l.TruncateSuffix(h.last()-9))
	h.cut(h.last() - 9)
	require.Empty(t, verify(t, now()).Findings)
	require.NoError(t, l.Append(h.make(9, 9000)))
	require.NoError(t, l.TruncatePrefix(9))
	closeLog(t, l)
	r = verify(t, fs)
	require.Empty(t, r.Findings)
	require.Equal(t, h.last(), r.Last.Index)
}

// Aim: every single-bit flip in a sealed segment is found by Verify. Method: flip
// each bit of all bytes that are set and, of the others, one bit in 97 bytes.
func TestVerifyFindsEveryFlip(t *testing.T) {
	fs := vfs.NewMem()
	sealedSet(t, fs)
	names, err := fs.List("p")
	require.NoError(t, err)
	flips := 0
	for _, name := range names {
		if name != "0000000000000001.seg" && !strings.HasPrefix(name, "MANIFEST") {
			continue
		}
		data, err := vfs.ReadFile(fs, filepath.Join("p", name))
		require.NoError(t, err)
		f, err := fs.OpenReadWrite(filepath.Join("p", name))
		require.NoError(t, err)
		older := strings.HasPrefix(name, "MANIFEST") && name != filepath.Base(verify(t, fs).Manifest)
		for at := range data {
			bits := []int{0, 1, 2, 3, 4, 5, 6, 7}
			if data[at] == 0 && at%97 != 0 {
				bits = nil
			} else if data[at] == 0 {
				bits = bits[at%8:][:1]
			}
			if older || testing.Short() && at%11 != 0 {
				continue
			}
			for _, bit := range bits {
				flip(t, f, int64(at), bit)
				r, err := segment.Verify(context.Background(), options(fs), nil)
				if version := (*segment.VersionError)(nil); !errors.As(err, &version) {
					require.NoError(t, err)
					require.NotEmpty(t, r.Findings, "%s: byte %d, bit %d", name, at, bit)
					require.Equal(t, segment.TailCorrupt, r.State())
				}
				flip(t, f, int64(at), bit)
				flips++
			}
		}
		require.NoError(t, f.Close())
	}
	require.Empty(t, verify(t, fs).Findings)
	t.Logf("%d flips", flips)
}

// Aim: a reader never gets wrong bytes out of a damaged segment. Method: flip
// bits under an open log; each read gives an error that is ErrCorrupt, or what
// was written.
func TestReadNeverServesDamage(t *testing.T) {
	fs := vfs.NewMem()
	h := sealedSet(t, fs)
	l := open(t, options(fs))
	defer closeLog(t, l)
	h.check(t, l)
	info := l.Segments()[0]
	f, err := fs.OpenReadWrite(info.Path)
	require.NoError(t, err)
	want := h.batches(info.First, info.Last)
	byEntry, byBatch := 0, 0
	for at := int64(4096 + record.FrameHeaderBytes); at < info.Bytes; at++ {
		bit := int(at % 8)
		flip(t, f, at, bit)
		damaged := 0
		for i := info.First; i <= info.Last; i++ {
			e, _, err := l.Entry(i, nil)
			if err != nil {
				require.ErrorIs(t, err, segment.ErrCorrupt)
				damaged++
				continue
			}
			require.Equal(t, string(h.at(i).Payload), string(e.Payload))
		}
		require.Equal(t, 1, damaged, "byte %d", at)
		byEntry += damaged
		lease, err := l.Acquire(info.ID)
		require.NoError(t, err)
		for ch, batches := range want {
			it := lease.Seek(ch, 0)
			var b record.Batch
			for _, raw := range batches {
				ok, err := it.Next(&b)
				if err != nil {
					require.ErrorIs(t, err, segment.ErrCorrupt)
					byBatch++
					break
				}
				require.True(t, ok)
				require.Equal(t, raw, string(b.Raw()))
			}
		}
		lease.Release()
		flip(t, f, at, bit)
	}
	require.NoError(t, f.Close())
	require.Positive(t, byBatch)
	t.Logf("%d found by entry, %d by batch", byEntry, byBatch)
	h.check(t, l)
}

// Aim: damage in the footer or the header of a sealed segment is found when it
// is loaded. Method: flip each bit of the footer, open, acquire.
func TestLoadFindsDamagedFooter(t *testing.T) {
	fs := vfs.NewMem()
	sealedSet(t, fs)
	r := verify(t, fs)
	foot := r.Segments[0].Scan.Footer
	f, err := fs.OpenReadWrite(r.Segments[0].Path)
	require.NoError(t, err)
	for at := foot.Position; at < foot.Position+foot.Bytes; at++ {
		bit := int(at % 8)
		flip(t, f, at, bit)
		l := open(t, options(fs))
		_, err := l.Acquire(1)
		require.ErrorIs(t, err, segment.ErrCorrupt)
		var damage *segment.CorruptionError
		require.ErrorAs(t, err, &damage)
		require.Equal(t, record.SegmentID(1), damage.Segment)
		_, _, err = l.Entry(1, nil)
		require.ErrorIs(t, err, segment.ErrCorrupt)
		flip(t, f, at, bit)
		lease, err := l.Acquire(1)
		require.NoError(t, err, "a segment that could not be loaded can be later")
		lease.Release()
		closeLog(t, l)
	}
	require.NoError(t, f.Close())
}

// Aim: damage to an active tail that is known to have been durable is corruption
// and never cut; damage that is not known so is never taken for a clean end.
// Method: flip each bit of the last three frames, with and without a marker
// behind them, and open.
func TestTailFlips(t *testing.T) {
	for _, marker := range []bool{false, true} {
		fs := vfs.NewMem()
		l := open(t, options(fs))
		h := newHistory(22)
		var ends []int64
		for range 4 {
			require.NoError(t, l.Append(h.make(1, 150)))
			ends = append(ends, l.Segments()[0].Bytes)
		}
		if marker {
			closeLog(t, l)
		} else {
			defer closeLog(t, l)
			fs = fs.CrashClone(vfs.CrashOptions{})
		}
		path := "p/0000000000000001.seg"
		f, err := fs.OpenReadWrite(path)
		require.NoError(t, err)
		before, err := vfs.ReadFile(fs, path)
		require.NoError(t, err)
		got := map[segment.TailState]int{}
		for at := ends[0]; at < ends[3]; at++ {
			for bit := range 8 {
				flip(t, f, at, bit)
				proven := at < ends[2] || marker
				damaged, err := segment.Open(options(fs))
				if err != nil {
					var c *segment.CorruptionError
					require.ErrorAs(t, err, &c)
					got[c.Tail]++
					require.Equal(t, proven, c.Tail == segment.TailCorrupt, "byte %d, bit %d: %v", at, bit, err)
					scanned, err := segment.ScanFile(fs, path, nil)
					require.NoError(t, err)
					require.Equal(t, scanned.Tail, c.Tail)
				} else {
					got[damaged.Recovery().Tail]++
					require.False(t, proven, "byte %d, bit %d was cut", at, bit)
					require.Equal(t, segment.TailTorn, damaged.Recovery().Tail)
					require.Positive(t, damaged.Recovery().CutBytes)
					closeLog(t, damaged)
					t.Fatalf("byte %d, bit %d: cut although every sector is there", at, bit)
				}
				flip(t, f, at, bit)
			}
		}
		require.NoError(t, f.Close())
		after, err := vfs.ReadFile(fs, path)
		require.NoError(t, err)
		require.Equal(t, before, after)
		t.Logf("marker %v: %v", marker, got)
		if !marker {
			l := open(t, options(fs))
			h.check(t, l)
			closeLog(t, l)
		}
	}
}

// Aim: an uncertain tail is cut when the operator says so, and only then.
// Method: damage the last frame, open without and with leave.
func TestCutUncertain(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	h := newHistory(23)
	require.NoError(t, l.Append(h.make(3, 100)))
	first := l.Segments()[0].Bytes
	require.NoError(t, l.Append(h.make(1, 100)))
	clone := fs.CrashClone(vfs.CrashOptions{})
	closeLog(t, l)
	f, err := clone.OpenReadWrite("p/0000000000000001.seg")
	require.NoError(t, err)
	flip(t, f, first+40, 3)
	require.NoError(t, f.SyncData())
	require.NoError(t, f.Close())
	_, err = segment.Open(options(clone))
	var c *segment.CorruptionError
	require.ErrorAs(t, err, &c)
	require.Equal(t, segment.TailUncertain, c.Tail)
	require.Equal(t, uint64(4), c.Index)
	require.Equal(t, first, c.Position)
	o := options(clone)
	o.CutUncertain = true
	l = open(t, o)
	h.cut(4)
	h.check(t, l)
	require.Equal(t, segment.BoundUncertain, l.Segments()[0].Bound)
	require.Positive(t, l.Recovery().CutBytes)
	require.NoError(t, l.Append(h.make(3, 100)))
	h.check(t, l)
	closeLog(t, l)
	require.Empty(t, verify(t, clone).Findings)
	l = open(t, options(clone))
	h.check(t, l)
	closeLog(t, l)
}
