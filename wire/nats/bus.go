package nats

import (
	"context"
	"fmt"

	"leat.dev/leat/wire"
)

// Subscribe implements wire.Bus.
func (s *Server) Subscribe(pattern string, h wire.Handler) (wire.Subscription, error) {
	if s.isClosed() {
		return nil, fmt.Errorf("subscribe to %q: %w", pattern, ErrClosed)
	}
	sub := &subscription{subject: pattern, server: s, handler: h}
	if err := s.tree.Insert(pattern, "", sub); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	return sub, nil
}

// Publish implements wire.Bus.
func (s *Server) Publish(subject, reply string, header, data []byte) {
	c := s.processCouriers.borrow(s)
	c.deliver(c.find([]byte(subject)), &packet{subject: []byte(subject), reply: []byte(reply), header: header, data: data})
	c.finish()
	s.processCouriers.giveBack(c)
}

// HasInterest implements wire.Bus.
func (s *Server) HasInterest(subject string) bool { return s.tree.HasMatch([]byte(subject)) }

// NewInbox implements wire.Bus.
func (s *Server) NewInbox() string {
	s.inboxMu.Lock()
	defer s.inboxMu.Unlock()
	return "_INBOX." + s.inbox.Next()
}

// PayloadBytesMax implements wire.Bus.
func (s *Server) PayloadBytesMax() int { return s.opts.PayloadBytesMax }

// Outlet implements wire.Bus.
func (s *Server) Outlet() wire.Outlet { return &outlet{c: newCourier(s, process{}, nil)} }

// outlet is a courier whose source is this process.
type outlet struct {
	c       *courier
	subject []byte // of the last message
	packet  packet
}

// Send implements wire.Outlet.
func (o *outlet) Send(subject, reply, header, data, more []byte) int {
	r := o.c.find(subject)
	if len(r.plain) == 0 && len(r.groups) == 0 {
		o.subject = o.subject[:0]
		return 0
	}
	o.packet = packet{subject: subject, reply: reply, header: header, data: data, more: more}
	n := o.c.deliver(r, &o.packet)
	o.packet = packet{}
	o.subject = append(o.subject[:0], subject...)
	return n
}

// Flush implements wire.Outlet.
func (o *outlet) Flush() { o.c.finish() }

// Pending implements wire.Outlet.
func (o *outlet) Pending() int {
	most, _ := o.worst()
	return int(most)
}

// worst returns the most bytes that are pending for any receiver of the last
// subject, and that receiver.
func (o *outlet) worst() (most int64, who *receiver) {
	if len(o.subject) == 0 {
		return 0, nil
	}
	r := o.c.find(o.subject)
	look := func(ds []destination) {
		for i := range ds {
			to := ds[i].to
			if to.conn == nil || to.conn.down.Load() {
				continue
			}
			if n := to.conn.out.pending.Load() + int64(len(to.buf)); n > most {
				most, who = n, to
			}
		}
	}
	look(r.plain)
	for _, g := range r.groups {
		look(g)
	}
	return most, who
}

// Drained implements wire.Outlet.
func (o *outlet) Drained(ctx context.Context, limit int) error {
	if most, _ := o.worst(); most < int64(limit) {
		return nil
	}
	o.c.finish()
	for {
		most, who := o.worst()
		if who == nil || most < int64(limit) {
			return nil
		}
		progress := who.conn.out.above(int64(limit) - 1)
		if progress == nil {
			continue
		}
		select {
		case <-progress:
		case <-ctx.Done():
			return fmt.Errorf("wait for receivers of %q: %w", o.subject, context.Cause(ctx))
		}
	}
}

// Close implements wire.Outlet.
func (o *outlet) Close() {
	o.c.finish()
	o.c.detach(true)
}
