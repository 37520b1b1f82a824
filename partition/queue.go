package partition

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// item is one thing in the proposer's queue: data, or an operation of the state
// machine.
type item struct {
	bytes   int      // the most that it takes in an entry
	channel *Channel // nil for sessions
	data    *Append
	op      *operation // when data is nil
}

// operation is a change of the state machine that waits to be proposed.
type operation struct {
	code     op
	number   uint64    // of opTrimChannel: first; of sessions: kind
	strings  []byte    // the strings among its fields, encoded
	settings *settings // of opCreateChannel and opSetChannel
	verdict  error     // decided when it was proposed: there is nothing to do
	done     func(error)
}

func (it *item) finish(err error) {
	switch {
	case it.data != nil:
		if err == nil {
			err = it.data.Err
		}
		it.data.finish(err)
	case it.op.done != nil:
		if err == nil {
			err = it.op.verdict
		}
		it.op.done(err)
	}
}

// refuse makes err the outcome if the entry that the item is in gets through.
func (it *item) refuse(err error) {
	if it.data != nil {
		it.data.Err = err
		return
	}
	it.op.verdict = err
}

const (
	// The queue is bounded by bytes, not by items, because that is what runs
	// out.
	queueBytesMax = 64 << 20
	// itemBytes is what an item holds besides what it adds to an entry.
	itemBytes = 256
	// leaderWait is how long this node may not lead before what waits, and from
	// then on everything, is refused.
	leaderWait = 5 * time.Second
)

// Refuser is what a Proposer may be, too.
type Refuser interface {
	// Refusal says why nothing can be logged now although nothing is broken: an
	// error that wraps ErrNoSpace or ErrNotLeader, or nil. It must not wait.
	Refusal() error
}

// enqueue hands an item to the proposer; it blocks while the queue is full.
func (p *Partition) enqueue(it item) {
	if it.bytes > p.payloadBytesMax {
		it.finish(fmt.Errorf("%w: it takes %d bytes, an entry of this log has at most %d", ErrTooLarge, it.bytes, p.payloadBytesMax))
		return
	}
	p.mu.Lock()
	if p.queueBytes >= queueBytesMax && p.refusedLocked() == nil {
		p.metrics.queueFull.Inc()
		for p.queueBytes >= queueBytesMax && p.refusedLocked() == nil {
			p.room.Wait()
		}
	}
	if err := p.refusedLocked(); err != nil {
		p.mu.Unlock()
		p.metrics.refused.Inc()
		it.finish(err)
		return
	}
	if p.head > 0 && len(p.queue) == cap(p.queue) {
		p.compactLocked()
	}
	p.queue = append(p.queue, it)
	p.queueBytes += it.bytes + itemBytes
	p.metrics.queueBytes.Set(float64(p.queueBytes))
	p.work.Signal()
	p.mu.Unlock()
}

// refusedLocked says why nothing is taken now, or nil.
func (p *Partition) refusedLocked() error {
	switch {
	case p.stopErr != nil:
		return p.stopErr
	case p.leading:
		return nil
	case p.refusing != nil:
		return p.refusing
	}
	// A full disk may last; publishers should know at once.
	if err := p.refusalLocked(); errors.Is(err, ErrNoSpace) {
		return err
	}
	return nil
}

// refusalLocked is why nothing can be logged now, as far as the proposer knows.
func (p *Partition) refusalLocked() error {
	if r, ok := p.proposer.(Refuser); ok {
		return r.Refusal()
	}
	return nil
}

// compactLocked moves the queue to the front of its memory. What was taken since
// the last time is at least half of it, or the memory is doubled: so moving
// costs no more than adding did.
func (p *Partition) compactLocked() {
	if p.head < len(p.queue)/2 {
		return
	}
	n := copy(p.queue, p.queue[p.head:])
	clear(p.queue[n:])
	p.queue, p.head = p.queue[:n], 0
}

// takeLocked takes an entry's worth of items off the queue.
func (p *Partition) takeLocked(dst []item) (items []item, size int) {
	waiting := p.queue[p.head:]
	n := 0
	for n < len(waiting) {
		next := waiting[n].bytes
		if n > 0 && (size+next > p.frameBytes || next >= aloneBytes) {
			break
		}
		n, size = n+1, size+next
		if next >= aloneBytes {
			break
		}
	}
	items = append(dst, waiting[:n]...)
	clear(waiting[:n])
	p.head += n
	if p.head == len(p.queue) {
		p.queue, p.head = p.queue[:0], 0
	}
	if p.queueBytes >= queueBytesMax {
		p.room.Broadcast()
	}
	p.queueBytes -= size + n*itemBytes
	p.metrics.queueBytes.Set(float64(p.queueBytes))
	return items, size
}

// takeAllLocked empties the queue.
func (p *Partition) takeAllLocked() []item {
	items := p.queue[p.head:]
	p.queue, p.head, p.queueBytes = nil, 0, 0
	p.metrics.queueBytes.Set(0)
	p.room.Broadcast()
	return items
}

func (p *Partition) finishAll(items []item, err error) {
	for i := range items {
		items[i].finish(err)
	}
	p.metrics.refused.Add(float64(len(items)))
}

// Lead is called when this node leads the partition under the given term and
// every entry from before is applied.
func (p *Partition) Lead(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.epoch++
	p.term, p.leading, p.refusing = term, true, nil
	if p.patience != nil {
		p.patience.Stop()
		p.patience = nil
	}
	p.work.Signal()
}

// Follow is called when this node does not lead the partition any more, before
// it can lead again. What waits is refused when that stays so for a while. No
// Propose is under way when it returns.
func (p *Partition) Follow() {
	p.fence.Lock()
	defer p.fence.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leaderlessLocked()
}

// leaderlessLocked begins the time after which what waits is refused.
func (p *Partition) leaderlessLocked() {
	p.leading = false
	if p.patience == nil && p.refusing == nil && p.stopErr == nil {
		epoch := p.epoch
		p.patience = time.AfterFunc(leaderWait, func() { p.giveUp(epoch) })
	}
}

// giveUp refuses what waits, and what comes until there is a leader, if there
// was none since the epoch. It runs on a timer that Lead and Close stop.
func (p *Partition) giveUp(epoch uint64) {
	p.mu.Lock()
	if p.leading || p.epoch != epoch || p.stopErr != nil {
		p.mu.Unlock()
		return
	}
	p.wg.Add(1) // before stopErr is set, so before Close waits
	defer p.wg.Done()
	p.patience = nil
	if p.refusing = p.refusalLocked(); p.refusing == nil {
		p.refusing = ErrNotLeader
	}
	items, reason := p.takeAllLocked(), p.refusing
	p.mu.Unlock()
	p.finishAll(items, reason)
}

// Fail ends all writing for good with the given reason, which callers get
// wrapped with ErrClosed; reads go on. It is for a log that can't be written any
// more.
func (p *Partition) Fail(reason error) {
	if !errors.Is(reason, ErrClosed) {
		reason = fmt.Errorf("%w: %w", ErrClosed, reason)
	}
	p.mu.Lock()
	if p.stopErr != nil {
		p.mu.Unlock()
		return
	}
	p.stopErr = reason
	if p.patience != nil {
		p.patience.Stop()
		p.patience = nil
	}
	items := p.takeAllLocked()
	p.work.Broadcast()
	p.mu.Unlock()
	p.finishAll(items, reason)
}

// operate proposes an operation. c is the channel that it concerns, or nil.
func (p *Partition) operate(c *Channel, o *operation) {
	n := commandBytesMax + opBytesMax + len(o.strings) + len(o.settings.bytes())
	if c != nil {
		n += c.createBytes()
	}
	p.enqueue(item{bytes: n, channel: c, op: o})
}

// await proposes an operation and waits for its outcome.
func (p *Partition) await(ctx context.Context, c *Channel, o *operation) error {
	done := make(chan error, 1)
	o.done = func(err error) { done <- err }
	p.operate(c, o)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}
