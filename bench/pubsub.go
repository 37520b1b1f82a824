package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"leat.dev/leat/bench/rawnats"
	"leat.dev/leat/wire/api"
)

// PubSub measures acknowledged publishes together with one follower of the
// channel, who gets each record after it is stored. Order and content are
// compared.
func PubSub(ctx context.Context, o PublishOptions) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	content, err := newPayloads(o.RecordBytes)
	if err != nil {
		return nil, err
	}
	client := "nats.go"
	if o.Pipeline {
		client = "bare connection"
	}
	r := &Report{Workload: "pubsub", Parameters: []Parameter{
		{"publisher", client}, {"record bytes", o.RecordBytes}, {"in flight", o.InFlight}, {"seconds", o.Duration.Seconds()},
	}}
	err = o.withChannel(ctx, func(*nats.Conn) error {
		ctx, fail := context.WithCancelCause(ctx)
		defer fail(nil)
		p := newPublisher(&o, content)
		f := &follower{p: p, latency: NewHistogram(), done: make(chan struct{})}
		if err := f.start(ctx, fail); err != nil {
			return err
		}
		defer f.close()
		var before, after uint64
		p.begin = func() { before = f.got.Load() }
		p.end = func() { after = f.got.Load() }
		n, took, err := p.run(ctx, o.Span, o.Pipeline)
		if err != nil {
			return err
		}
		if err := f.catchUp(ctx, p.win.sent.Load()); err != nil {
			return err
		}
		f.close()
		r.rates("acked", n, o.RecordBytes, took)
		r.rates("followed", after-before, o.RecordBytes, took)
		p.latency.report(r, "acknowledged after")
		f.latency.report(r, "delivered after")
		return nil
	})
	return r, err
}

// follower reads the channel as it grows.
type follower struct {
	p       *publisher
	conn    *rawnats.Conn
	got     atomic.Uint64
	latency *Histogram    // of the goroutine in receive until done is closed
	done    chan struct{} // closed when receive has ended
}

func (f *follower) start(ctx context.Context, fail context.CancelCauseFunc) error {
	conn, err := rawnats.Dial(ctx, rawnats.Options{URL: f.p.o.Server, Name: "leat bench follower"})
	if err != nil {
		return err
	}
	f.conn = conn
	body, err := json.Marshal(api.ReplayRequest{Follow: true})
	if err != nil {
		return err
	}
	inbox := nats.NewInbox()
	ops := rawnats.AppendPub(rawnats.AppendSub(nil, inbox, 1), api.Prefix+"REPLAY."+f.p.o.Channel, inbox, body)
	if err := conn.Write(ops); err != nil {
		return errors.Join(err, conn.Close())
	}
	go f.receive(fail)
	return nil
}

func (f *follower) receive(fail context.CancelCauseFunc) {
	defer close(f.done)
	next := uint64(0)
	err := f.conn.Receive(func(m *rawnats.Msg) error {
		if m.Header == nil {
			return errors.Join(ErrContent, refused(m.Data))
		}
		made, err := f.p.content.check(m.Data, next)
		if err != nil {
			return err
		}
		next++
		if next%latencyEvery == 0 && f.p.measure.Load() {
			f.latency.Record(time.Duration(f.p.now() - made))
		}
		return nil
	}, func() error {
		f.got.Store(next)
		return nil
	})
	if !errors.Is(err, net.ErrClosed) {
		fail(err)
	}
}

// catchUp waits for what was published last.
func (f *follower) catchUp(ctx context.Context, n uint64) error {
	deadline := time.Now().Add(drainMax)
	for f.got.Load() < n {
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: the follower has %d of %d", ErrStalled, f.got.Load(), n)
		}
		if err := sleep(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// close ends receive and waits for it; a second time is harmless.
func (f *follower) close() {
	_ = f.conn.Close()
	<-f.done
}
