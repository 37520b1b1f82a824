package nats_test

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats"
)

func TestWideFanOut(t *testing.T) {
	// Aim: with more receivers than are staged for, everyone still gets
	// everything in order, also behind what was staged. Method: many
	// subscriptions on several clients, wide and narrow subjects by turns.
	s := serve(t, nats.Options{})
	var subs []*natsgo.Subscription
	for range 5 {
		nc := dial(t, s)
		for range 10 {
			sub, err := nc.SubscribeSync("w.all")
			require.NoError(t, err)
			require.NoError(t, sub.SetPendingLimits(-1, -1))
			subs = append(subs, sub)
		}
		one, err := nc.SubscribeSync("w.one")
		require.NoError(t, err)
		defer func() {
			for i := range 100 {
				require.Equal(t, fmt.Sprint("one ", i), string(next(t, one).Data))
			}
		}()
		require.NoError(t, nc.Flush())
	}
	pub := dial(t, s)
	pad := make([]byte, 2000)
	for i := range 100 {
		require.NoError(t, pub.Publish("w.one", fmt.Append(nil, "one ", i)))
		require.NoError(t, pub.Publish("w.all", append(fmt.Appendf(nil, "%04d", i), pad[:i*20]...)))
	}
	require.NoError(t, pub.Flush())
	for _, sub := range subs {
		for i := range 100 {
			m := next(t, sub)
			require.Equal(t, fmt.Sprintf("%04d", i), string(m.Data[:4]))
			require.Len(t, m.Data, 4+i*20)
		}
	}
}

func TestConnectionsDieInTraffic(t *testing.T) {
	// Aim: clients that vanish, internal subscriptions that come and go, and
	// Outlets, all at once, leave the server whole and no interest behind.
	// Method: do it for a while, then count. Most useful with -race.
	s := serve(t, nats.Options{})
	nc := dial(t, s)
	steady, err := nc.SubscribeSync("t.0")
	require.NoError(t, err)
	require.NoError(t, steady.SetPendingLimits(-1, -1))
	require.NoError(t, nc.Flush())
	stop := make(chan struct{})
	var work sync.WaitGroup
	forever := func(f func(i int)) {
		work.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					f(i)
				}
			}
		})
	}
	pub := dial(t, s)
	sent := 0
	forever(func(i int) { // what is lost is missed at the end, and an error stays for the last Flush
		if i%3 == 0 && sent < 20_000 {
			sent++
			_ = pub.Publish("t.0", []byte("steady"))
		}
		_ = pub.Publish(fmt.Sprintf("t.%d", 1+i%4), make([]byte, 500))
		if i%100 == 0 {
			_ = pub.Flush()
		}
	})
	o := s.Outlet()
	forever(func(i int) {
		o.Send(fmt.Appendf(nil, "t.%d", 1+i%4), nil, nil, []byte("out"), []byte("let"))
		if i%50 == 0 {
			o.Flush()
			s.Publish("t.1", "t.2", nil, []byte("x"))
		}
	})
	forever(func(int) {
		sub, err := s.Subscribe("t.*", &recorder{})
		if err == nil {
			runtime.Gosched()
			sub.Close()
		}
	})
	for range 2 {
		forever(func(i int) {
			c, err := natsgo.Connect(s.ClientURL(), natsgo.NoReconnect())
			if err != nil {
				return
			}
			// These only come and go; one that failed is as good.
			_, _ = c.Subscribe(fmt.Sprintf("t.%d", 1+i%4), func(*natsgo.Msg) {})
			_, _ = c.QueueSubscribe("t.>", "q", func(*natsgo.Msg) {})
			_ = c.Flush()
			c.Close()
		})
	}
	timer := time.NewTimer(300 * time.Millisecond)
	<-timer.C
	close(stop)
	work.Wait()
	o.Close()
	require.NoError(t, pub.Flush())
	for range sent {
		require.Equal(t, "steady", string(next(t, steady).Data))
	}
	require.Eventually(t, func() bool { st := s.Stats(); return st.Connections == 2 && st.Subscriptions == 1 }, waitMax, time.Millisecond)
	require.Zero(t, s.Stats().SlowConsumers)
}

func TestQueueGroupsUnderChurn(t *testing.T) {
	// Aim: while members of a queue group come and go, under wildcards and
	// without, each message reaches exactly one of them, and every plain
	// subscriber. Method: members that subscribe, drain and begin again beside a
	// steady one; count each message. Most useful with -race.
	s := serve(t, nats.Options{})
	const publishers, each = 3, 4000
	var grouped, plain [publishers * each]atomic.Uint32
	count := func(to *[publishers * each]atomic.Uint32) natsgo.MsgHandler {
		return func(m *natsgo.Msg) { to[binary.BigEndian.Uint32(m.Data)].Add(1) }
	}
	steady := dial(t, s)
	all, err := steady.Subscribe("q.*", count(&plain))
	require.NoError(t, err)
	one, err := steady.QueueSubscribe("q.x", "g", count(&grouped))
	require.NoError(t, err)
	for _, sub := range []*natsgo.Subscription{all, one} {
		require.NoError(t, sub.SetPendingLimits(-1, -1))
	}
	require.NoError(t, steady.Flush())
	stop := make(chan struct{})
	var members, work sync.WaitGroup
	for i, pattern := range []string{"q.>", "q.*", "*.x", ">"} {
		nc := dial(t, s)
		members.Go(func() {
			for {
				sub, err := nc.QueueSubscribe(pattern, "g", count(&grouped))
				if err != nil || sub.SetPendingLimits(-1, -1) != nil || nc.Flush() != nil {
					t.Error("subscribe", i, err)
					return
				}
				closed := sub.StatusChanged(natsgo.SubscriptionClosed)
				if err := sub.Drain(); err != nil {
					t.Error("drain", i, err)
					return
				}
				<-closed
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	for p := range publishers {
		nc := dial(t, s)
		work.Go(func() {
			for i := range each {
				err := nc.Publish("q.x", binary.BigEndian.AppendUint32(nil, uint32(p*each+i)))
				if i%100 == 0 && err == nil {
					err = nc.Flush()
				}
				if err != nil {
					t.Error("publish", p, err)
					return
				}
			}
		})
	}
	work.Wait()
	close(stop)
	members.Wait()
	require.NoError(t, steady.Drain())
	require.Eventually(t, steady.IsClosed, waitMax, time.Millisecond)
	for i := range grouped {
		require.EqualValues(t, 1, grouped[i].Load(), "message %d in the group", i)
		require.EqualValues(t, 1, plain[i].Load(), "message %d", i)
	}
}

func TestIdleConnectionsAreCheap(t *testing.T) {
	// Aim: a connection on which nothing happens holds little. Method: the
	// heap and stacks with some hundred of them.
	s := serve(t, nats.Options{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 300
	clients := make([]*rawClient, n)
	for i := range clients {
		clients[i] = dialRaw(t, s.Addr())
		clients[i].send("CONNECT {\"verbose\":false}\r\nSUB foo 1\r\n")
		clients[i].sync()
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	// The raw clients, with 4 KiB of buffer each, are in it.
	each := int64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse) / n
	t.Logf("%d bytes per connection and its client", each)
	require.Less(t, each, int64(40<<10))
}
