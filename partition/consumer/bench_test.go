package consumer_test

import (
	"math"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/consumer"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

// endless is a channel whose every batch is the same 1,000 records of 128 B.
type endless struct{ raw []byte }

func newEndless() *endless {
	var b record.Builder
	b.Reset("orders")
	for range 1000 {
		b.AppendValue(make([]byte, 128))
	}
	return &endless{b.Finish(record.CodecNone)}
}

func (e *endless) First() record.Offset       { return 1 }
func (e *endless) Last() record.Offset        { return math.MaxInt64 / 2 }
func (e *endless) Watch(func()) (stop func()) { return func() {} }
func (e *endless) Open(from record.Offset) consumer.Reader {
	return &endlessReader{e: e, next: from}
}

type endlessReader struct {
	e    *endless
	next record.Offset
}

func (r *endlessReader) Next(b *record.Batch) (int, bool, error) {
	if _, err := record.ParseBatch(r.e.raw, b); err != nil {
		return 0, false, err
	}
	b.Base = (r.next-1)/1000*1000 + 1
	first := int(r.next - b.Base)
	r.next = b.Last() + 1
	return first, true, nil
}
func (r *endlessReader) Pause() {}
func (r *endlessReader) Close() {}

// acker acknowledges what it gets, through the mailbox, and ends the benchmark.
type acker struct {
	c    *consumer.Consumer
	acks bool
	left int
	once sync.Once
	done chan struct{}
}

func (a *acker) Deliver(run []consumer.Delivery) bool {
	if a.left -= len(run); a.left <= 0 {
		a.once.Do(func() { close(a.done) })
		return true
	}
	if a.acks {
		a.c.AckRange(run[0].Offset, run[len(run)-1].Offset)
	}
	return false
}

// A replay through the loop, without and with acknowledgements.
func BenchmarkReplay(b *testing.B) {
	for name, policy := range map[string]delivery.AckPolicy{"none": delivery.AckNone, "explicit": delivery.AckExplicit} {
		b.Run("acks="+name, func(b *testing.B) {
			c, err := consumer.Start(consumer.Options{
				Source: newEndless(), Cursor: cursor.New(1), Delivery: delivery.Options{Acks: policy},
			})
			require.NoError(b, err)
			a := &acker{c: c, acks: policy == delivery.AckExplicit, left: b.N, done: make(chan struct{})}
			b.ReportAllocs()
			b.SetBytes(128)
			b.ResetTimer()
			require.NoError(b, c.Join(consumer.Member{ID: 1, Options: delivery.MemberOptions{MaxInFlight: 16384}, Sink: a}))
			<-a.done
			b.StopTimer()
			c.Close()
		})
	}
}
