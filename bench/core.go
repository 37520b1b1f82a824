package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nuid"

	"leat.dev/leat/bench/rawnats"
)

// CoreOptions say how many publish to how many.
type CoreOptions struct {
	Server string
	Span
	// Publishers and Subscribers are 1 by default. Every subscriber gets what
	// every publisher sends.
	Publishers, Subscribers int
	// MessageBytes is 128 by default.
	MessageBytes int
	// InFlight is how far a publisher may be ahead of the slowest subscriber;
	// 8,192 by default.
	InFlight int
}

// EnsureDefaults fills in what was left out.
func (o *CoreOptions) EnsureDefaults() {
	o.Span.EnsureDefaults()
	for p, n := range map[*int]int{&o.Publishers: 1, &o.Subscribers: 1, &o.MessageBytes: 128, &o.InFlight: 8192} {
		if *p == 0 {
			*p = n
		}
	}
}

// Validate says what makes no sense.
func (o *CoreOptions) Validate() error {
	if o.Publishers < 1 || o.Publishers > 256 || o.Subscribers < 1 || o.Subscribers > 4096 || o.InFlight < 1 {
		return fmt.Errorf("%w: %d publishers, %d subscribers, %d in flight", ErrOptions, o.Publishers, o.Subscribers, o.InFlight)
	}
	return nil
}

// Core measures publish and subscribe without storage, over bare connections, so
// that the server is what is measured. Order and content are compared. It works
// on any NATS server.
func Core(ctx context.Context, o CoreOptions) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	content, err := newPayloads(o.MessageBytes)
	if err != nil {
		return nil, err
	}
	f := &fanout{o: &o, content: content, subject: "bench." + nuid.Next(), seen: make([][]atomic.Uint64, o.Publishers)}
	f.moved = sync.NewCond(&f.mu)
	for i := range f.seen {
		f.seen[i] = make([]atomic.Uint64, o.Subscribers)
	}
	n, took, err := f.run(ctx)
	if err != nil {
		return nil, err
	}
	r := &Report{Workload: "core", Parameters: []Parameter{
		{"publishers", o.Publishers},
		{"subscribers", o.Subscribers},
		{"message bytes", o.MessageBytes},
		{"in flight", o.InFlight},
		{"seconds", o.Duration.Seconds()},
	}}
	r.rates("delivered", n, o.MessageBytes, took)
	r.add("published", "msgs/s", float64(n)/float64(o.Subscribers)/took.Seconds())
	return r, nil
}

// fanout is that workload under way: a goroutine for each publisher and each
// subscriber.
type fanout struct {
	o       *CoreOptions
	content *payloads
	subject string
	stop    atomic.Bool
	work    sync.WaitGroup

	seen  [][]atomic.Uint64 // messages of a publisher that a subscriber has
	mu    sync.Mutex
	moved *sync.Cond // something in seen changed
}

func (f *fanout) run(ctx context.Context) (n uint64, took time.Duration, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	var conns []*rawnats.Conn
	defer func() {
		fail(nil)
		f.wake()
		for _, c := range conns {
			_ = c.Close() // Receive ends by it
		}
		f.work.Wait()
	}()
	defer context.AfterFunc(ctx, f.wake)()
	dial := func() (*rawnats.Conn, error) {
		c, err := rawnats.Dial(ctx, rawnats.Options{URL: f.o.Server, Name: "leat bench"})
		if err == nil {
			conns = append(conns, c)
		}
		return c, err
	}
	for i := range f.o.Subscribers {
		c, err := dial()
		if err != nil {
			return 0, 0, err
		}
		ready := make(chan struct{})
		f.work.Go(func() { f.subscribe(c, i, ready, fail) })
		select {
		case <-ready:
		case <-ctx.Done():
			return 0, 0, context.Cause(ctx)
		}
	}
	for i := range f.o.Publishers {
		c, err := dial()
		if err != nil {
			return 0, 0, err
		}
		f.work.Go(func() { drainConn(c, fail) })
		f.work.Go(func() { f.publish(ctx, c, i, fail) })
	}
	n, took, err = f.o.Span.measure(ctx, f.delivered, func() {})
	f.stop.Store(true)
	return n, took, err
}

// drainConn answers the server's pings.
func drainConn(c *rawnats.Conn, fail context.CancelCauseFunc) {
	if err := c.Receive(func(*rawnats.Msg) error { return nil }, nil); !errors.Is(err, net.ErrClosed) {
		fail(err)
	}
}

func (f *fanout) delivered() uint64 {
	sum := uint64(0)
	for i := range f.seen {
		for k := range f.seen[i] {
			sum += f.seen[i][k].Load()
		}
	}
	return sum
}

// subscribe closes ready when the subscription is in force.
func (f *fanout) subscribe(c *rawnats.Conn, me int, ready chan struct{}, fail context.CancelCauseFunc) {
	// The message to oneself behind the SUB comes back when that is in force.
	hello := f.subject + ".hello." + nuid.Next()
	ops := rawnats.AppendSub(nil, f.subject+".to.*", 1)
	ops = rawnats.AppendSub(ops, hello, 2)
	if err := c.Write(rawnats.AppendPub(ops, hello, "", nil)); err != nil {
		fail(err)
		return
	}
	prefix := len(f.subject) + len(".to.")
	next := make([]uint64, f.o.Publishers)
	err := c.Receive(func(m *rawnats.Msg) error {
		if m.SID == 2 {
			close(ready)
			return nil
		}
		from := int(m.Subject[prefix]-'A')*16 + int(m.Subject[prefix+1]-'A')
		if from < 0 || from >= len(next) {
			return fmt.Errorf("%w: subject %s", ErrContent, m.Subject)
		}
		if _, err := f.content.check(m.Data, next[from]); err != nil {
			return err
		}
		next[from]++
		return nil
	}, func() error {
		for i, n := range next {
			f.seen[i][me].Store(n)
		}
		f.wake()
		return nil
	})
	if !errors.Is(err, net.ErrClosed) {
		fail(err)
	}
}

func (f *fanout) wake() {
	f.mu.Lock()
	f.moved.Broadcast()
	f.mu.Unlock()
}

// room is how many more messages publisher me may send.
func (f *fanout) room(me int, sent uint64) uint64 {
	slowest := sent
	for k := range f.seen[me] {
		slowest = min(slowest, f.seen[me][k].Load())
	}
	return uint64(f.o.InFlight) - min(sent-slowest, uint64(f.o.InFlight))
}

func (f *fanout) publish(ctx context.Context, c *rawnats.Conn, me int, fail context.CancelCauseFunc) {
	head := fmt.Appendf(nil, "PUB %s.to.%c%c %d\r\n", f.subject, 'A'+me/16, 'A'+me%16, f.o.MessageBytes)
	buf := make([]byte, 0, writeBytes+f.o.MessageBytes+256)
	for sent := uint64(0); !f.stop.Load(); {
		f.mu.Lock()
		room := f.room(me, sent)
		for room <= uint64(f.o.InFlight)/8 && ctx.Err() == nil {
			f.moved.Wait()
			room = f.room(me, sent)
		}
		f.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		for buf = buf[:0]; room > 0 && len(buf) < writeBytes; room-- {
			buf = f.content.appendTo(append(buf, head...), sent, 0)
			buf = append(buf, '\r', '\n')
			sent++
		}
		if err := c.Write(buf); err != nil {
			if ctx.Err() == nil && !f.stop.Load() {
				fail(err)
			}
			return
		}
	}
}
