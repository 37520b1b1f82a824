package client

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

// runPublish is the client that an application would write on nats.go: core
// publishes with a reply subject each, one wildcard subscription for the
// answers, a bound on what is in flight.
func runPublish(ctx context.Context, j Job) (Result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	store, err := createAt(ctx, j)
	if err != nil {
		return Result{}, err
	}
	content, err := newPayloads(j.PayloadBytes)
	if err != nil {
		return Result{}, err
	}
	nc, err := connect(j.URL, fail)
	if err != nil {
		return Result{}, err
	}
	defer nc.Close()

	win := newWindow(j.InFlightMax)
	var got acks // of the subscription's goroutine until everything is drained
	inbox := nats.NewInbox() + "."
	var subject []byte // reused by the callback
	sub, err := nc.Subscribe(inbox+"*", func(m *nats.Msg) {
		subject = append(subject[:0], m.Subject...)
		if err := got.add(subject, m.Data); err != nil {
			fail(err)
			return
		}
		win.advance(got.messages.count)
	})
	if err != nil {
		return Result{}, fmt.Errorf("subscribe to answers: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return Result{}, fmt.Errorf("lift the limits of the answers: %w", err)
	}

	var stop atomic.Bool
	done := make(chan error, 1)
	go func() { done <- publishLoop(ctx, nc, inbox, content, win, &stop) }()
	n, took, err := measure(ctx, j.Warmup, j.Duration, win.settled.Load)
	stop.Store(true)
	if e := <-done; err == nil {
		err = e
	}
	if err != nil {
		return Result{}, err
	}
	if err := win.drain(ctx, drainMax); err != nil {
		return Result{}, err
	}
	return finishPublish(ctx, j, store, win, &got, perSecond(n, took))
}

// publishLoop sends until stop.
func publishLoop(ctx context.Context, nc *nats.Conn, inbox string, content *payloads, win *window, stop *atomic.Bool) error {
	var payload, reply []byte
	for n := uint64(0); !stop.Load(); {
		room, err := win.acquire(ctx)
		if err != nil {
			return err
		}
		for ; room > 0 && !stop.Load(); room-- {
			payload = content.appendTo(payload[:0], n)
			reply = appendToken(append(reply[:0], inbox...), n)
			win.sent.Add(1)
			if err := nc.PublishRequest(streamSubject, string(reply), payload); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			n++
		}
	}
	return nil
}

// finishPublish checks the whole run and makes its result.
func finishPublish(ctx context.Context, j Job, store Store, win *window, got *acks, rate float64) (Result, error) {
	sent := win.sent.Load()
	if err := got.complete(sent); err != nil {
		return Result{}, err
	}
	if err := checkStored(ctx, store, j.URL, sent); err != nil {
		return Result{}, err
	}
	return Result{Messages: sent, Metrics: []Metric{
		{"acked", "msg/s", rate},
		{"acked payload", "MB/s", rate * float64(j.PayloadBytes) / 1e6},
	}}, nil
}

// connect makes a nats.go connection whose loss or error ends the run.
func connect(url string, fail context.CancelCauseFunc) (*nats.Conn, error) {
	nc, err := nats.Connect(url, nats.NoReconnect(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			fail(fmt.Errorf("connection: %w", err))
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: closed by us
				fail(fmt.Errorf("connection lost: %w", err))
			}
		}))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return nc, nil
}
