package api_test

import (
	"context"
	"fmt"
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
				r := &counter{at: records + 1, done: make(chan struct{})}
				sub, err := n.router.Subscribe("bench.to", r)
				require.NoError(b, err)
				n.router.Publish("$LEAT.REPLAY.orders", "", nil, fmt.Appendf(nil, `{"deliver":"bench.to","meta":%q}`, meta))
				<-r.done
				sub.Close()
			}
		})
	}
}

// Aim: a replay takes no memory per record, nor do acknowledged publishes.
// Method: the benchmarks' own count.
func TestAllocations(t *testing.T) {
	if testing.Short() {
		t.Skip("it runs benchmarks")
	}
	replay := testing.Benchmark(func(b *testing.B) {
		n := start(b, router.Options{})
		c := n.client()
		const records = 20000
		for range records {
			require.NoError(b, c.Publish("$LEAT.PUB.orders", []byte("0123456789")))
		}
		require.NoError(b, c.Flush())
		c.ask("PUB.orders", "last")
		b.N = records
		b.ReportAllocs()
		b.ResetTimer()
		r := &counter{at: records + 2, done: make(chan struct{})}
		sub, err := n.router.Subscribe("bench.to", r)
		require.NoError(b, err)
		n.router.Publish("$LEAT.REPLAY.orders", "", nil, []byte(`{"deliver":"bench.to"}`))
		<-r.done
		b.StopTimer()
		sub.Close()
	})
	require.Zero(t, replay.AllocsPerOp(), replay.MemString())
	publish := testing.Benchmark(benchmarkPublish)
	require.Zero(t, publish.AllocsPerOp(), publish.MemString())
}

// BenchmarkPublish is acknowledged publishing from within the process. One
// operation is a record of 128 bytes.
func BenchmarkPublish(b *testing.B) { benchmarkPublish(b) }

func benchmarkPublish(b *testing.B) {
	n := start(b, router.Options{})
	n.client().publish("orders", 1)
	out := n.router.Outlet()
	defer out.Close()
	subject, reply, header := []byte("$LEAT.PUB.orders"), []byte("bench.acks"), []byte("NATS/1.0\r\nA: 1\r\nLeat-Key: k\r\n\r\n")
	payload := make([]byte, 128)
	publish := func(records int) {
		acks := &counter{at: records, done: make(chan struct{})}
		sub, err := n.router.Subscribe("bench.acks", acks)
		require.NoError(b, err)
		for i := range records {
			out.Send(subject, reply, header, payload, nil)
			if i%500 == 499 {
				out.Flush()
			}
		}
		out.Flush()
		<-acks.done
		sub.Close()
	}
	publish(20000)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	b.ResetTimer()
	b.N = max(b.N, 10000)
	publish(b.N)
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
