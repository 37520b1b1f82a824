package nats_test

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats"
)

// waitMax is how long a test waits for what must happen.
const waitMax = 10 * time.Second

// serve starts a server on a free port for the time of the test.
func serve(t testing.TB, opts nats.Options) *nats.Server {
	t.Helper()
	if opts.Addr == "" {
		opts.Addr = "127.0.0.1:0"
	}
	s, err := nats.Listen(opts)
	require.NoError(t, err)
	s.Serve()
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// dial connects a nats.go client for the time of the test.
func dial(t testing.TB, s *nats.Server, opts ...natsgo.Option) *natsgo.Conn {
	t.Helper()
	nc, err := natsgo.Connect(s.ClientURL(), opts...)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	return nc
}

// next takes the next message of a subscription.
func next(t testing.TB, sub *natsgo.Subscription) *natsgo.Msg {
	t.Helper()
	m, err := sub.NextMsg(waitMax)
	require.NoError(t, err)
	return m
}

func TestPublishSubscribe(t *testing.T) {
	// Aim: messages of every size arrive whole and in order, wildcards
	// included. Method: one client publishes, another subscribes thrice.
	s := serve(t, nats.Options{})
	pub, sub := dial(t, s), dial(t, s)
	var subs []*natsgo.Subscription
	for _, pattern := range []string{"a.b", "a.*", ">"} {
		ss, err := sub.SubscribeSync(pattern)
		require.NoError(t, err)
		subs = append(subs, ss)
	}
	require.NoError(t, sub.Flush())
	sizes := []int{0, 1, 100, 4000, 5000, 40_000, 70_000, 1 << 20}
	payload := make([]byte, 1<<20)
	for i := range payload {
		payload[i] = byte(i * 7)
	}
	for round := range 20 {
		for i, size := range sizes {
			if size > 100_000 && round > 2 {
				continue
			}
			require.NoError(t, pub.PublishRequest("a.b", fmt.Sprintf("r.%d.%d", round, i), payload[:size]))
		}
		require.NoError(t, pub.Flush())
		for i, size := range sizes {
			if size > 100_000 && round > 2 {
				continue
			}
			for _, ss := range subs {
				m := next(t, ss)
				require.Equal(t, "a.b", m.Subject)
				require.Equal(t, fmt.Sprintf("r.%d.%d", round, i), m.Reply)
				require.Equal(t, payload[:size], append([]byte{}, m.Data...))
			}
		}
	}
	st := s.Stats()
	require.Equal(t, 2, st.Connections)
	require.Equal(t, 3, st.Subscriptions)
	require.Equal(t, 3*st.InMsgs, st.OutMsgs)
	require.Equal(t, 3*st.InBytes, st.OutBytes)
}

func TestQueueGroups(t *testing.T) {
	// Aim: each message goes to one member of each group, and to members of
	// one group by different patterns once. Method: count.
	s := serve(t, nats.Options{})
	nc := dial(t, s)
	const total = 3000
	var first, second [3]atomic.Int64
	for i := range 3 {
		pattern := []string{"jobs.x", "jobs.*", "jobs.>"}[i]
		_, err := nc.QueueSubscribe(pattern, "one", func(*natsgo.Msg) { first[i].Add(1) })
		require.NoError(t, err)
		other := dial(t, s)
		_, err = other.QueueSubscribe("jobs.x", "two", func(*natsgo.Msg) { second[i].Add(1) })
		require.NoError(t, err)
		require.NoError(t, other.Flush())
	}
	require.NoError(t, nc.Flush())
	pub := dial(t, s)
	for range total {
		require.NoError(t, pub.Publish("jobs.x", nil))
	}
	require.NoError(t, pub.Flush())
	sum := func(n *[3]atomic.Int64) int64 { return n[0].Load() + n[1].Load() + n[2].Load() }
	require.Eventually(t, func() bool { return sum(&first) >= total && sum(&second) >= total }, waitMax, time.Millisecond)
	require.EqualValues(t, total, sum(&first))
	require.EqualValues(t, total, sum(&second))
	for i := range 3 {
		require.Greater(t, first[i].Load(), int64(total/6))
		require.Greater(t, second[i].Load(), int64(total/6))
	}
}

func TestRequestReply(t *testing.T) {
	// Aim: requests are answered, and fail at once when nobody is there.
	// Method: nats.go's two request styles.
	s := serve(t, nats.Options{})
	server := dial(t, s)
	_, err := server.Subscribe("echo", func(m *natsgo.Msg) { _ = m.Respond(m.Data) }) // the request fails otherwise
	require.NoError(t, err)
	require.NoError(t, server.Flush())
	for _, opts := range [][]natsgo.Option{nil, {natsgo.UseOldRequestStyle()}} {
		nc := dial(t, s, opts...)
		for i := range 100 {
			m, err := nc.Request("echo", fmt.Append(nil, i), waitMax)
			require.NoError(t, err)
			require.Equal(t, strconv.Itoa(i), string(m.Data))
		}
		_, err = nc.Request("nobody", nil, waitMax)
		require.ErrorIs(t, err, natsgo.ErrNoResponders)
	}
}

func TestHeaders(t *testing.T) {
	// Aim: headers arrive, and are cut off for a client that does not know
	// them. Method: a nats.go client with headers, a raw one without.
	s := serve(t, nats.Options{})
	nc := dial(t, s)
	sub, err := nc.SubscribeSync("h")
	require.NoError(t, err)
	old := dialRaw(t, s.Addr())
	old.send("CONNECT {\"verbose\":false,\"headers\":false}\r\nSUB h 1\r\nPING\r\n")
	old.expect("PONG\r\n")
	m := natsgo.NewMsg("h")
	m.Header.Add("K", "v1")
	m.Header.Add("K", "v2")
	m.Data = []byte("body")
	require.NoError(t, nc.PublishMsg(m))
	got := next(t, sub)
	require.Equal(t, []string{"v1", "v2"}, got.Header.Values("K"))
	require.Equal(t, "body", string(got.Data))
	old.expect("MSG h 1 4\r\nbody\r\n")
}

func TestAutoUnsubscribe(t *testing.T) {
	// Aim: UNSUB with a maximum ends the subscription after so many, at the
	// server. Method: publish more, look at the server's interest.
	s := serve(t, nats.Options{})
	nc := dial(t, s)
	sub, err := nc.SubscribeSync("u")
	require.NoError(t, err)
	require.NoError(t, sub.AutoUnsubscribe(5))
	require.NoError(t, nc.Flush())
	require.True(t, s.HasInterest("u"))
	pub := dial(t, s)
	for range 20 {
		require.NoError(t, pub.Publish("u", nil))
	}
	require.NoError(t, pub.Flush())
	require.False(t, s.HasInterest("u"))
	for range 5 {
		next(t, sub)
	}
	_, err = sub.NextMsg(waitMax)
	require.ErrorIs(t, err, natsgo.ErrMaxMessages)
	require.EqualValues(t, 5, s.Stats().OutMsgs)
}

func TestDrain(t *testing.T) {
	// Aim: draining loses nothing that was on its way. Method: drain a
	// subscriber that has had everything sent to it.
	s := serve(t, nats.Options{})
	closed := make(chan struct{})
	nc := dial(t, s, natsgo.ClosedHandler(func(*natsgo.Conn) { close(closed) }))
	var got atomic.Int64
	_, err := nc.Subscribe("d", func(*natsgo.Msg) { got.Add(1) })
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	pub := dial(t, s)
	for range 1000 {
		require.NoError(t, pub.Publish("d", []byte("x")))
	}
	require.NoError(t, pub.Flush())
	require.NoError(t, nc.Drain())
	<-closed
	require.EqualValues(t, 1000, got.Load())
	require.Eventually(t, func() bool { return !s.HasInterest("d") }, waitMax, time.Millisecond)
}

func TestReconnect(t *testing.T) {
	// Aim: clients find a restarted server again and get their messages.
	// Method: close the server and start another on its port.
	s, err := nats.Listen(nats.Options{Addr: "127.0.0.1:0"})
	require.NoError(t, err)
	s.Serve()
	addr := s.Addr()
	again := make(chan struct{}, 1)
	nc := dial(t, s, natsgo.MaxReconnects(-1), natsgo.ReconnectWait(10*time.Millisecond),
		natsgo.ReconnectHandler(func(*natsgo.Conn) { again <- struct{}{} }))
	sub, err := nc.SubscribeSync("r")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	require.NoError(t, s.Close())
	serve(t, nats.Options{Addr: addr})
	<-again
	require.NoError(t, nc.Publish("r", []byte("back")))
	require.Equal(t, "back", string(next(t, sub).Data))
}

func TestAddressInUse(t *testing.T) {
	// Aim: the error of a port in use says so. Method: listen twice.
	s := serve(t, nats.Options{})
	_, err := nats.Listen(nats.Options{Addr: s.Addr()})
	require.ErrorContains(t, err, s.Addr()+" is in use by another process")
}

func TestInProcess(t *testing.T) {
	// Aim: a server without a listener serves in-process clients. Method:
	// nats.go with a request.
	s, err := nats.Listen(nats.Options{NoListen: true})
	require.NoError(t, err)
	s.Serve()
	nc, err := natsgo.Connect("", natsgo.InProcessServer(s))
	require.NoError(t, err)
	_, err = nc.Subscribe("q", func(m *natsgo.Msg) { _ = m.Respond(m.Data) }) // the request fails otherwise
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), waitMax)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, "q", []byte("hello"))
	require.NoError(t, err)
	require.Equal(t, "hello", string(m.Data))
	nc.Close()
	require.NoError(t, s.Close())
	_, err = s.InProcessConn()
	require.ErrorIs(t, err, nats.ErrClosed)
}

func TestManyClientsAtOnce(t *testing.T) {
	// Aim: nothing is lost or doubled while subscriptions come and go.
	// Method: steady subscribers count, others churn, several publish.
	s := serve(t, nats.Options{})
	const publishers, each = 4, 2000
	var got [3]atomic.Int64
	for i := range got {
		nc := dial(t, s)
		_, err := nc.Subscribe("busy.*", func(*natsgo.Msg) { got[i].Add(1) })
		require.NoError(t, err)
		require.NoError(t, nc.Flush())
	}
	stop := make(chan struct{})
	var churn, work sync.WaitGroup
	churner := dial(t, s)
	churn.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			sub, err := churner.Subscribe(fmt.Sprintf("busy.%d", i%8), func(*natsgo.Msg) {})
			if err != nil || churner.Flush() != nil || sub.Unsubscribe() != nil {
				return
			}
		}
	})
	for p := range publishers {
		nc := dial(t, s)
		work.Go(func() { // what is lost is missed below
			for i := range each {
				_ = nc.Publish(fmt.Sprintf("busy.%d", (p+i)%8), []byte("x"))
			}
			_ = nc.Flush()
		})
	}
	work.Wait()
	close(stop)
	churn.Wait()
	for i := range got {
		require.Eventually(t, func() bool { return got[i].Load() == publishers*each }, waitMax, time.Millisecond)
	}
}
