package index_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

// million opens an index on disk with a million channels that have one extent each, or with a thousand channels that have a
// thousand.
func million(b *testing.B, channels, extents int) *index.Partition {
	b.Helper()
	metrics := prometheus.NewRegistry()
	x, err := index.Open(index.Options{Dir: b.TempDir() + "/index", Registerer: metrics})
	require.NoError(b, err)
	b.Cleanup(func() { _ = x.Close() })
	p := x.Partition(1)
	batch := p.NewBatch()
	value := make([]byte, 80)
	for seg := 1; seg <= extents; seg++ {
		for ch := 1; ch <= channels; ch++ {
			if seg == 1 {
				batch.PutChannel(record.ChannelID(ch), value)
			}
			last := record.Offset(seg * 100)
			batch.PutExtent(record.ChannelID(ch), record.SegmentID(seg), extent(last-99, last, int64(last-99), int64(last)))
			if batch.Len() > 1<<20 {
				require.NoError(b, batch.Commit())
				batch = p.NewBatch()
			}
		}
	}
	require.NoError(b, batch.Commit())
	require.Eventually(b, func() bool { // compaction is done
		families, err := metrics.Gather()
		require.NoError(b, err)
		for _, f := range families {
			if f.GetName() == "leat_index_compaction_debt_bytes" {
				return f.GetMetric()[0].GetGauge().GetValue() == 0
			}
		}
		return false
	}, 10*time.Second, 50*time.Millisecond)
	return p
}

func BenchmarkFindExtent(b *testing.B) {
	p := million(b, 1000, 1000)
	r := rand.New(rand.NewPCG(1, 1))
	for name, find := range map[string]func(ch record.ChannelID, at uint64) (record.SegmentID, index.Extent, bool, error){
		"offset": func(ch record.ChannelID, at uint64) (record.SegmentID, index.Extent, bool, error) {
			return p.FindExtent(ch, record.Offset(at))
		},
		"time": func(ch record.ChannelID, at uint64) (record.SegmentID, index.Extent, bool, error) {
			return p.FindExtentAtTime(ch, int64(at))
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _, ok, err := find(record.ChannelID(1+r.Uint64N(1000)), 1+r.Uint64N(100_000))
				if !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
	}
}

func BenchmarkChannels(b *testing.B) {
	p := million(b, 1_000_000, 1)
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		require.NoError(b, p.Channels(func(record.ChannelID, []byte) error { n++; return nil }))
		require.Equal(b, 1_000_000, n)
	}
}

func BenchmarkCommit(b *testing.B) {
	p := million(b, 1, 1)
	b.ReportAllocs()
	value := make([]byte, 40)
	for i := uint64(1); b.Loop(); i++ {
		batch := p.NewBatch()
		batch.PutCursor(1, "billing", value)
		batch.SetApplied(i, 1)
		if err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
}
