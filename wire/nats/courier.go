package nats

import (
	"strconv"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/nats/subject"
)

const (
	// wideFrom is the number of receivers from which a message is appended to
	// their outboxes directly: staging it first would touch more memory than
	// the locks cost.
	wideFrom = 32
	// spareMax is how many small staging buffers a courier keeps.
	spareMax = 8
)

// A courier carries the messages of one source to their receivers. Each
// connection has one, so has each Outlet. It is used by one goroutine at a time.
//
// Problem: taking a receiver's lock and waking its writer per message costs more
// than the message. So what goes to a receiver is staged in a buffer that only
// the courier touches, and moves to the receiver's outbox when the buffer is
// full or the source is through with a run (a read of its socket): one lock and
// at most one wake-up per receiver and run. Likewise a handler is flushed once.
//
// Invariants: messages of one courier to one receiver keep their order; between
// runs nothing is staged.
type courier struct {
	server *Server
	source wire.Source
	from   *conn     // nil if the source is this process
	run    runNumber // stays 0 if the source is this process

	last         *route // of the last message
	routes       []*route
	destinations int // in routes
	scratch      route
	matched      subject.Result[*subscription]

	receivers map[*conn]*receiver
	handlers  map[*subscription]*receiver
	sweepAt   int         // size of receivers at which closed ones are looked for
	touched   []*receiver // connections that got something in this run
	called    []*receiver // handlers that did
	seen      uint64      // server.internalClosed when handlers were last swept

	spare  [][]byte
	joined []byte // scratch for payloads that come in two parts
	line   []byte // scratch for the lines of messages that go directly
	msg    wire.Msg
	random uint64

	outMsgs, outBytes uint64 // since the run began
	stalled           stallBudget
}

// packet is one message as the courier takes it.
type packet struct {
	subject, reply, header, data, more []byte
	// tail, if not nil, is all that follows the head on the wire.
	tail []byte
}

func (p *packet) size() int { return len(p.header) + len(p.data) + len(p.more) }

func newCourier(s *Server, source wire.Source, from *conn) *courier {
	return &courier{server: s, source: source, from: from, random: s.random(), seen: s.internalClosed.Load()}
}

// deliver carries a packet to everyone on the route and returns how many took
// it.
func (c *courier) deliver(r *route, p *packet) int {
	n := 0
	wide := len(r.plain) >= wideFrom
	for i := range r.plain {
		if c.give(&r.plain[i], p, wide) {
			n++
		}
	}
	for _, g := range r.groups {
		// One member at random; if it cannot take it, the next that can.
		at := c.pick(len(g))
		for range g {
			if c.give(&g[at], p, false) {
				n++
				break
			}
			if at++; at == len(g) {
				at = 0
			}
		}
	}
	return n
}

// pick returns a random number below n.
func (c *courier) pick(n int) int {
	c.random ^= c.random << 13
	c.random ^= c.random >> 7
	c.random ^= c.random << 17
	return int(c.random >> 33 % uint64(n))
}

// give carries a packet to one destination and tells whether it took it.
func (c *courier) give(d *destination, p *packet, wide bool) bool {
	s := d.sub
	if s.conn == nil {
		return c.giveHandler(d, p)
	}
	if s.conn == c.from && !c.from.echo {
		return false
	}
	if n := s.delivered.Add(1); s.max.Load() > 0 {
		if over := n - s.max.Load(); over >= 0 {
			s.conn.unsubscribe(s)
			if over > 0 {
				return false
			}
		}
	}
	c.outMsgs++
	headers := s.conn.headers.Load()
	size := p.size()
	if !headers {
		size -= len(p.header)
	}
	c.outBytes += uint64(size)
	r := d.to
	if p.tail != nil && (headers || len(p.header) == 0) {
		head := d.head
		if len(p.header) == 0 {
			head = head[1:]
		}
		if n := len(head) + len(p.tail); wide || n > largeBytes/2 {
			c.direct(r, size, head, p.tail, nil, nil, nil)
			return true
		} else if cap(r.buf)-len(r.buf) < n {
			c.makeRoom(r, n)
		}
		r.buf = append(append(r.buf, head...), p.tail...)
	} else if !c.compose(d, p, headers, size, wide) {
		return true
	}
	r.msgs++
	r.payload += size
	if !r.touched {
		c.touch(r)
	}
	return true
}

// compose stages a message whose wire form has to be made. It returns false if
// the message went directly.
func (c *courier) compose(d *destination, p *packet, headers bool, size int, wide bool) bool {
	r, head, header := d.to, d.head, p.header
	if !headers {
		header = nil
	}
	if len(header) == 0 {
		head = head[1:]
	}
	n := len(head) + len(p.reply) + size + 2 + 24 // two numbers and the line's end
	if wide || n > largeBytes/2 {
		c.line = appendArguments(append(c.line[:0], head...), p.reply, len(header), size)
		c.direct(r, size, c.line, header, p.data, p.more, crlf)
		return false
	}
	if cap(r.buf)-len(r.buf) < n {
		c.makeRoom(r, n)
	}
	b := appendArguments(append(r.buf, head...), p.reply, len(header), size)
	b = append(append(append(b, header...), p.data...), p.more...)
	r.buf = append(b, '\r', '\n')
	return true
}

var crlf = []byte("\r\n") // read only

// appendArguments appends the rest of a message's line behind its head.
func appendArguments(b, reply []byte, header, size int) []byte {
	if len(reply) > 0 {
		b = append(append(b, reply...), ' ')
	}
	if header > 0 {
		b = append(strconv.AppendInt(b, int64(header), 10), ' ')
	}
	b = strconv.AppendInt(b, int64(size), 10)
	return append(b, '\r', '\n')
}

// direct appends a message to the outbox of r, behind what is staged.
func (c *courier) direct(r *receiver, size int, head, a, b, more, end []byte) {
	c.move(r, false)
	c.judge(r, r.conn.out.pushPieces(1, size, false, head, a, b, more, end))
	if !r.touched {
		c.touch(r)
	}
}

// stage puts bytes of the protocol, not a message, behind what goes to r.
func (c *courier) stage(r *receiver, b []byte) {
	if cap(r.buf)-len(r.buf) < len(b) {
		c.makeRoom(r, len(b))
	}
	r.buf = append(r.buf, b...)
	if !r.touched {
		c.touch(r)
	}
}

func (c *courier) touch(r *receiver) {
	r.touched = true
	c.touched = append(c.touched, r)
}

// makeRoom gives r a staging buffer with room for n bytes, n being at most half
// a large one.
func (c *courier) makeRoom(r *receiver, n int) {
	if len(r.buf) > 0 {
		r.busy = true
		c.move(r, false)
	}
	if cap(r.buf)-len(r.buf) >= n && (!r.busy || cap(r.buf) == largeBytes) {
		return
	}
	c.release(r)
	switch {
	case n > smallBytes || r.busy:
		r.buf = c.server.pool.get(largeBytes)
	case len(c.spare) > 0:
		r.buf = c.spare[len(c.spare)-1]
		c.spare = c.spare[:len(c.spare)-1]
	default:
		r.buf = c.server.pool.get(smallBytes)
	}
}

// release gives the empty staging buffer of r back.
func (c *courier) release(r *receiver) {
	switch {
	case r.buf == nil:
	case cap(r.buf) == smallBytes && len(c.spare) < spareMax:
		c.spare = append(c.spare, r.buf)
	default:
		c.server.pool.put(r.buf)
	}
	r.buf = nil
}

// move moves what is staged for r to its outbox. A large buffer that is at
// least half full moves as it is, anything less is copied, so that the memory
// of an outbox is not much more than what it counts as pending.
func (c *courier) move(r *receiver, kick bool) {
	if len(r.buf) == 0 && !kick {
		return
	}
	handOver := len(r.buf) >= largeBytes/2
	v, kept := r.conn.out.push(r.buf, r.msgs, r.payload, handOver, kick)
	if kept {
		r.buf = nil
	} else {
		r.buf = r.buf[:0]
	}
	r.msgs, r.payload = 0, 0
	c.judge(r, v)
}

// judge draws the consequences of a push.
func (c *courier) judge(r *receiver, v verdict) {
	if v == overfull {
		r.conn.shut(errSlowPending)
		return
	}
	if c.from != nil && r.conn.out.pending.Load() > c.server.stallBytes {
		c.stall(r.conn)
	}
}

// finish ends a run: everything staged goes out, handlers are flushed.
func (c *courier) finish() {
	for i, r := range c.touched {
		c.move(r, true)
		c.release(r)
		r.busy, r.touched = false, false
		c.touched[i] = nil
	}
	c.touched = c.touched[:0]
	c.run.end()
	// Handlers come last: their Flush may block.
	for i, r := range c.called {
		r.touched = false
		c.called[i] = nil
		r.sink.Flush()
	}
	c.called = c.called[:0]
	if c.outMsgs > 0 {
		c.server.counters.outMsgs.Add(c.outMsgs)
		c.server.counters.outBytes.Add(c.outBytes)
		c.outMsgs, c.outBytes = 0, 0
	}
	c.stalled.reset()
	if seen := c.server.internalClosed.Load(); seen != c.seen {
		c.seen = seen
		c.detach(false)
	}
}
