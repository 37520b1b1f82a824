package index_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

// TestFindExtent looks up offsets and times in a channel with a hole, between channels that must not be found.
func TestFindExtent(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	b := p.NewBatch()
	b.PutExtent(4, 1, extent(1, 1000, 1, 1000))
	b.PutExtent(5, 1, extent(10, 19, 100, 190))
	b.PutExtent(5, 2, extent(20, 29, 190, 190))
	b.PutExtent(5, 4, extent(40, 40, 190, 400))
	b.PutExtent(5, 6, extent(41, math.MaxUint64, 500, math.MaxInt64))
	b.PutExtent(6, 1, extent(1, 1000, 1, 1000))
	b.PutExtent(7, 1, index.Extent{First: 0, Last: 9, FirstTime: math.MinInt64, LastTime: math.MaxInt64, Records: 1, Bytes: math.MaxUint64})
	require.NoError(t, b.Commit())

	for _, c := range []struct {
		off, time int64
		seg       record.SegmentID
	}{
		{off: 0, seg: 1},
		{off: 10, seg: 1},
		{off: 19, seg: 1},
		{off: 20, seg: 2},
		{off: 29, seg: 2},
		{off: 30, seg: 4},
		{off: 39, seg: 4},
		{off: 40, seg: 4},
		{off: 41, seg: 6},
		{off: math.MaxInt64, seg: 6},
		{time: -5, seg: 1},
		{time: 100, seg: 1},
		{time: 190, seg: 1},
		{time: 191, seg: 4},
		{time: 400, seg: 4},
		{time: 401, seg: 6},
		{time: math.MaxInt64, seg: 6},
	} {
		t.Run(fmt.Sprintf("offset %d time %d", c.off, c.time), func(t *testing.T) {
			find := func() (record.SegmentID, index.Extent, bool, error) { return p.FindExtent(5, record.Offset(c.off)) }
			if c.time != 0 {
				find = func() (record.SegmentID, index.Extent, bool, error) { return p.FindExtentAtTime(5, c.time) }
			}
			seg, e, ok, err := find()
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, c.seg, seg)
			require.Positive(t, e.Records)
		})
	}
	_, e, ok, err := p.FindExtent(7, 0)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, index.Extent{First: 0, Last: 9, FirstTime: math.MinInt64, LastTime: math.MaxInt64, Records: 1, Bytes: math.MaxUint64}, e)
	for _, c := range []struct {
		ch   record.ChannelID
		from record.Offset
	}{{3, 0}, {4, 1001}, {8, 0}} {
		_, _, ok, err = p.FindExtent(c.ch, c.from)
		require.NoError(t, err)
		require.False(t, ok)
		_, _, ok, err = p.FindExtentAtTime(c.ch, int64(c.from)+1)
		require.NoError(t, err)
		require.False(t, ok)
	}
}

// TestFindExtentAtTimeAgreesWithScan compares the binary search with a walk, on random extents whose times only grow and
// are often equal.
func TestFindExtentAtTimeAgreesWithScan(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	x := open(t, vfs.NewMem())
	for ch := record.ChannelID(1); ch <= 30; ch++ {
		p := x.Partition(1)
		b := p.NewBatch()
		var all []index.Extent
		off, now := record.Offset(1), int64(0)
		for range 1 + r.IntN(60) {
			off += record.Offset(r.Uint64N(3)) * record.Offset(r.Uint64N(1<<r.Uint64N(40)))
			first, at := off, now
			off += record.Offset(r.Uint64N(1 << r.Uint64N(30)))
			now += int64(r.Uint64N(4))
			all = append(all, extent(first, off, at, now))
			b.PutExtent(ch, record.SegmentID(len(all)), all[len(all)-1])
			off++
		}
		require.NoError(t, b.Commit())
		for ns := int64(-1); ns <= now+1; ns++ {
			want := 0
			for want < len(all) && all[want].LastTime < ns {
				want++
			}
			seg, e, ok, err := p.FindExtentAtTime(ch, ns)
			require.NoError(t, err)
			require.Equal(t, want < len(all), ok)
			if ok {
				require.EqualValues(t, want+1, seg)
				require.Equal(t, all[want], e)
			}
		}
	}
}

// TestDeleteSegment replaces the extents of a truncated segment in one batch, and drops segments whose extents are partly
// committed and partly in the batch; other segments and channels stay.
func TestDeleteSegment(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	b := p.NewBatch()
	for ch := record.ChannelID(1); ch <= 3; ch++ {
		b.PutExtent(ch, 1, extent(1, 10, 1, 10))
		b.PutExtent(ch, 2, extent(11, 20, 11, 20))
	}
	b.PutSegment(2, index.SegmentMark{Extents: 3})
	require.NoError(t, b.Commit())

	b = p.NewBatch()
	b.PutExtent(3, 2, extent(21, 30, 21, 30)) // dropped by what follows
	b.DeleteSegment(2)
	b.PutExtent(1, 2, extent(11, 15, 11, 15))
	b.PutExtent(1, 3, extent(16, 20, 16, 20))
	b.PutSegment(2, index.SegmentMark{Extents: 1})
	require.NoError(t, b.Commit())
	require.Equal(t, `segment 2 entries=0..0 extents=1
extent channel=1 segment=1 offsets=1..10 times=1..10 records=10 bytes=1000
extent channel=1 segment=2 offsets=11..15 times=11..15 records=5 bytes=500
extent channel=1 segment=3 offsets=16..20 times=16..20 records=5 bytes=500
extent channel=2 segment=1 offsets=1..10 times=1..10 records=10 bytes=1000
extent channel=3 segment=1 offsets=1..10 times=1..10 records=10 bytes=1000
`, dump(t, p))

	b = p.NewBatch()
	b.PutExtent(2, 2, extent(11, 12, 11, 12)) // dropped with its channel, so that it does not come back with segment 2
	b.DeleteChannel(2)
	b.DeleteSegment(1)
	b.DeleteSegment(99)
	require.NoError(t, b.Commit())
	b = p.NewBatch()
	b.DeleteSegment(2)
	require.NoError(t, b.Commit())
	require.Equal(t, "extent channel=1 segment=3 offsets=16..20 times=16..20 records=5 bytes=500\n", dump(t, p))
}

// TestInvalidEntriesWriteNothing checks that a batch with one bad entry is refused whole, and that the first error tells.
func TestInvalidEntriesWriteNothing(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	for name, c := range map[string]struct {
		put  func(b *index.Batch)
		text string
	}{
		"offsets":  {func(b *index.Batch) { b.PutExtent(1, 1, index.Extent{First: 2, Last: 1, Records: 1}) }, "offset 2"},
		"times":    {func(b *index.Batch) { b.PutExtent(1, 1, index.Extent{FirstTime: 2, LastTime: 1, Records: 1}) }, "time 2"},
		"empty":    {func(b *index.Batch) { b.PutExtent(1, 1, index.Extent{First: 1, Last: 2}) }, "0 records"},
		"too many": {func(b *index.Batch) { b.PutExtent(1, 1, index.Extent{First: 1, Last: 2, Records: 3}) }, "3 records"},
		"name":     {func(b *index.Batch) { b.PutCursor(1, string(make([]byte, index.MaxNameBytes+1)), nil) }, "4097"},
		"value":    {func(b *index.Batch) { b.PutSession(1, "s", make([]byte, index.MaxValueBytes+1)) }, "1048577"},
	} {
		t.Run(name, func(t *testing.T) {
			b := p.NewBatch()
			b.PutChannel(1, nil)
			c.put(b)
			b.SetApplied(1, 1)
			err := b.Commit()
			require.ErrorIs(t, err, index.ErrInvalid)
			require.ErrorContains(t, err, c.text)
			require.Empty(t, dump(t, p))
			require.NoError(t, x.Err())
		})
	}
}
