package nats

import (
	"sync"

	"leat.dev/leat/wire"
)

// giveHandler carries a packet to a subscription of this process.
func (c *courier) giveHandler(d *destination, p *packet) bool {
	s, r := d.sub, d.to
	if s.closed.Load() {
		return false
	}
	if r.sink == nil {
		r.sink = s.handler.Attach(c.source)
	}
	c.msg = wire.Msg{Subject: p.subject, Reply: orNil(p.reply), Header: orNil(p.header), Data: p.data}
	if len(p.more) > 0 {
		c.joined = append(append(c.joined[:0], p.data...), p.more...)
		c.msg.Data = c.joined
	}
	r.sink.Msg(&c.msg)
	if !r.touched {
		r.touched = true
		c.called = append(c.called, r)
	}
	return true
}

func orNil(b []byte) []byte {
	if len(b) == 0 {
		return nil
	}
	return b
}

// detach ends the sinks of subscriptions that are closed, or all.
func (c *courier) detach(all bool) {
	for s, r := range c.handlers {
		if !all && !s.closed.Load() {
			continue
		}
		delete(c.handlers, s)
		if r.sink != nil {
			r.sink.Detach()
		}
	}
}

// courierList is the couriers that Publish borrows. There is one for each
// Publish that is under way at once, not one for all, because a handler that
// gets a message from Publish may itself publish.
type courierList struct {
	mu   sync.Mutex
	idle []*courier
}

// idleMax bounds the couriers that are kept.
const idleMax = 16

func (l *courierList) borrow(s *Server) *courier {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		c := l.idle[n-1]
		l.idle[n-1] = nil
		l.idle = l.idle[:n-1]
		return c
	}
	return newCourier(s, process{}, nil)
}

func (l *courierList) giveBack(c *courier) {
	l.mu.Lock()
	keep := len(l.idle) < idleMax && !c.server.isClosed()
	if keep {
		l.idle = append(l.idle, c)
	}
	l.mu.Unlock()
	if !keep {
		c.detach(true)
	}
}

// forget detaches the sinks of closed subscriptions from idle couriers, which
// might otherwise keep them for long.
func (l *courierList) forget() {
	for _, c := range l.takeAll() {
		c.detach(false)
		l.giveBack(c)
	}
}

// close detaches everything.
func (l *courierList) close() {
	for _, c := range l.takeAll() {
		c.detach(true)
	}
}

func (l *courierList) takeAll() []*courier {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.idle
	l.idle = nil
	return all
}

// process is the source of what this process publishes.
type process struct{}

func (process) ID() uint64   { return 0 }
func (process) Name() string { return "" }
