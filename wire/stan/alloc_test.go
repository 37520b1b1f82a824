package stan_test

import (
	"fmt"
	"sync/atomic"
	"testing"

	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan"
	"leat.dev/leat/wire/stan/pb"
)

// counter counts messages of one subject within the process, and acknowledges
// deliveries.
type counter struct {
	n      *atomic.Int64
	want   int64
	done   chan struct{}
	outlet wire.Outlet // for acknowledgements; nil: none
	inbox  *atomic.Pointer[[]byte]
	ack    []byte
}

func (c *counter) Attach(wire.Source) wire.Sink { return c }

func (c *counter) Msg(m *wire.Msg) {
	if c.outlet != nil {
		var p pb.MsgProto
		if p.Decode(m.Data) != nil {
			return
		}
		a := pb.Ack{Subject: p.Subject, Sequence: p.Sequence}
		c.ack = a.Append(c.ack[:0])
		c.outlet.Send(*c.inbox.Load(), nil, nil, c.ack, nil)
	}
	if c.n.Add(1)%c.want == 0 {
		c.done <- struct{}{}
	}
}

func (c *counter) Flush() {
	if c.outlet != nil {
		c.outlet.Flush()
	}
}

// Detach is called by the goroutine that the outlet belongs to.
func (c *counter) Detach() {
	if c.outlet != nil {
		c.outlet.Close()
	}
}

// Aim: a message takes no memory of its own on its way in, out, and with both
// acknowledgements; what is taken is paid per batch. Method: a publisher and a
// subscriber within the process, so that the bus and the front-end are all there
// is; allocations of runs of 1,000 messages, the whole node's.
func TestMessageAllocatesNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("measures")
	}
	s := start(t, stan.Options{})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	bus := s.node.Router()
	const run = 1000
	out := bus.Outlet()
	defer out.Close()
	acks := &counter{n: &atomic.Int64{}, want: run, done: make(chan struct{}, 1)}
	sub, err := bus.Subscribe("_STAN.acks.test", acks)
	require.NoError(t, err)
	defer sub.Close()
	inbox := &atomic.Pointer[[]byte]{}
	got := &counter{n: &atomic.Int64{}, want: run, done: make(chan struct{}, 1), outlet: bus.Outlet(), inbox: inbox}
	sub, err = bus.Subscribe("deliver.here", got)
	require.NoError(t, err)
	defer sub.Close()
	var a official.SubscriptionResponse
	r.request(r.SubRequests, &official.SubscriptionRequest{ClientID: "me", Subject: "foo", Inbox: "deliver.here", MaxInFlight: 4096, AckWaitInSecs: 30}, &a)
	require.Empty(t, a.Error)
	ackInbox := []byte(a.AckInbox)
	inbox.Store(&ackInbox)

	subject, reply := []byte("_STAN.pub.test-cluster.foo"), []byte("_STAN.acks.test")
	msg := (&pb.PubMsg{
		ClientID: []byte("me"), GUID: []byte("0123456789abcdefghijkl"), Subject: []byte("foo"), Data: make([]byte, 128),
		ConnID: fmt.Appendf(nil, "conn-me%s", r.hb),
	}).Append(nil)
	n := testing.AllocsPerRun(50, func() {
		for range run {
			out.Send(subject, reply, nil, msg, nil)
		}
		out.Flush()
		<-acks.done
		<-got.done
	})
	t.Logf("%.3f allocations a message", n/run)
	require.Less(t, n/run, 0.2)
}
