package api_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/api"
	router "leat.dev/leat/wire/nats"
)

// counter is a subscription of this process that counts and wakes at a number.
type counter struct {
	got, at int
	done    chan struct{}
}

func (c *counter) Attach(wire.Source) wire.Sink { return c }
func (c *counter) Flush()                       {}
func (c *counter) Detach()                      {}
func (c *counter) Msg(*wire.Msg) {
	if c.got++; c.got == c.at {
		close(c.done)
	}
}

// BenchmarkReplay is a plain replay to a receiver in the process: what this
// package and those below it cost. One operation is a record of 1 KiB.
func BenchmarkReplay(b *testing.B) {
	n := start(b, router.Options{})
	c := n.client()
	const records = 50000
	payload := []byte(strings.Repeat("x", 1024))
	for i := range records {
		require.NoError(b, c.Publish("$LEAT.PUB.orders", payload))
		if i%2000 == 1999 {
			require.NoError(b, c.Flush())
		}
	}
	require.NoError(b, c.Flush())
	eventually(b, "stored", func() bool {
		return want[api.ListAnswer](c, "API.CHANNEL.LIST", `{"prefix":"orders"}`).Channels[0].Last == records
	})
	for _, meta := range []api.Meta{api.MetaHeaders, api.MetaReply, api.MetaNone} {
		b.Run("meta="+string(meta), func(b *testing.B) {
			rounds := (b.N + records - 1) / records
			b.N = rounds * records
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			b.ResetTimer()
			for range rounds {
				replayInside(b, n, records, meta)
			}
		})
	}
}

// mallocs counts allocations of the whole process while do runs.
func mallocs(do func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	do()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}

// Aim: a replay takes no memory per record, nor does an acknowledged publish with
// headers. Method: count allocations over 50,000 of each, in the process; what
// is paid per batch stays below one in ten records.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget under the race detector")
	}
	const records = 50000
	n := start(t, router.Options{})
	p := newPublisher(t, n)
	defer p.out.Close()
	p.publish(records)
	require.Less(t, mallocs(func() { p.publish(records) }), float64(records)/10)
	for _, meta := range []api.Meta{api.MetaHeaders, api.MetaReply, api.MetaNone} {
		replay := func() { replayInside(t, n, 2*records, meta) }
		replay()
		require.Less(t, mallocs(replay), float64(2*records)/10, meta)
	}
}

// replayInside replays a whole channel to a subscription of the process.
func replayInside(t testing.TB, n *node, records int, meta api.Meta) {
	r := &counter{at: records + 1, done: make(chan struct{})}
	sub, err := n.router.Subscribe("bench.to", r)
	require.NoError(t, err)
	n.router.Publish("$LEAT.REPLAY.orders", "", nil, fmt.Appendf(nil, `{"deliver":"bench.to","meta":%q}`, meta))
	<-r.done
	sub.Close()
}

// publisher publishes from within the process.
type publisher struct {
	t   testing.TB
	n   *node
	out wire.Outlet
}

func newPublisher(t testing.TB, n *node) *publisher { return &publisher{t, n, n.router.Outlet()} }

// publish stores records of 128 bytes with headers and waits until all are
// acknowledged.
func (p *publisher) publish(records int) {
	acks := &counter{at: records, done: make(chan struct{})}
	sub, err := p.n.router.Subscribe("bench.acks", acks)
	require.NoError(p.t, err)
	subject, reply, header := []byte("$LEAT.PUB.orders"), []byte("bench.acks"), []byte("NATS/1.0\r\nA: 1\r\nLeat-Key: k\r\n\r\n")
	payload := make([]byte, 128)
	for i := range records {
		p.out.Send(subject, reply, header, payload, nil)
		if i%500 == 499 {
			p.out.Flush()
		}
	}
	p.out.Flush()
	<-acks.done
	sub.Close()
}

// BenchmarkPublish is acknowledged publishing from within the process. One
// operation is a record of 128 bytes.
func BenchmarkPublish(b *testing.B) {
	n := start(b, router.Options{})
	p := newPublisher(b, n)
	defer p.out.Close()
	p.publish(20000)
	b.SetBytes(128)
	b.ReportAllocs()
	b.ResetTimer()
	p.publish(b.N)
	b.StopTimer()
}

// BenchmarkReplayClient is a replay to nats.go over the loopback interface.
func BenchmarkReplayClient(b *testing.B) {
	n := start(b, router.Options{})
	c := n.client()
	const records = 100000
	payload := []byte(strings.Repeat("x", 1024))
	for range records {
		require.NoError(b, c.Publish("$LEAT.PUB.orders", payload))
	}
	require.NoError(b, c.Flush())
	c.ask("PUB.orders", "last")
	for _, request := range []string{`{}`, `{"meta":"reply"}`, `{"meta":"none"}`, `{"meta":"reply","window":4096}`} {
		b.Run(request, func(b *testing.B) {
			rounds := (b.N + records - 1) / records
			b.N = rounds * records
			b.SetBytes(int64(len(payload)))
			for range rounds {
				ctx, cancel := context.WithCancel(b.Context())
				got, window := 0, strings.Contains(request, "window")
				sub, err := c.Subscribe(nats.NewInbox(), func(m *nats.Msg) {
					if len(m.Data) == 0 {
						cancel()
						return
					}
					if got++; window && (got%512 == 0 || got == records+1) {
						_ = m.Respond([]byte("+ALL"))
					}
				})
				require.NoError(b, err)
				require.NoError(b, sub.SetPendingLimits(-1, -1))
				require.NoError(b, c.PublishRequest("$LEAT.REPLAY.orders", sub.Subject, []byte(request)))
				<-ctx.Done()
				require.NoError(b, sub.Unsubscribe())
			}
		})
	}
}
