package replication

import (
	"fmt"

	"github.com/hashicorp/raft"
)

// failure returns why the group has stopped, or nil.
func (g *Group) failure() error {
	if err := g.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// halt stops the group for good and never returns. It is called by Raft's goroutines with an error that Raft must not see.
// The goroutine stays for the life of the process, and with it what it holds: that is the price of a Raft that cannot be
// told.
func (g *Group) halt(cause error) {
	g.haltOnce.Do(func() {
		close(g.halted)
		go g.detach(cause)
	})
	g.fail(cause)
	park()
}

// park never returns.
func park() { select {} }

// detach lets go of a Raft with a parked goroutine: it may never answer, so no one waits for it any more, and no peer may
// talk to it.
func (g *Group) detach(cause error) {
	<-g.started
	if g.raft == nil {
		return
	}
	g.raft.Shutdown()
	if t, ok := g.transport.(raft.WithClose); ok {
		if err := t.Close(); err != nil {
			g.o.Logger.Error("cannot close the transport", "error", err)
		}
	}
	g.queue.abort(fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause))
}

// fail stops the group for good, and returns at once: it is called by Raft's goroutines, which go on until they are told to
// end.
func (g *Group) fail(cause error) {
	g.failOnce.Do(func() {
		err := fmt.Errorf("partition %d: %w: %w", g.o.Partition, ErrStopped, cause)
		g.failed.Store(&err)
		g.lead.Store(nil)
		g.metrics.stopped.Set(1)
		g.stop()
		go g.endLoop(err)
	})
}

// endLoop shuts Raft down after a failure. It ends when that is done and the owner has been told.
func (g *Group) endLoop(err error) {
	<-g.started
	if g.raft == nil {
		close(g.ended)
		return
	}
	g.drain(err)
	g.shutdown()
	close(g.ended)
	g.o.Logger.Error("the group has stopped", "error", err)
	if g.o.OnStop != nil {
		g.o.OnStop(err)
	}
}

// drain waits until every proposal that Raft knows of has its answer, and sees to it that it gets no other. Raft takes
// proposals into a buffer even when it is shut down, and then never answers.
func (g *Group) drain(err error) {
	// Whoever was admitted before the failure has handed its proposal over when this lock is taken.
	g.closing.Lock()
	closed := g.closed
	g.closing.Unlock()
	if closed {
		<-g.drained
		return
	}
	drained := make(chan struct{})
	g.closing.RLock()
	if closed = g.closed; !closed {
		g.queue.in <- proposal{err: err, done: func(uint64, error) { close(drained) }}
	}
	g.closing.RUnlock()
	if closed {
		drained = g.drained
	}
	<-drained
}

// shutdown ends Raft and waits for it, unless one of its goroutines is parked.
func (g *Group) shutdown() {
	g.downOnce.Do(func() {
		down := make(chan struct{})
		go func() {
			defer close(down)
			// The future of a shutdown has no error.
			_ = g.raft.Shutdown().Error()
		}()
		select {
		case <-down:
		case <-g.halted:
		}
	})
}
