package nats

import "time"

// A publisher that is faster than a receiver is slowed down, so that the
// receiver is not cut off for a burst that it could have taken: the publisher's
// connection is not read for a moment. The moment is bounded per run, so that
// one slow receiver cannot stop a publisher that has others, and a receiver
// that does not read at all is not waited for.
const (
	stallGentle = 2 * time.Millisecond  // from Options.StallBytes
	stallHard   = 10 * time.Millisecond // from three quarters of Options.PendingBytesMax
	// stuckAfter is how long a receiver must have read nothing for nobody to
	// wait for it any more.
	stuckAfter = 250 * time.Millisecond
)

// stallBudget is the time that a courier was stalled for in the current run.
type stallBudget struct{ spent time.Duration }

func (b *stallBudget) reset() { b.spent = 0 }

// stall waits until the receiver has caught up or the time for it is used up.
func (c *courier) stall(to *conn) {
	out := &to.out
	limit := stallGentle
	if out.pending.Load() > out.pendingMax/4*3 {
		limit = stallHard
	}
	start := time.Now()
	if c.stalled.spent >= limit || start.UnixNano()-out.moved.Load() > int64(stuckAfter) {
		return
	}
	// What waits for the receiver now must be on its way.
	out.push(nil, 0, 0, false, true)
	c.server.counters.stalls.Add(1)
	timer := time.NewTimer(limit - c.stalled.spent)
	defer timer.Stop()
	for over := false; !over; {
		progress := out.above(c.server.stallBytes)
		if progress == nil {
			break
		}
		select {
		case <-progress:
		case <-timer.C:
			over = true
		}
	}
	c.stalled.spent += time.Since(start)
}
