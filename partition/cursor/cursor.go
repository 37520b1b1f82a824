package cursor

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"leat.dev/leat/segment/record"
)

// OffsetMax is the highest offset that a cursor can hold. It leaves room for
// arithmetic past it and fits a signed integer.
const OffsetMax record.Offset = 1<<63 - 2

// A Cursor is a consumer's place in a channel. Make one with New or Decode.
// It is not safe for concurrent use.
type Cursor struct {
	floor    record.Offset
	lastSent record.Offset
	acked    spans
	counts   map[record.Offset]uint32 // redeliveries of pending offsets; nil until there is one

	log changes
}

// New returns the cursor of a consumer whose first record is next: nothing
// sent yet, and nothing before next is wanted. The first AppendDelta of a new
// cursor writes it whole.
func New(next record.Offset) *Cursor {
	c := &Cursor{}
	if next > 0 {
		c.floor, c.lastSent = next-1, next-1
	}
	c.log.whole = true
	return c
}

// Floor returns the offset up to which all is acknowledged or gone.
func (c *Cursor) Floor() record.Offset { return c.floor }

// LastSent returns the highest offset that was ever sent, or the floor when
// that is higher.
func (c *Cursor) LastSent() record.Offset { return c.lastSent }

// PendingCount returns the number of offsets sent and not acknowledged.
func (c *Cursor) PendingCount() uint64 {
	return uint64(c.lastSent-c.floor) - c.acked.offsets
}

// AckedRanges returns how many ranges above the floor are acknowledged: what
// the cursor costs in memory and in the log.
func (c *Cursor) AckedRanges() int { return c.acked.count() }

// Sent notes that offset was sent; all up to it count as sent. A lower offset
// than before changes nothing.
func (c *Cursor) Sent(offset record.Offset) {
	if offset > c.lastSent && offset <= OffsetMax {
		c.lastSent = offset
	}
}

// Ack acknowledges one offset. It reports whether the offset was pending; an
// acknowledgement of what was never sent, or twice, changes nothing.
func (c *Cursor) Ack(offset record.Offset) bool {
	if offset <= c.floor || offset > c.lastSent {
		return false
	}
	if offset == c.floor+1 {
		c.floor = offset
		c.raiseFloor()
	} else {
		if c.acked.add(offset, offset) == 0 {
			return false
		}
		c.log.acked(c.floor, offset, offset)
	}
	c.log.acks++
	if len(c.counts) > 0 {
		delete(c.counts, offset)
	}
	return true
}

// AckRange acknowledges from to to, both included, as far as they were sent,
// and returns how many of them were pending.
func (c *Cursor) AckRange(from, to record.Offset) uint64 {
	from, to = max(from, c.floor+1), min(to, c.lastSent)
	if from > to {
		return 0
	}
	var n uint64
	if from == c.floor+1 {
		before := c.PendingCount()
		c.floor = to
		c.acked.cut(to)
		c.raiseFloor()
		n = before - c.PendingCount()
	} else if n = c.acked.add(from, to); n > 0 {
		c.log.acked(c.floor, from, to)
	}
	c.log.acks += n
	c.dropCounts(from, to)
	return n
}

// Acked reports whether offset is acknowledged or gone.
func (c *Cursor) Acked(offset record.Offset) bool {
	return offset <= c.floor || c.acked.has(offset)
}

// MoveFirst tells the cursor that the channel's first record is now first:
// what was before it is gone, which counts as acknowledged, sent or not. It
// returns how many pending offsets went.
func (c *Cursor) MoveFirst(first record.Offset) uint64 {
	if first <= c.floor+1 || first > OffsetMax+1 {
		return 0
	}
	n := c.AckRange(c.floor+1, first-1)
	if c.floor < first-1 {
		c.floor, c.lastSent = first-1, first-1 // all of it was acknowledged, and more is gone
	}
	return n
}

// raiseFloor takes ranges that the floor has reached into the floor.
func (c *Cursor) raiseFloor() {
	if c.acked.empty() {
		return
	}
	if s, ok := c.acked.takeFirst(c.floor + 1); ok {
		c.floor = s.to
	}
}

// dropCounts forgets the counts of offsets that are not pending any more.
func (c *Cursor) dropCounts(from, to record.Offset) {
	if len(c.counts) == 0 {
		return
	}
	if uint64(to-from) < uint64(len(c.counts)) {
		for o := from; o <= to; o++ {
			delete(c.counts, o)
		}
		return
	}
	for o := range c.counts {
		if o >= from && o <= to {
			delete(c.counts, o)
		}
	}
}

// NextPending returns the first pending offset above after.
func (c *Cursor) NextPending(after record.Offset) (record.Offset, bool) {
	if after >= c.lastSent {
		return 0, false
	}
	o := c.acked.missing(max(after, c.floor) + 1)
	return o, o <= c.lastSent
}

// Pending iterates over the pending offsets in order. The cursor may be
// changed meanwhile; offsets acknowledged ahead of the iteration are left out.
func (c *Cursor) Pending() iter.Seq[record.Offset] {
	return func(yield func(record.Offset) bool) {
		for o, ok := c.NextPending(c.floor); ok; o, ok = c.NextPending(o) {
			if !yield(o) {
				return
			}
		}
	}
}

// Redeliver counts one more redelivery of a pending offset and returns the
// count: 1 for the first. It returns 0 for an offset that is not pending.
func (c *Cursor) Redeliver(offset record.Offset) uint32 {
	if offset > c.lastSent || c.Acked(offset) {
		return 0
	}
	if c.counts == nil {
		c.counts = make(map[record.Offset]uint32)
	}
	n := c.counts[offset]
	if n < 1<<32-1 {
		n++
	}
	c.counts[offset] = n
	c.log.counted(offset)
	return n
}

// Redeliveries returns how often a pending offset was sent again.
func (c *Cursor) Redeliveries(offset record.Offset) uint32 { return c.counts[offset] }

// Equal reports whether both cursors say the same. What is not logged yet does
// not matter.
func (c *Cursor) Equal(d *Cursor) bool {
	if c.floor != d.floor || c.lastSent != d.lastSent || c.acked.offsets != d.acked.offsets {
		return false
	}
	if !maps.Equal(c.counts, d.counts) {
		return false
	}
	return slices.Equal(slices.Collect(c.acked.all), slices.Collect(d.acked.all))
}

// String shows the cursor for tests and logs, as in
// "floor 7 acked 9-11,14 sent 20 again 8×2".
func (c *Cursor) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "floor %d", c.floor)
	sep := " acked "
	for s := range c.acked.all {
		if s.from == s.to {
			fmt.Fprintf(&b, "%s%d", sep, s.from)
		} else {
			fmt.Fprintf(&b, "%s%d-%d", sep, s.from, s.to)
		}
		sep = ","
	}
	fmt.Fprintf(&b, " sent %d", c.lastSent)
	sep = " again "
	for _, o := range slices.Sorted(maps.Keys(c.counts)) {
		fmt.Fprintf(&b, "%s%d×%d", sep, o, c.counts[o])
		sep = ","
	}
	return b.String()
}
