package index_test

import (
	"bytes"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// open opens an index on fs and closes it at the end of the test, unless the test does.
func open(t testing.TB, fs vfs.FS) *index.Index {
	t.Helper()
	x, err := index.Open(options(fs))
	require.NoError(t, err)
	t.Cleanup(func() { _ = x.Close() })
	return x
}

func options(fs vfs.FS) index.Options {
	return index.Options{Dir: "index", FS: fs, CacheBytes: 1 << 20, MemTableBytes: 1 << 20}
}

func dump(t testing.TB, p *index.Partition) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, p.Dump(&b))
	return b.String()
}

func extent(first, last record.Offset, firstTime, lastTime int64) index.Extent {
	return index.Extent{
		First: first, Last: last, FirstTime: firstTime, LastTime: lastTime,
		Records: uint64(last-first) + 1, Bytes: 100 * (uint64(last-first) + 1),
	}
}

// TestReadsReturnWhatBatchesPut puts one of everything into two partitions, and checks each read, the dump, and that both
// the other partition and a reopened index agree.
func TestReadsReturnWhatBatchesPut(t *testing.T) {
	fs := vfs.NewMem()
	x := open(t, fs)
	p := x.Partition(7)
	b := p.NewBatch()
	require.Zero(t, b.Len())
	b.PutChannel(12, []byte("orders"))
	b.PutChannel(3, []byte("events"))
	b.PutExtent(12, 1, extent(1, 10, 100, 200))
	b.PutExtent(12, 2, extent(11, 20, 200, 300))
	b.PutCursor(12, "billing", []byte("c1"))
	b.PutCursor(12, "audit", []byte("c2"))
	b.PutCursor(3, "", nil)
	b.PutSession(1, "client-1", []byte("s1"))
	b.PutSession(2, "client-1", []byte("s2"))
	b.PutSegment(1, index.SegmentMark{FirstIndex: 1, LastIndex: 9, Extents: 1})
	b.SetApplied(42, 3)
	require.Positive(t, b.Len())
	index0, term0, err := p.Applied()
	require.NoError(t, err)
	require.Zero(t, index0+term0, "an open batch is not visible")
	require.NoError(t, b.Commit())
	require.ErrorIs(t, b.Commit(), index.ErrInvalid)
	b.Discard()

	want := `applied index=42 term=3
channel 3 6576656e7473
channel 12 6f7264657273
cursor channel=3 "" 
cursor channel=12 "audit" 6332
cursor channel=12 "billing" 6331
session kind=1 "client-1" 7331
session kind=2 "client-1" 7332
segment 1 entries=1..9 extents=1
extent channel=12 segment=1 offsets=1..10 times=100..200 records=10 bytes=1000
extent channel=12 segment=2 offsets=11..20 times=200..300 records=10 bytes=1000
`
	require.Equal(t, want, dump(t, p))
	for _, other := range []uint32{0, 6, 8, 1<<32 - 1} {
		require.Empty(t, dump(t, x.Partition(other)))
	}
	require.NoError(t, x.Close())
	require.ErrorIs(t, x.Close(), index.ErrClosed)

	x = open(t, fs)
	require.Equal(t, want, dump(t, x.Partition(7)))
}
