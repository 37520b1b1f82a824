package client

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// window bounds what is in flight between a sender and whoever sees the
// answers. One goroutine calls acquire, one calls advance.
type window struct {
	max     uint64
	sent    atomic.Uint64 // written by the sender
	settled atomic.Uint64 // written by the receiver
	waiting atomic.Bool
	wake    chan struct{}
}

func newWindow(maxInFlight int) *window {
	return &window{max: uint64(maxInFlight), wake: make(chan struct{}, 1)}
}

// acquire returns how many messages may be sent, at least one. When the window
// is full it waits until an eighth of it is free, so that the two sides do not
// wake each other for every message.
func (w *window) acquire(ctx context.Context) (uint64, error) {
	if room := w.room(); room > 0 {
		return room, nil
	}
	need := max(w.max/8, 1)
	for {
		w.waiting.Store(true)
		if room := w.room(); room >= need {
			w.waiting.Store(false)
			return room, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (w *window) room() uint64 { return w.max - (w.sent.Load() - w.settled.Load()) }

// advance says that messages in all have been answered.
func (w *window) advance(settled uint64) {
	w.settled.Store(settled)
	if w.waiting.Load() && w.room() >= max(w.max/8, 1) && w.waiting.CompareAndSwap(true, false) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// drain waits until everything sent has been answered.
func (w *window) drain(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit,
		fmt.Errorf("%w: not everything was answered %v after the last was sent", ErrLost, limit))
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for w.sent.Load() != w.settled.Load() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d of %d answered: %w", w.settled.Load(), w.sent.Load(), context.Cause(ctx))
		case <-tick.C:
		}
	}
	return nil
}

// drainMax is how long a server may take to answer what is in flight at the
// end of a run.
const drainMax = 60 * time.Second

// measure lets a workload run: warm-up, then the measured time. It returns how
// far count advanced, in what time.
func measure(ctx context.Context, warmup, duration time.Duration, count func() uint64) (uint64, time.Duration, error) {
	if err := pause(ctx, warmup); err != nil {
		return 0, 0, err
	}
	n, start := count(), time.Now()
	if err := pause(ctx, duration); err != nil {
		return 0, 0, err
	}
	n, took := count()-n, time.Since(start)
	if n == 0 {
		return 0, 0, fmt.Errorf("%w: nothing was answered in %v", ErrLost, duration)
	}
	return n, took, nil
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
