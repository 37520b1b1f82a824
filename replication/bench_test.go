package replication_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// sinkLog keeps the configuration and forgets everything else, so that a benchmark measures the way through Raft.
type sinkLog struct {
	mu    sync.Mutex
	first replication.LogEntry
	last  replication.LogEntry
}

func (l *sinkLog) Append(entries []replication.LogEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last.Index == 0 {
		l.first = entries[0]
	}
	l.last = entries[len(entries)-1]
	return nil
}

func (l *sinkLog) Last() (index, term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last.Index, l.last.Term
}

func (l *sinkLog) Entry(index uint64, buf []byte) (replication.LogEntry, []byte, error) {
	if index != 1 {
		return replication.LogEntry{}, buf, fmt.Errorf("entry %d is forgotten", index)
	}
	return l.first, buf, nil
}

func (l *sinkLog) Header(uint64) (record.FrameHeader, error) {
	return record.FrameHeader{Index: 1, Term: l.first.Term, Type: l.first.Type}, nil
}

func (l *sinkLog) First() uint64                    { return 1 }
func (l *sinkLog) TruncateSuffix(from uint64) error { return fmt.Errorf("truncate from %d", from) }
func (l *sinkLog) PayloadBytesMax() int             { return 1 << 20 }
func (l *sinkLog) Base() segment.Tip                { return segment.Tip{} }
func (l *sinkLog) Segments() []segment.Info         { return nil }

func BenchmarkPropose(b *testing.B) {
	for _, size := range []int{200, 64 << 10} {
		for _, inFlight := range []int{1, 64, 1024} {
			b.Run(fmt.Sprintf("bytes=%d/inflight=%d", size, inFlight), func(b *testing.B) {
				n := newNode()
				n.machine.keep = false
				l := &sinkLog{}
				g, err := replication.Open(n.options(func(o *replication.Options) { o.Log = l }))
				require.NoError(b, err)
				n.lead(b)
				payload := make([]byte, size)
				tokens := make(chan struct{}, inFlight)
				done := func(_ uint64, err error) {
					if err != nil {
						b.Error(err)
					}
					<-tokens
				}
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					tokens <- struct{}{}
					g.Propose(payload, done)
				}
				for range inFlight {
					tokens <- struct{}{}
				}
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
				require.NoError(b, g.Close())
			})
		}
	}
}

// BenchmarkOpen is a start over real segments whose newest snapshot is so many entries old, with a machine that is up to
// date: what a crash costs.
func BenchmarkOpen(b *testing.B) {
	for _, entries := range []int{0, 8192} {
		b.Run(fmt.Sprint("entries=", entries), func(b *testing.B) {
			fs := vfs.NewMem()
			l := openSegments(b, fs)
			n := &node{fs: fs, machine: newFakeMachine(), stopped: make(chan error, 1)}
			with := func(o *replication.Options) { o.Log, o.SnapshotEntries = l, 1<<30 }
			g := n.open(b, with)
			n.lead(b)
			for i := range entries {
				g.Propose(dataPayload(i), func(_ uint64, err error) {
					if err != nil {
						b.Error(err)
					}
				})
			}
			require.NoError(b, g.Close())
			for b.Loop() {
				g := n.open(b, with)
				n.lead(b)
				require.NoError(b, g.Close())
			}
			require.NoError(b, l.Close())
		})
	}
}
