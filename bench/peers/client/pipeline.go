package client

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// runPipeline is the fastest client that one connection allows: PUB frames in
// large writes, answers scanned in place.
func runPipeline(ctx context.Context, j Job) (Result, error) {
	store, err := createAt(ctx, j)
	if err != nil {
		return Result{}, err
	}
	j.Records = 0 // not the number but the time is given
	p, err := startPipeline(ctx, j)
	if err != nil {
		return Result{}, err
	}
	defer p.close()
	n, took, err := measure(p.ctx, j.Warmup, j.Duration, p.win.settled.Load)
	if err != nil {
		return Result{}, err
	}
	if err := p.finish(); err != nil {
		return Result{}, err
	}
	return finishPublish(ctx, j, store, p.win, &p.got, perSecond(n, took))
}

// pipeline is a publisher at work: one goroutine writes, one reads.
type pipeline struct {
	ctx     context.Context // ends with the cause of a failure
	fail    context.CancelCauseFunc
	conn    *rawConn
	content *payloads
	inbox   string
	win     *window
	last    uint64 // how many to send in all
	stop    atomic.Bool
	writer  chan struct{} // closed when writeLoop has ended
	reader  chan struct{} // closed when readLoop has ended
	got     acks          // of readLoop until reader is closed
}

// startPipeline publishes j.Records messages, or without end when that is 0.
func startPipeline(ctx context.Context, j Job) (*pipeline, error) {
	content, err := newPayloads(j.PayloadBytes)
	if err != nil {
		return nil, err
	}
	inbox := nats.NewInbox() + "."
	conn, err := dialRaw(ctx, j.URL, inbox+"*")
	if err != nil {
		return nil, err
	}
	p := &pipeline{
		conn: conn, content: content, inbox: inbox, win: newWindow(j.InFlightMax), last: j.Records,
		writer: make(chan struct{}), reader: make(chan struct{}),
	}
	if p.last == 0 {
		p.last = bitsetMax
	}
	p.ctx, p.fail = context.WithCancelCause(ctx)
	go p.writeLoop()
	go p.readLoop()
	return p, nil
}

// writeLoop ends when all is sent, at stop, or at a failure.
func (p *pipeline) writeLoop() {
	defer close(p.writer)
	prefix := fmt.Appendf(nil, "PUB %s %s", streamSubject, p.inbox)
	suffix := fmt.Appendf(nil, " %d\r\n", p.content.size)
	buf := make([]byte, 0, writeChunkBytes+p.content.size+256)
	for n := uint64(0); n < p.last && !p.stop.Load(); {
		room, err := p.win.acquire(p.ctx)
		if err != nil {
			return // whoever cancelled has said why
		}
		first := n
		buf = buf[:0]
		for ; room > 0 && n < p.last && len(buf) < writeChunkBytes; room-- {
			buf = appendToken(append(buf, prefix...), n)
			buf = p.content.appendTo(append(buf, suffix...), n)
			buf = append(buf, '\r', '\n')
			n++
		}
		p.win.sent.Add(n - first)
		if _, err := p.conn.Write(buf); err != nil {
			p.fail(fmt.Errorf("publish: %w", err))
			return
		}
	}
}

// readLoop ends when the connection is closed or at a failure.
func (p *pipeline) readLoop() {
	defer close(p.reader)
	err := p.conn.receive(
		func(s *scanner) error { return p.got.add(s.subject, s.payload) },
		func() { p.win.advance(p.got.messages.count) })
	if !errors.Is(err, net.ErrClosed) {
		p.fail(fmt.Errorf("read answers: %w", err))
	}
}

// finish waits until all is sent and answered; without j.Records it ends the
// sending first.
func (p *pipeline) finish() error {
	if p.last == bitsetMax {
		p.stop.Store(true)
	}
	select {
	case <-p.writer:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	if err := p.win.drain(p.ctx, drainMax); err != nil {
		return err
	}
	p.close()
	return p.got.complete(p.win.sent.Load())
}

// close ends both goroutines and waits for them.
func (p *pipeline) close() {
	p.fail(nil)
	_ = p.conn.Close() // a second close is harmless
	<-p.writer
	<-p.reader
}
