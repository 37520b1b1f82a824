package nats

import (
	"sync/atomic"

	"leat.dev/leat/wire"
)

// subscription is what the tree holds: a client's or one of this process.
type subscription struct {
	subject string
	queue   string

	// Of a client:
	conn      *conn
	sid       string
	delivered atomic.Int64 // messages so far
	max       atomic.Int64 // after as many it ends; 0 is never

	// Of this process:
	server  *Server
	handler wire.Handler
	closed  atomic.Bool
}

// Close implements wire.Subscription.
func (s *subscription) Close() {
	if s.closed.Swap(true) {
		return
	}
	s.server.tree.Remove(s.subject, s.queue, s)
	s.server.internalClosed.Add(1)
	s.server.processCouriers.forget()
}
