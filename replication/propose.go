package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/hashicorp/raft"
)

// A leadership is a term in which the machine was told to lead.
type leadership struct {
	term uint64
	mark []byte // the term as Log.Extensions; see termGuard in logstore.go
}

func newLeadership(term uint64) *leadership {
	return &leadership{term: term, mark: binary.LittleEndian.AppendUint64(nil, term)}
}

// A proposal waits for its future. One without a future was refused with err.
type proposal struct {
	future future
	err    error
	done   func(index uint64, err error)
}

// future is what Raft returns for a proposal and for a barrier.
type future interface{ Error() error }

// Propose hands a payload to Raft and returns; it waits while InFlightMax proposals are not done. It is called by one
// goroutine. The payload must not change until done was called.
//
// done is called once, in the order of Propose, by one goroutine of the group: after the machine has applied the entry, or
// with an error of errors.go. Once Close was called, Propose calls it, after those of all
// earlier proposals. It must not wait, and must not call Propose or
// Close.
func (g *Group) Propose(payload []byte, done func(index uint64, err error)) {
	g.closing.RLock()
	defer g.closing.RUnlock()
	if g.closed {
		<-g.drained
		done(0, ErrClosed)
		return
	}
	lead, err := g.admit(len(payload))
	if err != nil {
		g.queue.in <- proposal{err: err, done: done}
		return
	}
	g.metrics.proposed.Inc()
	f := g.raft.ApplyLog(raft.Log{Data: payload, Extensions: lead.mark}, 0)
	g.queue.in <- proposal{future: f, done: done}
}

// admit tells why a proposal cannot be accepted now.
func (g *Group) admit(payloadBytes int) (*leadership, error) {
	if err := g.failure(); err != nil {
		return nil, err
	}
	if payloadBytes > g.payloadBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, payloadBytes, g.payloadBytesMax)
	}
	if lead := g.lead.Load(); lead != nil {
		return lead, nil
	}
	if refusal := g.refusal.Load(); refusal != nil {
		return nil, *refusal
	}
	return nil, ErrNotLeader
}

// outcome translates what Raft says about a proposal.
func outcome(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errStaleTerm), errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return ErrNotLeader
	case errors.Is(err, ErrNoSpace), errors.Is(err, ErrRefused):
		return err
	}
	return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
}

// completer calls done of proposals in order.
//
// A future of Raft has no way to wait for it and for something else, and when Raft is shut down while a goroutine of its
// is parked, futures stay without an answer. So abort takes the one that is being waited for from the completer, which is
// then left behind if the future never answers, and starts another goroutine for the rest.
type completer struct {
	in      chan proposal // bounded by InFlightMax; closed when no one sends any more
	metrics *metrics
	done    sync.WaitGroup // the goroutine that is in charge

	mu       sync.Mutex // held while done of a proposal runs
	current  proposal   // guarded by mu; the one whose future is being waited for
	waiting  bool       // guarded by mu; there is one
	replaced uint64     // guarded by mu; how many goroutines were left behind
	aborted  error      // guarded by mu; futures are not waited for any more
}

func newCompleter(limit int, m *metrics) *completer {
	c := &completer{in: make(chan proposal, limit), metrics: m}
	c.done.Add(1)
	go c.completeLoop()
	return c
}

// completeLoop ends when in is closed and empty, or when abort has replaced it.
func (c *completer) completeLoop() {
	for p := range c.in {
		if !c.complete(p) {
			return
		}
	}
	c.done.Done()
}

// complete reports false when abort was faster and another goroutine is in charge.
func (c *completer) complete(p proposal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.future == nil {
		c.finish(p, 0, p.err)
		return true
	}
	if c.aborted != nil {
		c.finish(p, 0, c.aborted)
		return true
	}
	c.current, c.waiting = p, true
	replaced := c.replaced
	c.mu.Unlock()
	err := p.future.Error()
	c.mu.Lock()
	if c.replaced != replaced {
		return false
	}
	c.current, c.waiting = proposal{}, false
	var index uint64
	if f, ok := p.future.(raft.IndexFuture); ok && err == nil {
		index = f.Index()
	}
	c.finish(p, index, outcome(err))
	return true
}

func (c *completer) finish(p proposal, index uint64, err error) {
	switch {
	case err == nil:
	case errors.Is(err, ErrOutcomeUnknown):
		c.metrics.unknown.Inc()
	default:
		c.metrics.refused.Inc()
	}
	p.done(index, err)
}

// abort ends all waiting for Raft: what is or will be waiting gets err.
func (c *completer) abort(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.aborted = err
	if !c.waiting {
		return
	}
	p := c.current
	c.current, c.waiting = proposal{}, false
	c.replaced++
	c.finish(p, 0, err)
	// The new goroutine inherits the old one's place in done.
	go c.completeLoop()
}

// close ends the completer when everything is done. Nobody sends to in any more.
func (c *completer) close() {
	close(c.in)
	c.done.Wait()
}
