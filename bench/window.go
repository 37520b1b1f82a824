package bench

import (
	"context"
	"sync/atomic"
	"time"
)

// window bounds what is in flight between one sender and one receiver of
// answers.
type window struct {
	size uint64
	sent atomic.Uint64 // written by the sender
	back atomic.Uint64 // written by the receiver
	wake chan struct{}
}

func newWindow(size int) *window { return &window{size: uint64(size), wake: make(chan struct{}, 1)} }

// acquire waits until there is room, and then for some more of it, so that the
// sender is not woken for each message. It returns how many may be sent; whoever
// sends adds them to sent.
func (w *window) acquire(ctx context.Context) (uint64, error) {
	sent := w.sent.Load()
	if room := w.size - (sent - w.back.Load()); room > 0 {
		return room, nil
	}
	for {
		if room := w.size - (sent - w.back.Load()); room > w.size/8 {
			return room, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// release takes n answers in.
func (w *window) release(n uint64) {
	w.back.Add(n)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// drain waits until everything is answered.
func (w *window) drain(ctx context.Context) error {
	limit := time.NewTimer(drainMax)
	defer limit.Stop()
	for w.back.Load() < w.sent.Load() {
		select {
		case <-w.wake:
		case <-limit.C:
			return ErrStalled
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

const drainMax = 30 * time.Second

// Span is how long a workload runs: Warmup unmeasured, then Duration.
type Span struct {
	Warmup, Duration time.Duration
}

// EnsureDefaults makes it 1 s and 5 s.
func (s *Span) EnsureDefaults() {
	if s.Duration <= 0 {
		s.Duration = 5 * time.Second
		if s.Warmup <= 0 {
			s.Warmup = time.Second
		}
	}
}

// measure lets the work go on and returns how much count grew while it was
// measured, and in how long. begin is called when the warm-up is over.
func (s Span) measure(ctx context.Context, count func() uint64, begin func()) (uint64, time.Duration, error) {
	if err := sleep(ctx, s.Warmup); err != nil {
		return 0, 0, err
	}
	begin()
	start, from := time.Now(), count()
	if err := sleep(ctx, s.Duration); err != nil {
		return 0, 0, err
	}
	return count() - from, time.Since(start), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
