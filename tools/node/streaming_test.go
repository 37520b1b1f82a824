package node_test

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"
)

// Aim: applications on stan.go go on over kill -9 of the real program, many at
// once: none has to connect or subscribe again, everything that was acknowledged
// comes to every durable, plain subscription and queue group, nothing comes twice
// without its flag. Method: 40 clients that come back in a storm, publishers with
// many messages in flight, some of them large; kill, serve, several times.
func TestKillUnderStreaming(t *testing.T) {
	p := newProgram(t)
	p.start(t)
	var lost atomic.Int64
	connect := func(id string) stan.Conn {
		nc, err := nats.Connect(p.url, nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond), nats.ReconnectBufSize(-1))
		require.NoError(t, err)
		t.Cleanup(nc.Close)
		sc, err := stan.Connect("test-cluster", id, stan.NatsConn(nc), stan.Pings(1, 100), stan.PubAckWait(time.Second),
			stan.SetConnectionLostHandler(func(stan.Conn, error) { lost.Add(1) }))
		require.NoError(t, err)
		t.Cleanup(func() { _ = sc.Close() })
		return sc
	}
	group := &received{name: "the queue group"}
	all := []*received{group}
	for i := range 40 {
		sc := connect(fmt.Sprintf("reader-%d", i))
		durable, plain := &received{name: fmt.Sprintf("durable %d", i)}, &received{name: fmt.Sprintf("plain %d", i)}
		all = append(all, durable, plain)
		_, err := sc.Subscribe("streaming", durable.take, stan.DurableName("d"), stan.MaxInflight(100), stan.AckWait(2*time.Second))
		require.NoError(t, err)
		_, err = sc.Subscribe("streaming", plain.take, stan.AckWait(2*time.Second))
		require.NoError(t, err)
		_, err = sc.QueueSubscribe("streaming", "g", group.take, stan.MaxInflight(5), stan.AckWait(2*time.Second))
		require.NoError(t, err)
	}
	var mu sync.Mutex
	acked := map[string]bool{}
	publishers := []stan.Conn{connect("publisher-0"), connect("publisher-1")}
	for kill := range 4 {
		ctx, cancel := context.WithCancel(t.Context())
		var wait sync.WaitGroup
		for k, sc := range publishers {
			wait.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					text := fmt.Sprintf("%d.%d.%d", kill, k, i)
					data := make([]byte, len(text)+1+i%200)
					if i%200 == 50 {
						data = make([]byte, 1<<20-500) // as large as they come
					}
					copy(data, text+" ")
					_, _ = sc.PublishAsync("streaming", data, func(_ string, err error) {
						if err == nil {
							mu.Lock()
							acked[text] = true
							mu.Unlock()
						}
					})
					time.Sleep(2 * time.Millisecond)
				}
			})
		}
		time.Sleep(700 * time.Millisecond)
		p.kill(t)
		cancel()
		wait.Wait()
		p.start(t)
	}
	time.Sleep(time.Second) // what is in flight times out
	mu.Lock()
	defer mu.Unlock()
	t.Logf("%d acknowledged", len(acked))
	for _, r := range all {
		require.Eventually(t, func() bool { return r.has(acked) }, 30*time.Second, 20*time.Millisecond, r.name)
		require.Empty(t, r.wrong(), r.name)
	}
	require.Zero(t, lost.Load(), "a client lost its connection")
	require.NotContains(t, p.log(), "panic")
}

// received is what a consumer got.
type received struct {
	name string
	mu   sync.Mutex
	seen map[uint64]string // by sequence; guarded by mu
	bad  []string          // guarded by mu
}

func (r *received) take(m *stan.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[uint64]string{}
	}
	id, _, _ := bytes.Cut(m.Data, []byte(" "))
	text := string(id)
	if before, ok := r.seen[m.Sequence]; ok && (!m.Redelivered || before != text) {
		r.bad = append(r.bad, fmt.Sprintf("%d came as %q and as %q, flagged %v", m.Sequence, before, text, m.Redelivered))
	}
	r.seen[m.Sequence] = text
}

func (r *received) has(want map[string]bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	have := make(map[string]bool, len(r.seen))
	for _, text := range r.seen {
		have[text] = true
	}
	for text := range want {
		if !have[text] {
			return false
		}
	}
	return true
}

func (r *received) wrong() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bad
}
