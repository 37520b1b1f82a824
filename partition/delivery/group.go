package delivery

import (
	"fmt"
	"slices"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// MemberID names a member within its group. The owner of the group gives it.
type MemberID uint64

// A Send is an action: send the member the records From to To, both included.
type Send struct {
	Member   MemberID
	From, To record.Offset
	// Count is how often these records were sent before; 0 for new ones.
	Count uint32
}

// Redelivered reports whether the records were sent before.
func (s Send) Redelivered() bool { return s.Count > 0 }

// Len returns the number of offsets that the action names.
func (s Send) Len() int { return int(s.To-s.From) + 1 }

// A Group delivers one channel to the members of one consumer. All times are
// nanoseconds of one clock of the caller's. It is not safe for concurrent use.
type Group struct {
	opts    Options
	cursor  *cursor.Cursor
	members map[MemberID]*member
	order   []*member // who is chosen first; rotates
	slots   []*member // by flight.owner; nil where free
	flights flights

	// What is pending in (resumeAt, resumeTo] is owed to whoever has joined
	// and is not in flight. None is when they are equal.
	resumeAt, resumeTo record.Offset

	sent uint64 // new records sent, for CountMax
}

// member is one receiver.
type member struct {
	id      MemberID
	slot    int32
	opts    MemberOptions
	q       queue
	suspect bool
	paused  bool
	// quietUntil holds redelivery back after one was skipped.
	quietUntil int64
}

// stalled reports whether the member has as many in flight as it may have.
func (m *member) stalled() bool {
	return m.opts.MaxInFlight > 0 && m.q.n >= m.opts.MaxInFlight
}

// expiry returns when what is sent now expires.
func (m *member) expiry(now int64) int64 {
	if m.opts.AckWait == 0 {
		return never
	}
	return now + int64(m.opts.AckWait)
}

// slack returns how early the member's records may be sent again. It stays
// well below AckWait, so that one call never sends a record twice.
func (m *member) slack() int64 {
	return int64(min(expirySlack, m.opts.AckWait/4))
}

// NewGroup returns a group without members that goes on where the cursor is.
// The group changes the cursor; the caller may read and log it between calls.
func NewGroup(c *cursor.Cursor, opts Options) (*Group, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("make delivery group: %w", err)
	}
	g := &Group{opts: opts, cursor: c, members: make(map[MemberID]*member)}
	g.flights.init()
	return g, nil
}

// Cursor returns the group's cursor.
func (g *Group) Cursor() *cursor.Cursor { return g.cursor }

// Join adds a member. The first one is owed all that is pending: Next sends
// that before anything new. After a restart, let all members join before the
// first Next, so that they share it.
func (g *Group) Join(id MemberID, opts MemberOptions) error {
	if err := opts.Validate(); err != nil {
		return fmt.Errorf("join member %d: %w", id, err)
	}
	if g.members[id] != nil {
		return fmt.Errorf("join member %d: %w", id, ErrMemberExists)
	}
	if len(g.order) > 0 && !g.opts.Queue {
		return fmt.Errorf("join member %d: %w", id, ErrOccupied)
	}
	m := &member{id: id, opts: opts}
	m.q.init()
	if free := slices.Index(g.slots, nil); free >= 0 {
		m.slot = int32(free)
		g.slots[free] = m
	} else {
		m.slot = int32(len(g.slots))
		g.slots = append(g.slots, m)
	}
	g.members[id] = m
	g.order = append(g.order, m)
	if len(g.order) == 1 {
		g.resumeAt, g.resumeTo = g.cursor.Floor(), g.cursor.LastSent()
	}
	return nil
}

// Leave removes a member and reports whether it was there. What it had in
// flight goes to the others, to be sent again TransferDelay from now, or waits
// in the cursor for the next one to join.
func (g *Group) Leave(now int64, id MemberID) bool {
	m := g.members[id]
	if m == nil {
		return false
	}
	delete(g.members, id)
	g.slots[m.slot] = nil
	g.order = slices.DeleteFunc(g.order, func(x *member) bool { return x == m })
	if len(g.order) == 0 {
		g.flights.init()
		g.slots = g.slots[:0]
		g.resumeAt, g.resumeTo = 0, 0
		return true
	}
	for i := 0; m.q.n > 0; i++ {
		s := m.q.first(&g.flights)
		m.q.take(&g.flights, s)
		to := g.order[i%len(g.order)]
		fl := &g.flights.slots[s]
		fl.owner, fl.expiry = to.slot, now+int64(TransferDelay)
		to.q.pushHeap(&g.flights, s)
	}
	return true
}

// Ack acknowledges a record, whichever member sends it: a record may have been
// given to another one meanwhile. It reports whether the record was pending.
// Next may have room after it.
func (g *Group) Ack(offset record.Offset) bool {
	if !g.cursor.Ack(offset) {
		return false
	}
	if s := g.flights.find(offset); s != none {
		g.drop(s)
	}
	return true
}

// AckRange acknowledges from to to, both included, and returns how many of
// them were pending.
func (g *Group) AckRange(from, to record.Offset) uint64 {
	g.dropRange(from, to)
	return g.cursor.AckRange(from, to)
}

// Touch starts AckWait anew for the records from to to that are in flight: they
// were sent later than decided, or their receiver is at work on them.
func (g *Group) Touch(now int64, from, to record.Offset) {
	for o, ok := g.cursor.NextPending(from - 1); ok && o <= to; o, ok = g.cursor.NextPending(o) {
		s := g.flights.find(o)
		if s == none {
			continue
		}
		m := g.slots[g.flights.slots[s].owner]
		m.q.take(&g.flights, s)
		g.flights.slots[s].expiry = m.expiry(now)
		m.q.pushHeap(&g.flights, s)
	}
}

// MoveFirst says that the channel's first record is first now. What was before
// counts as acknowledged; a group that was behind jumps forward.
func (g *Group) MoveFirst(first record.Offset) {
	if first <= g.cursor.Floor()+1 {
		return
	}
	g.dropRange(g.cursor.Floor()+1, first-1)
	g.cursor.MoveFirst(first)
}

// Gone says that the records from to to, which an action has named, are not in
// the channel. They count as acknowledged, and not for CountMax.
func (g *Group) Gone(from, to record.Offset) {
	if to = min(to, g.cursor.LastSent()); from > to {
		return
	}
	if g.opts.CountMax > 0 {
		g.sent -= min(g.sent, g.firstSends(from, to))
	}
	g.AckRange(from, to)
}

// firstSends counts what in the range was sent once.
func (g *Group) firstSends(from, to record.Offset) uint64 {
	if g.opts.Acks == AckNone {
		return uint64(to-from) + 1
	}
	var n uint64
	for o, ok := g.cursor.NextPending(from - 1); ok && o <= to; o, ok = g.cursor.NextPending(o) {
		if g.cursor.Redeliveries(o) == 0 {
			n++
		}
	}
	return n
}

// drop ends one flight.
func (g *Group) drop(s int32) {
	m := g.slots[g.flights.slots[s].owner]
	m.q.take(&g.flights, s)
	g.flights.remove(s)
}

// dropRange ends all flights in a range, by offset or by slot, whichever are
// fewer.
func (g *Group) dropRange(from, to record.Offset) {
	if from > to || g.flights.n == 0 {
		return
	}
	if uint64(to-from) < uint64(len(g.flights.slots)) {
		for o := from; o <= to; o++ {
			if s := g.flights.find(o); s != none {
				g.drop(s)
			}
		}
		return
	}
	for s := range g.flights.slots {
		if o := g.flights.slots[s].offset; o != 0 && o >= from && o <= to {
			g.drop(int32(s))
		}
	}
}

// Suspect marks a member whose client may be gone, or clears the mark. A queue
// avoids it; a plain consumer's redeliveries to it are skipped until AckWait
// later. New records go to a plain member all the same.
func (g *Group) Suspect(id MemberID, suspect bool) {
	if m := g.members[id]; m != nil {
		m.suspect = suspect
	}
}

// Pause withholds everything from a member, redeliveries too, until Unpause:
// its way out is full.
func (g *Group) Pause(id MemberID) {
	if m := g.members[id]; m != nil {
		m.paused = true
	}
}

// Unpause ends a pause. Call Expire and Next after it.
func (g *Group) Unpause(id MemberID) {
	if m := g.members[id]; m != nil {
		m.paused = false
	}
}

// Resuming reports whether records from before the first member joined are
// still to be sent; new ones wait for them.
func (g *Group) Resuming() bool { return g.resumeAt < g.resumeTo }

// Exhausted reports whether Stop or CountMax is reached: nothing new will be
// sent, but what is in flight may be sent again.
func (g *Group) Exhausted() bool {
	if g.Resuming() {
		return false
	}
	return g.opts.CountMax > 0 && g.sent >= g.opts.CountMax ||
		g.opts.Stop > 0 && g.cursor.LastSent() >= g.opts.Stop
}

// Done reports whether the group is exhausted and nothing is pending.
func (g *Group) Done() bool { return g.Exhausted() && g.cursor.PendingCount() == 0 }

// Members returns the number of members.
func (g *Group) Members() int { return len(g.order) }

// InFlight returns the number of records sent to members that are in the group
// and not acknowledged.
func (g *Group) InFlight() int { return g.flights.n }

// Stalled reports whether every member has as much in flight as it may have.
func (g *Group) Stalled() bool {
	return len(g.order) > 0 && !slices.ContainsFunc(g.order, func(m *member) bool { return !m.stalled() })
}

// LastSent returns the highest offset that was sent.
func (g *Group) LastSent() record.Offset { return g.cursor.LastSent() }

// Owner returns the member that a record is in flight to.
func (g *Group) Owner(offset record.Offset) (MemberID, bool) {
	s := g.flights.find(offset)
	if s == none {
		return 0, false
	}
	return g.slots[g.flights.slots[s].owner].id, true
}

// MemberStats is how a member stands.
type MemberStats struct {
	Pending int // records in flight
	Stalled bool
	Suspect bool
	Paused  bool
}

// Stats returns how a member stands, and whether it is in the group.
func (g *Group) Stats(id MemberID) (MemberStats, bool) {
	m := g.members[id]
	if m == nil {
		return MemberStats{}, false
	}
	return MemberStats{Pending: m.q.n, Stalled: m.stalled(), Suspect: m.suspect, Paused: m.paused}, true
}
