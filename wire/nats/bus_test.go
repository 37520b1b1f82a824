package nats_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/nats"
)

// recorder is a handler that writes down what happens to its sinks.
type recorder struct {
	mu    sync.Mutex
	sinks []*recorderSink
	block chan struct{} // Flush waits for it if it is not nil
	onMsg func(src wire.Source, m *wire.Msg)
}

type recorderSink struct {
	r      *recorder
	src    wire.Source
	events []string
}

func (r *recorder) Attach(src wire.Source) wire.Sink {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &recorderSink{r: r, src: src}
	r.sinks = append(r.sinks, s)
	return s
}

func (s *recorderSink) add(event string) {
	s.r.mu.Lock()
	defer s.r.mu.Unlock()
	s.events = append(s.events, event)
}

func (s *recorderSink) Msg(m *wire.Msg) {
	s.add(fmt.Sprintf("%s|%s|%s|%s", m.Subject, m.Reply, m.Header, m.Data))
	if s.r.onMsg != nil {
		s.r.onMsg(s.src, m)
	}
}

func (s *recorderSink) Flush() {
	if s.r.block != nil {
		<-s.r.block
	}
	s.add("flush")
}

func (s *recorderSink) Detach() { s.add("detach") }

// events returns the events of all sinks, "source id: events".
func (r *recorder) events() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, s := range r.sinks {
		all = append(all, fmt.Sprintf("%d %s: %s", s.src.ID(), s.src.Name(), strings.Join(s.events, " ")))
	}
	slices.Sort(all)
	return all
}

func TestSinks(t *testing.T) {
	// Aim: a handler gets a sink per source, a flush at the end of a read,
	// and a detach when the source goes. Method: two clients, one goes.
	s := serve(t, nats.Options{})
	r := &recorder{}
	sub, err := s.Subscribe("in.>", r)
	require.NoError(t, err)
	require.True(t, s.HasInterest("in.x"))
	require.False(t, s.HasInterest("out"))

	a, b := dialRaw(t, s.Addr()), dialRaw(t, s.Addr())
	a.send(`CONNECT {"verbose":false,"headers":true,"name":"A"}` + "\r\nPUB in.1 re 2\r\nhi\r\nHPUB in.2 12 14\r\nNATS/1.0\r\n\r\nho\r\n")
	a.sync()
	b.send(`CONNECT {"verbose":false,"name":"B"}` + "\r\nPUB out 0\r\n\r\n")
	b.sync()
	b.send("PUB in.3 0\r\n\r\n")
	b.sync()
	require.Equal(t, []string{
		"1 A: in.1|re||hi in.2||NATS/1.0\r\n\r\n|ho flush",
		"2 B: in.3||| flush",
	}, r.events())

	a.nc.Close()
	require.Eventually(t, func() bool { return strings.HasSuffix(r.events()[0], " flush detach") }, waitMax, time.Millisecond)

	// After Close nothing is delivered, and b's sink goes at its next read.
	sub.Close()
	sub.Close()
	require.False(t, s.HasInterest("in.x"))
	b.send("PUB in.4 0\r\n\r\n")
	b.sync()
	require.Equal(t, "2 B: in.3||| flush detach", r.events()[1])

	_, err = s.Subscribe("a..b", r)
	require.ErrorContains(t, err, `"a..b"`)
}

func TestSinkPushesBack(t *testing.T) {
	// Aim: a source is not read while a Flush blocks, and others are. Method:
	// block it and look at who gets an answer.
	s := serve(t, nats.Options{})
	r := &recorder{block: make(chan struct{})}
	_, err := s.Subscribe("slow", r)
	require.NoError(t, err)
	a, b := dialRaw(t, s.Addr()), dial(t, s)
	a.send("CONNECT {\"verbose\":false}\r\nPUB slow 0\r\n\r\n")
	require.Eventually(t, func() bool { return len(r.events()) == 1 }, waitMax, time.Millisecond)
	a.send("PING\r\n")
	require.NoError(t, b.Flush())
	require.NoError(t, a.nc.SetReadDeadline(time.Now().Add(30*time.Millisecond)))
	_, err = a.r.ReadByte()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	close(r.block)
	a.expect("PONG\r\n")
}

func TestPublishFromProcess(t *testing.T) {
	// Aim: Publish and Outlets reach clients and handlers, handlers may
	// publish themselves. Method: a handler that answers through the bus.
	s := serve(t, nats.Options{})
	nc := dial(t, s)
	sub, err := nc.SubscribeSync("to.*")
	require.NoError(t, err)
	require.NoError(t, nc.Flush())
	r := &recorder{onMsg: func(_ wire.Source, m *wire.Msg) {
		if len(m.Reply) > 0 {
			s.Publish(string(m.Reply), "", nil, append([]byte("re: "), m.Data...))
		}
	}}
	_, err = s.Subscribe("to.*", r)
	require.NoError(t, err)

	s.Publish("to.a", "to.b", []byte("NATS/1.0\r\nK: v\r\n\r\n"), []byte("one"))
	// The handler answers from a source of its own, so either may be first.
	var got []string
	for range 2 {
		m := next(t, sub)
		got = append(got, strings.Join([]string{m.Subject, m.Reply, m.Header.Get("K"), string(m.Data)}, "|"))
	}
	require.ElementsMatch(t, []string{"to.a|to.b|v|one", "to.b|||re: one"}, got)

	o := s.Outlet()
	require.Zero(t, o.Send([]byte("nobody"), nil, nil, []byte("x"), nil))
	require.Equal(t, 2, o.Send([]byte("to.c"), nil, nil, []byte("a"), []byte("b")))
	o.Flush()
	require.Equal(t, "ab", string(next(t, sub).Data))
	require.NoError(t, o.Drained(t.Context(), 1))
	require.Zero(t, o.Pending())
	o.Close()
	require.Equal(t, []string{
		"0 : to.a|to.b|NATS/1.0\r\nK: v\r\n\r\n|one flush",
		"0 : to.b|||re: one flush",
		"0 : to.c|||ab flush detach",
	}, r.events())
}

func TestOutletKeepsOrder(t *testing.T) {
	// Aim: a long run arrives whole and in order, whatever the sizes, with
	// the receiver's pending bytes held down by Drained. Method: compare.
	s := serve(t, nats.Options{PendingBytesMax: 4 << 20, PayloadBytesMax: 256 << 10})
	nc := dial(t, s)
	sub, err := nc.SubscribeSync("run")
	require.NoError(t, err)
	require.NoError(t, sub.SetPendingLimits(-1, -1))
	require.NoError(t, nc.Flush())
	o := s.Outlet()
	defer o.Close()
	body := slices.Repeat([]byte("0123456789"), 20_000)
	sizes := []int{0, 10, 100, 1000, 3000, 33_000, 65_000, 150_000}
	const total = 2000
	for i := range total {
		size := sizes[i%len(sizes)]
		require.Equal(t, 1, o.Send([]byte("run"), nil, nil, fmt.Appendf(nil, "%06d", i), body[:size]))
		if o.Pending() > 1<<20 {
			require.NoError(t, o.Drained(t.Context(), 512<<10))
			require.Less(t, o.Pending(), 512<<10)
		}
	}
	o.Flush()
	for i := range total {
		m := next(t, sub)
		require.Equal(t, fmt.Sprintf("%06d", i), string(m.Data[:6]))
		require.Equal(t, body[:sizes[i%len(sizes)]], m.Data[6:])
	}
	require.Zero(t, s.Stats().SlowConsumers)
}

func TestDrainedEnds(t *testing.T) {
	// Aim: Drained ends with its context, and when the receiver is gone.
	// Method: a client that does not read.
	s := serve(t, nats.Options{})
	c := dialRaw(t, s.Addr())
	c.send("CONNECT {\"verbose\":false}\r\nSUB stuck 1\r\n")
	c.sync()
	o := s.Outlet()
	defer o.Close()
	body := make([]byte, 100_000)
	for o.Pending() < 10<<20 {
		require.Equal(t, 1, o.Send([]byte("stuck"), nil, nil, body, nil))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, o.Drained(ctx, 1000), context.DeadlineExceeded)
	done := make(chan error)
	go func() { done <- o.Drained(t.Context(), 1000) }()
	c.nc.Close()
	require.NoError(t, <-done)
	require.Zero(t, o.Pending())
}

func TestSlowConsumer(t *testing.T) {
	// Aim: a client that does not read is cut off and counted; its publisher
	// and the other receiver go on. Method: flood a subject with a raw client
	// that does not read and one that does.
	s := serve(t, nats.Options{PendingBytesMax: 8 << 20})
	stuck := dialRaw(t, s.Addr())
	stuck.send("CONNECT {\"verbose\":false}\r\nSUB flood 1\r\n")
	stuck.sync()
	good := dial(t, s)
	sub, err := good.SubscribeSync("flood")
	require.NoError(t, err)
	require.NoError(t, sub.SetPendingLimits(-1, -1))
	require.NoError(t, good.Flush())
	pub := dial(t, s)
	const total = 8000
	for range total {
		require.NoError(t, pub.Publish("flood", make([]byte, 8000)))
	}
	require.NoError(t, pub.Flush())
	for range total {
		next(t, sub)
	}
	st := s.Stats()
	require.EqualValues(t, 1, st.SlowConsumers)
	require.Equal(t, 2, st.Connections)
	stuck.rest()
}

func TestWriteDeadline(t *testing.T) {
	// Aim: a client that takes nothing for the write deadline is cut off,
	// even if little is pending. Method: more than the socket's buffers hold.
	s := serve(t, nats.Options{WriteDeadline: 100 * time.Millisecond})
	stuck := dialRaw(t, s.Addr())
	stuck.send("CONNECT {\"verbose\":false}\r\nSUB flood 1\r\n")
	stuck.sync()
	pub := dial(t, s)
	for range 30 {
		require.NoError(t, pub.Publish("flood", make([]byte, 1<<20)))
	}
	require.NoError(t, pub.Flush())
	require.Eventually(t, func() bool { return s.Stats().SlowConsumers == 1 }, waitMax, time.Millisecond)
	require.False(t, s.HasInterest("flood"))
}

func TestMaxPayloadOfClient(t *testing.T) {
	// Aim: nats.go knows the limit from INFO. Method: one byte more.
	s := serve(t, nats.Options{PayloadBytesMax: 1000})
	nc := dial(t, s)
	require.EqualValues(t, 1000, nc.MaxPayload())
	require.Equal(t, 1000, s.PayloadBytesMax())
	require.NoError(t, nc.Publish("x", make([]byte, 1000)))
	require.ErrorIs(t, nc.Publish("x", make([]byte, 1001)), natsgo.ErrMaxPayload)
	require.NoError(t, nc.Flush())
}

func TestInboxes(t *testing.T) {
	// Aim: inboxes are literal and fresh. Method: a thousand.
	s := serve(t, nats.Options{})
	seen := make(map[string]bool)
	for range 1000 {
		in := s.NewInbox()
		require.Regexp(t, `^_INBOX\.[0-9A-Za-z]{22}$`, in)
		require.False(t, seen[in])
		seen[in] = true
	}
}

func TestStats(t *testing.T) {
	// Aim: the admin pages' figures are right. Method: one named client.
	s := serve(t, nats.Options{})
	nc := dial(t, s, natsgo.Name("someone"))
	sub, err := nc.SubscribeSync("x")
	require.NoError(t, err)
	require.NoError(t, nc.Publish("x", []byte("12345")))
	next(t, sub)
	require.NoError(t, nc.Flush())
	cs := s.Connections()
	require.Len(t, cs, 1)
	require.Equal(t, "someone", cs[0].Name)
	require.Equal(t, "go", cs[0].Lang)
	require.Equal(t, 1, cs[0].Subscriptions)
	require.Equal(t, []uint64{1, 5, 1, 5}, []uint64{cs[0].InMsgs, cs[0].InBytes, cs[0].OutMsgs, cs[0].OutBytes})
	st := s.Stats()
	require.Equal(t, []uint64{1, 5, 1, 5}, []uint64{st.InMsgs, st.InBytes, st.OutMsgs, st.OutBytes})
}
