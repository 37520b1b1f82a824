package partition

import (
	"context"
	"errors"
	"time"

	"leat.dev/leat/segment/record"
)

// Proposer puts entries into the partition's Raft log. Package replication has
// it.
type Proposer interface {
	// Propose appends one data entry. It is called by one goroutine; entries
	// enter the log in the order of the calls. done is called exactly once per
	// call, in that order, by one goroutine: with nil after Apply of the entry
	// returned, otherwise with an error that wraps ErrNotLeader, ErrNoSpace or
	// ErrClosed when the entry was surely not written, and ErrUnknownOutcome
	// when that is not known. The payload is the caller's again after done. An
	// entry is logged under the term that Lead was called with last before the
	// call, or not at all.
	Propose(payload []byte, done func(index uint64, err error))
}

// Refuser is what a Proposer may be, too.
type Refuser interface {
	// Refusal says why nothing can be logged now although nothing is broken: an
	// error that wraps ErrNoSpace or ErrNotLeader, or nil. It must not wait.
	Refusal() error
}

// item is one thing in the proposer's queue: data, or an operation of the state
// machine.
type item struct {
	bytes   int
	channel *Channel // that must exist when the item is applied; nil for sessions
	data    *Append
	op      func(dst []byte) []byte // appends one operation, or nothing when there is nothing to do
	opDone  func(error)
}

func (it *item) finish(err error) {
	if it.data != nil {
		it.data.finish(err)
		return
	}
	if it.opDone != nil {
		it.opDone(err)
	}
}

// flight is one entry on its way, with the memory that it needs. Flights are
// used again, so that the steady state takes no new memory.
type flight struct {
	p       *Partition
	items   []item
	term    uint64
	payload []byte
	ops     []byte
	opCount int
	done    func(index uint64, err error) // landed, bound once
}

// The queue is bounded by bytes, not by items, because that is what runs out.
const (
	queueBytesMax = 64 << 20
	// frameBytesMax ends the gathering of an entry. Above some hundred KiB a
	// bigger write is hardly faster, and the acks of its first record wait for
	// its last.
	frameBytesMax = 1 << 20
	// flightsMax: one entry is being synced, one waits to be next; more would
	// be built earlier than needed, from fewer items.
	flightsMax = 2
	// aloneBytes is the size from which a batch is an entry of its own, so that
	// it is not copied once more.
	aloneBytes = 128 << 10
	// leaderWait is how long items wait for this node to lead before they are
	// refused.
	leaderWait = 5 * time.Second
	// flightKeepBytes bounds what an idle flight holds on to.
	flightKeepBytes = 2 << 20
)

// enqueue hands an item to the proposer; it blocks while the queue is full.
func (p *Partition) enqueue(it item) {
	p.mu.Lock()
	for p.queueBytes > queueBytesMax && p.stopErr == nil {
		p.room.Wait()
	}
	if err := p.stopErr; err != nil {
		p.mu.Unlock()
		it.finish(err)
		return
	}
	if !p.leading {
		if err := p.refusedLocked(); errors.Is(err, ErrNoSpace) {
			// That may last; publishers should know at once.
			p.mu.Unlock()
			it.finish(err)
			return
		}
		p.armRefusalLocked()
	}
	p.queue = append(p.queue, it)
	p.queueBytes += it.bytes
	p.work.Signal()
	p.mu.Unlock()
}

// opBytes is what an operation counts for in the queue's bound.
const opBytes = 256

// operate proposes one operation and calls done with its outcome. c is the
// channel that it concerns, or nil.
func (p *Partition) operate(c *Channel, op func(dst []byte) []byte, done func(error)) {
	p.enqueue(item{bytes: opBytes, channel: c, op: op, opDone: done})
}

// await calls f with a callback and waits for that to be called.
func await(ctx context.Context, f func(done func(error))) error {
	done := make(chan error, 1)
	f(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// proposeLoop turns the queue into entries. Started by Start, ended by Close.
func (p *Partition) proposeLoop() {
	defer p.wg.Done()
	for {
		f := p.gather()
		if f == nil {
			return
		}
		p.propose(f)
	}
}

// gather waits until there is something to propose and room to do so, and takes
// an entry's worth of it. It returns nil when the partition stopped.
func (p *Partition) gather() *flight {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.stopErr == nil && (len(p.queue) == 0 || !p.leading || p.flights >= flightsMax) {
		p.work.Wait()
	}
	if p.stopErr != nil {
		return nil
	}
	if p.proposing.term != p.term {
		p.proposing.term = p.term
		p.proposing.channel = p.appliedChannel
		p.proposing.time = p.appliedTime
	}
	n, size := 0, 0
	for n < len(p.queue) {
		next := p.queue[n].bytes
		if n > 0 && (size+next > p.frameBytes || next >= aloneBytes) {
			break
		}
		n, size = n+1, size+next
		if n == 1 && size >= aloneBytes {
			break
		}
	}
	f := p.newFlight()
	f.items = append(f.items, p.queue[:n]...)
	f.term = p.term
	rest := copy(p.queue, p.queue[n:])
	clear(p.queue[rest:])
	p.queue = p.queue[:rest]
	p.queueBytes -= size
	p.flights++
	p.room.Broadcast()
	return f
}

func (p *Partition) newFlight() *flight {
	if n := len(p.idleFlights); n > 0 {
		f := p.idleFlights[n-1]
		p.idleFlights = p.idleFlights[:n-1]
		return f
	}
	f := &flight{p: p}
	f.done = f.landed
	return f
}

// propose builds one entry from the flight's items and sends it off.
func (p *Partition) propose(f *flight) {
	now := max(p.opts.Now(), p.proposing.time)
	p.proposing.time = now
	kept := f.items[:0]
	for _, it := range f.items {
		c := it.channel
		if c != nil && !p.prepare(f, c, now) {
			it.finish(ErrNoChannel)
			continue
		}
		if it.data == nil {
			f.operate(it.op)
			kept = append(kept, it)
			continue
		}
		f.endCommand(now)
		a := it.data
		a.Base, a.Time = c.proposed.next, now
		c.proposed.next += record.Offset(a.Count())
		record.Stamp(a.batch, c.proposed.id, a.Base, f.term, now)
		if len(f.items) > 1 || len(f.payload) > 0 {
			f.payload = append(f.payload, a.batch...)
		}
		kept = append(kept, it)
	}
	f.endCommand(now)
	clear(f.items[len(kept):])
	f.items = kept
	payload := f.payload
	if len(payload) == 0 {
		if len(kept) != 1 || kept[0].data == nil { // nothing to change, or everything answered
			f.landed(0, nil)
			return
		}
		payload = kept[0].data.batch // one batch: it is the payload as it lies
	}
	p.proposer.Propose(payload, f.done)
}

// operate adds one operation to the command that is being made.
func (f *flight) operate(fill func(dst []byte) []byte) {
	before := len(f.ops)
	f.ops = fill(f.ops)
	if len(f.ops) > before {
		f.opCount++
	}
}

// endCommand closes the command that is being made, so that what follows in the
// payload is applied after it.
func (f *flight) endCommand(now int64) {
	if f.opCount > 0 {
		f.payload = record.AppendCommand(f.payload, f.opCount, f.term, now, f.ops)
		f.ops, f.opCount = f.ops[:0], 0
	}
}

// prepare makes the proposer's view of a channel current, and creates the
// channel when it does not exist yet. It returns false when it is gone.
func (p *Partition) prepare(f *flight, c *Channel, now int64) bool {
	v := &c.proposed
	if v.term != f.term {
		// What was proposed under earlier terms is applied or was refused, so
		// the applied state is what the next entry meets.
		v.term = f.term
		v.id = record.ChannelID(c.id.Load())
		v.next = c.Last() + 1
		v.gone = channelState(c.state.Load()) == channelDeleted
	}
	if v.gone {
		return false
	}
	if v.id == 0 {
		p.proposing.channel++
		v.id = record.ChannelID(p.proposing.channel)
		f.operate(func(dst []byte) []byte {
			cfg := c.Config()
			return appendOp(dst, opCreateChannel, []uint64{uint64(v.id), uint64(now)}, []byte(c.name), cfg.encode())
		})
	}
	return true
}

// landed is called when the outcome of an entry is known.
func (f *flight) landed(_ uint64, err error) {
	p := f.p
	for i := range f.items {
		f.items[i].finish(err)
	}
	clear(f.items)
	f.items, f.payload, f.ops = f.items[:0], f.payload[:0], f.ops[:0]
	p.mu.Lock()
	p.flights--
	var refused []item
	if err != nil && f.term == p.term {
		// What was proposed after it is refused too, so what the proposer knows
		// is wrong. Lead starts it over.
		p.leading = false
		if errors.Is(err, ErrNoSpace) {
			refused = p.takeQueueLocked()
		} else if len(p.queue) > 0 {
			p.armRefusalLocked()
		}
	}
	if cap(f.payload) <= flightKeepBytes {
		p.idleFlights = append(p.idleFlights, f)
	}
	p.work.Signal()
	p.mu.Unlock()
	for i := range refused {
		refused[i].finish(err)
	}
}

// Lead is called when this node leads the partition under the given term and
// every entry from before is applied.
func (p *Partition) Lead(term uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.term, p.leading = term, true
	if p.refusal != nil {
		p.refusal.Stop()
		p.refusal = nil
	}
	p.work.Signal()
}

// Follow is called when this node does not lead the partition any more. What
// waits is refused when that stays so for a while.
func (p *Partition) Follow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.leading = false
	if len(p.queue) > 0 {
		p.armRefusalLocked()
	}
}

// armRefusalLocked sees to it that what waits for a leader has an answer in the
// end.
func (p *Partition) armRefusalLocked() {
	if p.refusal == nil {
		p.refusal = time.AfterFunc(leaderWait, p.refuse)
	}
}

// refuse answers what waits in the queue if there is still no leader.
func (p *Partition) refuse() {
	p.mu.Lock()
	p.refusal = nil
	if p.leading || p.stopErr != nil {
		p.mu.Unlock()
		return
	}
	reason := p.refusedLocked()
	items := p.takeQueueLocked()
	p.mu.Unlock()
	if reason == nil {
		reason = ErrNotLeader
	}
	for i := range items {
		items[i].finish(reason)
	}
}

// refusedLocked is why nothing can be logged now, as far as the proposer knows.
func (p *Partition) refusedLocked() error {
	if r, ok := p.proposer.(Refuser); ok {
		return r.Refusal()
	}
	return nil
}

// Fail ends all writing for good with the given reason; reads go on. It is for
// a log that can't be written any more.
func (p *Partition) Fail(reason error) {
	p.mu.Lock()
	if p.stopErr != nil {
		p.mu.Unlock()
		return
	}
	p.stopErr = reason
	items := p.takeQueueLocked()
	p.work.Broadcast()
	p.mu.Unlock()
	for i := range items {
		items[i].finish(reason)
	}
}

func (p *Partition) takeQueueLocked() []item {
	items := p.queue
	p.queue, p.queueBytes = nil, 0
	p.room.Broadcast()
	return items
}
