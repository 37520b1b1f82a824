package partition

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

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
	// when that is not known. The payload is the caller's again after done.
	//
	// After an error all entries that are proposed before the next Lead are
	// refused as well: they were made for a log that has the one before.
	//
	// An entry is logged under the term that Lead was called with last before
	// the call, or not at all. A Proposer that comes to lead under another term
	// accepts entries for that no sooner than Follow has returned.
	Propose(payload []byte, done func(index uint64, err error))
}

// flight is one entry on its way, with the memory that it needs. Flights are
// used again, so that the steady state takes no new memory.
type flight struct {
	p       *Partition
	items   []item
	epoch   uint64
	term    uint64
	size    int // the most that the items take
	payload []byte
	ops     []byte
	opCount int
	done    func(index uint64, err error) // landed, bound once
}

const (
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
	// flightKeepBytes bounds what an idle flight holds on to.
	flightKeepBytes = 2 << 20
)

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
	for p.stopErr == nil && !p.readyLocked() {
		p.work.Wait()
	}
	if p.stopErr != nil {
		return nil
	}
	if p.proposing.epoch != p.epoch {
		p.proposing.epoch = p.epoch
		p.proposing.channel = p.appliedChannel.Load()
		p.proposing.time = p.appliedTime.Load()
	}
	f := p.newFlight()
	f.items, f.size = p.takeLocked(f.items)
	f.epoch, f.term = p.epoch, p.term
	p.flights.Add(1)
	return f
}

// readyLocked tells whether an entry can be made. The first of an epoch waits
// for the outcome of those before, which is part of the state that it meets.
func (p *Partition) readyLocked() bool {
	limit := int64(flightsMax)
	if p.proposing.epoch != p.epoch {
		limit = 1
	}
	return p.leading && p.flights.Load() < limit && len(p.queue) > p.head
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
	p.proposing.time = max(p.opts.Now(), p.proposing.time)
	payload := f.build(p.proposing.time)
	if payload == nil { // everything is answered
		f.landed(0, nil)
		return
	}
	if len(payload) > p.payloadBytesMax {
		// The sizes of items are upper bounds. A refusal by the log would leave
		// a gap in the offsets, so it must not come to that.
		panic(fmt.Sprintf("partition %d: entry of %d bytes from items of %d, at most %d", p.opts.ID, len(payload), f.size, p.payloadBytesMax))
	}
	// Follow waits for the fence, so an entry that was made for one term cannot
	// get into the log under the next.
	p.fence.Lock()
	p.mu.Lock()
	current := p.leading && p.epoch == f.epoch
	p.mu.Unlock()
	if current {
		p.proposer.Propose(payload, f.done)
	}
	p.fence.Unlock()
	if !current {
		f.landed(0, ErrNotLeader)
	}
}

// build encodes the entry and drops the items that are answered. It returns nil
// when none is left.
func (f *flight) build(now int64) []byte {
	kept := f.items[:0]
	single := len(f.items) == 1
	for i := range f.items {
		if it := f.items[i]; f.decide(&it, now, single) {
			kept = append(kept, it)
		}
	}
	f.endCommand(now)
	clear(f.items[len(kept):])
	f.items = kept
	switch {
	case len(kept) == 0:
		return nil
	case len(f.payload) > 0:
		return f.payload
	case single && kept[0].data != nil && kept[0].data.Err == nil:
		return kept[0].data.batch // one batch: it is the payload as it lies
	}
	// What was found out holds if the entries before get through. So the answer
	// waits for a place behind them.
	f.payload = record.AppendCommand(f.payload, 0, f.term, now, nil)
	return f.payload
}

// decide adds one item to the entry, given the state that it will meet. It
// returns false when the item was answered.
func (f *flight) decide(it *item, now int64, single bool) bool {
	c := it.channel
	if c == nil {
		f.operate(it.op.code, it.op.strings, it.op.number)
		return true
	}
	v := c.view(f.epoch)
	switch {
	case v.gone && !c.Deleted():
		it.refuse(ErrNoChannel) // if the deletion gets through
		return true
	case v.gone, v.id == 0 && !it.creates():
		it.finish(ErrNoChannel)
		return false
	case v.id == 0:
		f.create(c, it.op, now)
	}
	if it.data == nil {
		f.change(c, it)
		return true
	}
	f.endCommand(now)
	a := it.data
	a.Base, a.Time = v.next, now
	v.next += record.Offset(a.Count())
	record.Stamp(a.batch, v.id, a.Base, f.term, now)
	if !single || len(f.payload) > 0 {
		f.payload = append(f.grown(), a.batch...)
	}
	return true
}

// creates tells whether the item makes its channel when there is none.
func (it *item) creates() bool {
	return it.data != nil || it.op.code == opPutCursor || it.op.code == opCreateChannel
}

// view is what the proposer knows of the channel, made current.
func (c *Channel) view(epoch uint64) *proposed {
	v := &c.proposed
	if v.epoch != epoch {
		// What was proposed in earlier epochs is applied or was refused, so the
		// applied state is what the next entry meets.
		*v = proposed{
			epoch: epoch, id: record.ChannelID(c.id.Load()), next: c.Last() + 1,
			settings: c.settings.Load(), gone: c.Deleted(),
		}
	}
	return v
}

// create adds the channel's creation, with the settings of o if that is what
// it is about.
func (f *flight) create(c *Channel, o *operation, now int64) {
	v := &c.proposed
	f.p.proposing.channel++
	v.id = record.ChannelID(f.p.proposing.channel)
	if o != nil && o.code == opCreateChannel {
		v.settings = o.settings
	}
	var room [512]byte
	strings := appendString(room[:0], c.name)
	f.operate(opCreateChannel, appendString(strings, v.settings.bytes()), uint64(v.id), uint64(now))
}

// change adds an operation on a channel that is there when it is applied.
func (f *flight) change(c *Channel, it *item) {
	v, o := &c.proposed, it.op
	id := uint64(v.id)
	switch o.code {
	case opCreateChannel:
		if !bytes.Equal(v.settings.bytes(), o.settings.bytes()) {
			it.refuse(ErrChannelExists)
		}
	case opSetChannel:
		v.settings = o.settings
		f.operate(o.code, appendString(nil, o.settings.bytes()), id)
	case opTrimChannel:
		// What is not there yet at this place in the log is not trimmed.
		f.operate(o.code, nil, id, min(o.number, uint64(v.next)))
	case opDeleteChannel:
		v.gone = true
		f.operate(o.code, nil, id)
	default:
		f.operate(o.code, o.strings, id)
	}
}

// operate adds one operation to the command that is being made.
func (f *flight) operate(o op, strings []byte, numbers ...uint64) {
	f.ops = appendOp(f.ops, o, numbers, strings)
	f.opCount++
}

// endCommand closes the command that is being made, so that what follows in the
// payload is applied after it.
func (f *flight) endCommand(now int64) {
	if f.opCount > 0 {
		f.payload = record.AppendCommand(f.grown(), f.opCount, f.term, now, f.ops)
		f.ops, f.opCount = f.ops[:0], 0
	}
}

// grown is the payload with room for all items.
func (f *flight) grown() []byte {
	if len(f.payload) == 0 {
		f.payload = slices.Grow(f.payload, f.size)
	}
	return f.payload
}

// landed is called when the outcome of an entry is known.
func (f *flight) landed(_ uint64, err error) {
	p := f.p
	var refused []item
	p.mu.Lock()
	p.flights.Add(-1)
	if err != nil && f.epoch == p.epoch && p.leading {
		// What was proposed after it is refused too, so what the proposer knows
		// is wrong. Lead starts it over.
		p.leaderlessLocked()
		if errors.Is(err, ErrNoSpace) {
			refused = p.takeAllLocked()
		}
	}
	p.work.Signal()
	p.mu.Unlock()

	p.metrics.landed(f.items, err, p.opts.Now)
	for i := range f.items {
		f.items[i].finish(err)
	}
	p.finishAll(refused, err)

	clear(f.items)
	f.items, f.payload, f.ops = f.items[:0], f.payload[:0], f.ops[:0]
	if cap(f.payload) > flightKeepBytes || cap(f.ops) > flightKeepBytes {
		return
	}
	p.mu.Lock()
	if len(p.idleFlights) < flightsMax {
		p.idleFlights = append(p.idleFlights, f)
	}
	p.mu.Unlock()
}
