package nats

import (
	"bytes"
	"hash/maphash"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/nats/subject"
)

const (
	// routesMax is the number of subjects whose receivers a courier remembers.
	routesMax = 256
	// destinationsMax bounds the receivers in all of them.
	destinationsMax = 1 << 14
)

// receiver is one end that a courier delivers to: a connection, or a handler of
// this process.
type receiver struct {
	conn    *conn
	buf     []byte // staged bytes
	msgs    int    // in buf
	payload int    // in buf, without protocol
	busy    bool   // a small buffer was not enough in this run

	sink    wire.Sink
	touched bool // is in courier.touched or courier.called
}

// route is a subject and who gets what is published on it.
type route struct {
	subject    []byte
	family     uint8
	generation uint64
	plain      []destination
	groups     [][]destination
	reserved   bool // clients must not publish on it
	// stem is how much of subject others must share to have the same receivers,
	// up to and with its last dot; 0 when only the same subject has.
	stem int
}

// fits tells whether the route is also that of another subject, which differs
// in its last token at most.
func (r *route) fits(subj []byte) bool {
	return r.stem > 0 && len(subj) > r.stem && bytes.Equal(r.subject[:r.stem], subj[:r.stem]) &&
		bytes.IndexByte(subj[r.stem:], '.') < 0
}

type destination struct {
	sub *subscription
	to  *receiver
	// head is "HMSG <subject> <sid> "; without its first byte it is MSG's.
	head []byte
}

// find returns the route for a subject. It is true at the time of the call, and
// valid until the next one.
func (c *courier) find(subj []byte) *route {
	if r := c.last; r != nil && bytes.Equal(r.subject, subj) && r.generation == c.server.tree.Generation(r.family) {
		return r
	}
	// Acknowledgements go to one inbox with a number behind it, each number once:
	// a match for each would cost more than the message.
	if r := &c.scratch; r.fits(subj) && r.generation == c.server.tree.Generation(r.family) {
		r.subject = append(r.subject[:r.stem], subj[r.stem:]...)
		for i := range r.plain {
			r.plain[i].address(r.subject)
		}
		for _, g := range r.groups {
			for i := range g {
				g[i].address(r.subject)
			}
		}
		c.last = r
		return r
	}
	var slot **route
	if c.routes != nil {
		slot = &c.routes[maphash.Bytes(c.server.seed, subj)%routesMax]
		if r := *slot; r != nil && bytes.Equal(r.subject, subj) && r.generation == c.server.tree.Generation(r.family) {
			c.last = r
			return r
		}
	}
	c.last = c.lookUp(subj, slot)
	return c.last
}

// lookUp asks the tree. Only results that the tree itself remembers are worth a
// place in the table; others, mostly inboxes, go through the scratch route.
func (c *courier) lookUp(subj []byte, slot **route) *route {
	family := c.server.tree.Family(subj)
	generation := c.server.tree.Generation(family)
	matched, shared := c.server.tree.Match(subj, &c.matched)
	r := &c.scratch
	if shared {
		if c.routes == nil {
			c.routes = make([]*route, routesMax)
		}
		if slot == nil {
			slot = &c.routes[maphash.Bytes(c.server.seed, subj)%routesMax]
		}
		if *slot == nil {
			*slot = &route{}
		}
		r = *slot
		c.destinations -= r.width()
	}
	r.subject = append(r.subject[:0], subj...)
	r.family, r.generation = family, generation
	r.reserved = isReserved(subj)
	r.stem = 0
	if !shared && matched.AnyLast {
		r.stem = bytes.LastIndexByte(subj, '.') + 1
	}
	c.fill(r, matched)
	if shared {
		if c.destinations += r.width(); c.destinations > destinationsMax {
			clear(c.routes)
			c.destinations = 0
		}
	}
	return r
}

func (r *route) width() int {
	n := len(r.plain)
	for _, g := range r.groups {
		n += len(g)
	}
	return n
}

// fill makes the destinations of r and reuses its memory.
func (c *courier) fill(r *route, m *subject.Result[*subscription]) {
	r.plain = c.destine(r.plain, r.subject, m.Plain)
	if n := len(m.Groups); n <= cap(r.groups) {
		clear(r.groups[min(n, len(r.groups)):])
		r.groups = r.groups[:n]
	} else {
		r.groups = make([][]destination, n)
	}
	for i := range m.Groups {
		r.groups[i] = c.destine(r.groups[i], r.subject, m.Groups[i].Members)
	}
}

func (c *courier) destine(to []destination, subj []byte, subs []*subscription) []destination {
	if len(to) > len(subs) {
		clear(to[len(subs):])
	}
	to = to[:min(len(to), len(subs))]
	for i, s := range subs {
		if i == len(to) {
			to = append(to, destination{})
		}
		d := &to[i]
		d.sub = s
		d.to = c.receiverOf(s)
		d.address(subj)
	}
	return to
}

// address makes the head for messages on subj.
func (d *destination) address(subj []byte) {
	if d.sub.conn == nil {
		return
	}
	d.head = append(append(append(d.head[:0], "HMSG "...), subj...), ' ')
	d.head = append(append(d.head, d.sub.sid...), ' ')
}

// receiverOf returns the courier's end for a subscription.
func (c *courier) receiverOf(s *subscription) *receiver {
	if s.conn != nil {
		return c.receiverAt(s.conn)
	}
	if r := c.handlers[s]; r != nil {
		return r
	}
	if c.handlers == nil {
		c.handlers = make(map[*subscription]*receiver)
	}
	r := &receiver{}
	c.handlers[s] = r
	return r
}

func (c *courier) receiverAt(to *conn) *receiver {
	if r := c.receivers[to]; r != nil {
		return r
	}
	if c.receivers == nil {
		c.receivers = make(map[*conn]*receiver)
		c.sweepAt = 64
	}
	if len(c.receivers) >= c.sweepAt {
		for other, r := range c.receivers {
			if other.down.Load() && !r.touched {
				delete(c.receivers, other)
			}
		}
		c.sweepAt = 2*len(c.receivers) + 64
	}
	r := &receiver{conn: to}
	c.receivers[to] = r
	return r
}
