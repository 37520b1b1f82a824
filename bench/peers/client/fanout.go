package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
)

const fanoutSubject = "fanout.new"

// fanout has publishers and subscribers, a bare connection each, on one core
// subject: every subscriber gets every message. What is published and not yet
// delivered everywhere is bounded, so that no server has to drop.
type fanout struct {
	ctx     context.Context // ends with the cause of a failure
	fail    context.CancelCauseFunc
	content *payloads
	stop    atomic.Bool
	readers sync.WaitGroup // end when their connection is closed
	writers sync.WaitGroup // end at stop or failure
	conns   []*rawConn

	windows   []*window // by publisher
	delivered atomic.Uint64

	mu       sync.Mutex
	received [][]uint64 // by publisher, by subscriber; guarded by mu
}

// The number of a message of publisher p is p<<fanoutShift plus its place.
const fanoutShift = 40

func runFanout(ctx context.Context, j Job) (Result, error) {
	content, err := newPayloads(j.PayloadBytes)
	if err != nil {
		return Result{}, err
	}
	f := &fanout{content: content}
	f.ctx, f.fail = context.WithCancelCause(ctx)
	defer f.close()
	for range j.Publishers {
		f.windows = append(f.windows, newWindow(max(j.InFlightMax/j.Publishers, 1)))
		f.received = append(f.received, make([]uint64, j.Subscribers))
	}
	for i := range j.Subscribers {
		conn, err := f.dial(j.URL, fanoutSubject)
		if err != nil {
			return Result{}, err
		}
		f.readers.Go(func() { f.subscribeLoop(conn, i) })
	}
	for i := range j.Publishers {
		conn, err := f.dial(j.URL)
		if err != nil {
			return Result{}, err
		}
		f.readers.Go(func() { f.answerLoop(conn) })
		f.writers.Go(func() { f.publishLoop(conn, i) })
	}
	n, took, err := measure(f.ctx, j.Warmup, j.Duration, f.delivered.Load)
	if err != nil {
		return Result{}, err
	}
	f.stop.Store(true)
	f.writers.Wait()
	var sent uint64
	for i, w := range f.windows {
		if err := w.drain(f.ctx, drainMax); err != nil {
			return Result{}, fmt.Errorf("publisher %d: %w", i, err)
		}
		sent += w.sent.Load()
	}
	rate := perSecond(n, took)
	return Result{Messages: sent * uint64(1+j.Subscribers), Metrics: []Metric{
		{"delivered", "msg/s", rate},
		{"published", "msg/s", rate / float64(j.Subscribers)},
	}}, nil
}

func (f *fanout) dial(url string, subjects ...string) (*rawConn, error) {
	conn, err := dialRaw(f.ctx, url, subjects...)
	if err == nil {
		f.conns = append(f.conns, conn)
	}
	return conn, err
}

// close ends all goroutines and waits for them.
func (f *fanout) close() {
	f.stop.Store(true)
	f.fail(nil)
	for _, c := range f.conns {
		_ = c.Close() // nothing is lost by a failure here
	}
	f.writers.Wait()
	f.readers.Wait()
}

// publishLoop ends at stop or a failure.
func (f *fanout) publishLoop(conn *rawConn, id int) {
	win := f.windows[id]
	head := fmt.Appendf(nil, "PUB %s %d\r\n", fanoutSubject, f.content.size)
	buf := make([]byte, 0, writeChunkBytes+f.content.size+256)
	n := uint64(id) << fanoutShift
	for !f.stop.Load() {
		room, err := win.acquire(f.ctx)
		if err != nil {
			return // whoever cancelled has said why
		}
		first := n
		buf = buf[:0]
		for ; room > 0 && len(buf) < writeChunkBytes; room-- {
			buf = f.content.appendTo(append(buf, head...), n)
			buf = append(buf, '\r', '\n')
			n++
		}
		win.sent.Add(n - first)
		if _, err := conn.Write(buf); err != nil {
			f.fail(fmt.Errorf("publish: %w", err))
			return
		}
	}
}

// answerLoop answers a publisher's pings; it ends when the connection closes.
func (f *fanout) answerLoop(conn *rawConn) {
	f.ended(conn.receive(func(s *scanner) error {
		return fmt.Errorf("%w: a message for a publisher, on %q", ErrProtocol, s.subject)
	}, func() {}))
}

// subscribeLoop checks what one subscriber gets; it ends when the connection
// closes.
func (f *fanout) subscribeLoop(conn *rawConn, id int) {
	due := make([]uint64, len(f.windows)) // by publisher
	var fresh uint64
	take := func(s *scanner) error {
		if len(s.payload) < tokenBytes {
			return fmt.Errorf("%w: %d bytes", ErrBadRecord, len(s.payload))
		}
		n, ok := parseToken(s.payload[:tokenBytes])
		from := n >> fanoutShift
		if !ok || from >= uint64(len(due)) {
			return fmt.Errorf("%w: %q", ErrBadRecord, s.payload)
		}
		if err := f.content.check(s.payload, from<<fanoutShift+due[from]); err != nil {
			return fmt.Errorf("subscriber %d: %w", id, err)
		}
		due[from]++
		fresh++
		return nil
	}
	f.ended(conn.receive(take, func() {
		f.delivered.Add(fresh)
		fresh = 0
		f.settle(id, due)
	}))
}

// settle notes what a subscriber has and moves the publishers' windows on.
func (f *fanout) settle(subscriber int, due []uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, n := range due {
		bySub := f.received[p]
		if bySub[subscriber] == n {
			continue
		}
		bySub[subscriber] = n
		least := n
		for _, m := range bySub {
			least = min(least, m)
		}
		if least != f.windows[p].settled.Load() {
			f.windows[p].advance(least)
		}
	}
}

func (f *fanout) ended(err error) {
	if !errors.Is(err, net.ErrClosed) {
		f.fail(fmt.Errorf("read: %w", err))
	}
}
