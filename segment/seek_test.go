package segment_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// collect reads what an iterator has, as base offsets.
func collect(t *testing.T, it *segment.Iterator) (bases []record.Offset) {
	var b record.Batch
	for {
		ok, err := it.Next(&b)
		require.NoError(t, err)
		if !ok {
			return bases
		}
		bases = append(bases, b.Base)
	}
}

// seekLog has ten entries, entry i with a batch of channel 1 with offsets 2i−1
// and 2i and time 10i, and one of channel 2.
func seekLog(t *testing.T) *segment.Log {
	l := open(t, options(vfs.NewMem()))
	for i := uint64(1); i <= 10; i++ {
		p := batch(1, record.Offset(2*i-1), int64(10*i), "a", "b")
		p = append(p, batch(2, record.Offset(i), int64(10*i), "c")...)
		require.NoError(t, l.Append([]segment.Entry{{Index: i, Term: 1, Type: record.FrameData, Payload: p}}))
	}
	return l
}

// Aim: reading begins at the batch that holds an offset, or the first of at
// least a time, in the active and in the sealed segment alike. Method: every
// offset and time, around the edges too.
func TestSeek(t *testing.T) {
	l := seekLog(t)
	defer closeLog(t, l)
	for _, sealed := range []bool{false, true} {
		if sealed {
			require.NoError(t, l.Roll())
		}
		lease, err := l.Acquire(1)
		require.NoError(t, err)
		require.Equal(t, sealed, lease.Sealed())
		require.Equal(t, record.SegmentID(1), lease.ID())
		for off := record.Offset(0); off <= 22; off++ {
			it := lease.Seek(1, off)
			got := collect(t, &it)
			first := max(off, 1)
			if off > 20 {
				require.Empty(t, got)
				continue
			}
			first -= (first + 1) % 2
			require.Equal(t, first, got[0], "offset %d", off)
			require.Len(t, got, int(21-first)/2+int(21-first)%2)
		}
		for ns := int64(0); ns <= 101; ns++ {
			it := lease.SeekTime(1, ns)
			got := collect(t, &it)
			want := (max(ns, 1) + 9) / 10
			if want > 10 {
				require.Empty(t, got)
				continue
			}
			require.Equal(t, record.Offset(2*want-1), got[0], "time %d", ns)
		}
		it := lease.Seek(99, 0)
		require.Empty(t, collect(t, &it))
		lease.Release()
	}
}

// Aim: entries above the limit are not seen, and are when it moves; an iterator
// on the active segment sees what is appended. Method: move the limit one by
// one, then append.
func TestIteratorLimit(t *testing.T) {
	l := seekLog(t)
	defer closeLog(t, l)
	lease, err := l.AcquireActive()
	require.NoError(t, err)
	defer lease.Release()
	it := lease.Seek(2, 0)
	it.Limit(0)
	require.Empty(t, collect(t, &it))
	for i := uint64(1); i <= 10; i++ {
		it.Limit(i)
		require.Equal(t, []record.Offset{record.Offset(i)}, collect(t, &it))
		require.Equal(t, i, it.Index())
	}
	it.Limit(100)
	require.Empty(t, collect(t, &it))
	require.NoError(t, l.Append([]segment.Entry{{Index: 11, Term: 1, Type: record.FrameData, Payload: batch(2, 11, 110, "c")}}))
	require.Equal(t, []record.Offset{11}, collect(t, &it))
	require.NoError(t, l.Roll())
	require.Empty(t, collect(t, &it))
}

// Aim: replay of entries gives each once, from any index, payloads as they were.
// Method: from each index.
func TestLeaseEntries(t *testing.T) {
	l := seekLog(t)
	defer closeLog(t, l)
	for from := uint64(0); from <= 11; from++ {
		lease, err := l.AcquireIndex(10)
		require.NoError(t, err)
		next := max(from, 1)
		require.NoError(t, lease.Entries(from, func(h *record.FrameHeader, payload []byte) error {
			require.Equal(t, next, h.Index)
			n, err := record.CountBatches(payload, nil)
			require.NoError(t, err)
			require.Equal(t, 2, n)
			next++
			return nil
		}))
		require.Equal(t, uint64(11), next)
		lease.Release()
	}
	_, err := l.AcquireIndex(11)
	require.ErrorIs(t, err, segment.ErrNotFound)
	_, err = l.Acquire(99)
	require.ErrorIs(t, err, segment.ErrGone)
}

// Aim: an append allocates nothing but what its index grows by. Method: count
// over many appends of one entry with one batch.
func TestAppendAllocs(t *testing.T) {
	o := options(vfs.OS{})
	o.Dir, o.SegmentBytes = t.TempDir(), 16<<20
	l := open(t, o)
	defer closeLog(t, l)
	p := batch(1, 1, 1, "value")
	entries := []segment.Entry{{Term: 1, Type: record.FrameData, Payload: p}}
	appendOne := func() {
		entries[0].Index++
		if err := l.Append(entries); err != nil {
			t.Fatal(err)
		}
	}
	for range 600 {
		appendOne()
	}
	require.LessOrEqual(t, testing.AllocsPerRun(300, appendOne), 1.0, "the one is vfs's fdatasync")
}

// Aim: bad options are refused with what is wrong. Method: a table.
func TestOptions(t *testing.T) {
	for _, change := range []func(o *segment.Options){
		func(o *segment.Options) { o.Dir = "" },
		func(o *segment.Options) { o.SegmentBytes = 1 << 10 },
		func(o *segment.Options) { o.SegmentBytes = 2 << 30 },
		func(o *segment.Options) { o.SegmentBytes = 1<<20 + 1 },
		func(o *segment.Options) { o.ClusterID = string(make([]byte, 65)) },
		func(o *segment.Options) { o.MappedIdleMax = -1 },
	} {
		o := options(vfs.NewMem())
		change(&o)
		_, err := segment.Open(o)
		require.ErrorContains(t, err, "options")
	}
}
