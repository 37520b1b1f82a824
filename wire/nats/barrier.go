package nats

import (
	"sync/atomic"
	"time"
)

// A client that drains a subscription sends UNSUB and PING, and takes the PONG
// for the promise that nothing more comes: what comes later it drops.
//
// Problem: a courier stages what it has for a connection until the end of its
// run, so that a message for the subscription may still be on its way when the
// PONG goes out. In a queue group that message was this member's alone, and is
// lost.
//
// Invariants: a courier's run number is odd from before it looks for receivers
// until all that it staged is in their outboxes. A subscription is out of the
// tree before the numbers are read. So whoever found the subscription has an odd
// number then, and what it found is in the outbox when the number has changed.
//
// Steps: UNSUB marks the connection; its next PING finishes its own run, so that
// two that wait do not wait for each other, waits for the runs under way, and
// begins a new one. What this process publishes through an Outlet is not waited
// for.
type runNumber struct{ n atomic.Uint64 }

// begin is called by the courier's goroutine, between runs.
func (r *runNumber) begin() { r.n.Add(1) }

// end is called by the courier's goroutine; between runs it does nothing.
func (r *runNumber) end() {
	if n := r.n.Load(); n%2 == 1 {
		r.n.Store(n + 1)
	}
}

const (
	// runWaitMax bounds the wait for a run: one whose publisher is held up, as
	// by a full store, takes as long as that. What it has staged comes behind
	// the PONG then.
	runWaitMax   = 100 * time.Millisecond
	runWaitPause = 50 * time.Microsecond
)

// awaitRuns waits until what other connections have staged for subscriptions
// that are gone is in this connection's outbox. It is called between runs.
func (c *conn) awaitRuns() {
	type run struct {
		of *runNumber
		n  uint64
	}
	var runs []run
	c.server.mu.Lock()
	for other := range c.server.conns {
		if n := other.courier.run.n.Load(); n%2 == 1 {
			runs = append(runs, run{&other.courier.run, n})
		}
	}
	c.server.mu.Unlock()
	if len(runs) == 0 {
		return
	}
	until := time.Now().Add(runWaitMax)
	timer := time.NewTimer(runWaitPause)
	defer timer.Stop()
	for _, r := range runs {
		for r.of.n.Load() == r.n {
			if time.Now().After(until) || c.down.Load() {
				return
			}
			<-timer.C
			timer.Reset(runWaitPause)
		}
	}
}
