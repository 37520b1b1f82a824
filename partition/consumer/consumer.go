package consumer

import (
	"fmt"
	"sync"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

// A Consumer delivers one channel to its members. All methods may be called at
// once, from any goroutine but the loop's own (that is, not from a Sink), where
// only Ack, AckRange, Suspect and Resume may.
type Consumer struct {
	opts   Options
	cancel func()        // of the watch
	wake   chan struct{} // holds one
	ended  chan struct{} // closed when the loop is over

	mu   sync.Mutex
	room sync.Cond // the mailbox was emptied, or the consumer closed
	mail mailbox   // guarded by mu

	loop loop // owned by the loop's goroutine
}

// mailbox holds events that the loop has not taken yet.
type mailbox struct {
	acks   []ackRange
	calls  []call
	health []health
	resume []delivery.MemberID
	closed bool
}

type ackRange struct{ from, to record.Offset }

type health struct {
	id      delivery.MemberID
	suspect bool
}

// call is something that the loop does for someone who waits for it.
type call struct {
	do   func()
	done chan struct{}
}

// empty reports whether there is nothing to take.
func (m *mailbox) empty() bool {
	return len(m.acks)+len(m.calls)+len(m.health)+len(m.resume) == 0 && !m.closed
}

// Start starts a consumer. Close ends it.
func Start(opts Options) (*Consumer, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, fmt.Errorf("start consumer: %w", err)
	}
	g, err := delivery.NewGroup(opts.Cursor, opts.Delivery)
	if err != nil {
		return nil, fmt.Errorf("start consumer: %w", err)
	}
	c := &Consumer{opts: opts, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	c.room.L = &c.mu
	c.loop.init(c, g)
	for _, m := range opts.Members {
		if err := c.loop.join(m); err != nil {
			return nil, fmt.Errorf("start consumer: %w", err)
		}
	}
	c.cancel = opts.Source.Watch(c.signal)
	go c.loop.run()
	return c, nil
}

// signal wakes the loop.
func (c *Consumer) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Ack acknowledges a record. It returns before that has an effect; it waits
// when the loop is far behind.
func (c *Consumer) Ack(offset record.Offset) { c.AckRange(offset, offset) }

// AckRange acknowledges from to to, both included, as Ack does.
func (c *Consumer) AckRange(from, to record.Offset) {
	c.mu.Lock()
	for len(c.mail.acks) >= c.opts.AcksMax && !c.mail.closed {
		c.room.Wait()
	}
	first := c.mail.empty()
	c.mail.ack(from, to)
	c.mu.Unlock()
	if first {
		c.signal()
	}
}

// AckBatch acknowledges records in one go, as Ack does for each.
func (c *Consumer) AckBatch(offsets []record.Offset) {
	c.mu.Lock()
	for _, o := range offsets {
		for len(c.mail.acks) >= c.opts.AcksMax && !c.mail.closed {
			c.signal()
			c.room.Wait()
		}
		c.mail.ack(o, o)
	}
	c.mu.Unlock()
	c.signal()
}

// ack adds a range, joined to the one before when it follows on.
func (m *mailbox) ack(from, to record.Offset) {
	if m.closed {
		return
	}
	if n := len(m.acks); n > 0 && m.acks[n-1].to+1 == from {
		m.acks[n-1].to = to
		return
	}
	m.acks = append(m.acks, ackRange{from, to})
}

// post puts an event into the mailbox and wakes the loop.
func (c *Consumer) post(put func(m *mailbox)) {
	c.mu.Lock()
	if !c.mail.closed {
		put(&c.mail)
	}
	c.mu.Unlock()
	c.signal()
}

// Suspect marks a member whose client misses heartbeats, or clears the mark.
func (c *Consumer) Suspect(id delivery.MemberID, suspect bool) {
	c.post(func(m *mailbox) { m.health = append(m.health, health{id, suspect}) })
}

// Resume says that a member whose sink was full has room again.
func (c *Consumer) Resume(id delivery.MemberID) {
	c.post(func(m *mailbox) { m.resume = append(m.resume, id) })
}

// do has the loop call f and waits for it.
func (c *Consumer) do(f func()) error {
	done := make(chan struct{})
	c.mu.Lock()
	if c.mail.closed {
		c.mu.Unlock()
		return ErrClosed
	}
	c.mail.calls = append(c.mail.calls, call{f, done})
	c.mu.Unlock()
	c.signal()
	<-done
	return nil
}

// Join adds a member.
func (c *Consumer) Join(m Member) error {
	var err error
	if closed := c.do(func() { err = c.loop.join(m) }); closed != nil {
		return fmt.Errorf("join member %d: %w", m.ID, closed)
	}
	return err
}

// Leave removes a member and returns how many are left. Without acknowledgements
// (delivery.AckNone) what waited for its full sink is dropped. Acknowledgements put
// in before count; the sink is not called any more when it returns.
func (c *Consumer) Leave(id delivery.MemberID) (left int, err error) {
	if err := c.do(func() { left = c.loop.leave(id) }); err != nil {
		return 0, fmt.Errorf("leave member %d: %w", id, err)
	}
	return left, nil
}

// Stats is how a consumer stands.
type Stats struct {
	Floor    record.Offset
	LastSent record.Offset
	Pending  uint64 // sent and not acknowledged
	Stalled  bool   // every member has as much in flight as it may
	Members  map[delivery.MemberID]delivery.MemberStats
}

// Stats returns how the consumer stands.
func (c *Consumer) Stats() (Stats, error) {
	var s Stats
	err := c.do(func() { s = c.loop.stats() })
	return s, err
}

// Cursor returns a copy of the cursor as it stands.
func (c *Consumer) Cursor() (*cursor.Cursor, error) {
	var b []byte
	if err := c.do(func() { b = c.opts.Cursor.AppendTo(nil) }); err != nil {
		return nil, err
	}
	return cursor.Decode(b)
}

// Close ends the consumer: events put in before count, what is not logged is
// logged, and the loop is waited for. It may be called again.
func (c *Consumer) Close() {
	c.post(func(m *mailbox) { m.closed = true })
	<-c.ended
}
