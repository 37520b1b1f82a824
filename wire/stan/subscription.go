package stan

import (
	"sync/atomic"

	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/wire/stan/pb"
)

// subscription is one of a connected client: a member of a group.
type subscription struct {
	f           *Frontend
	g           *group
	c           *client
	token       string // the last one of its ack inbox
	inbox       string
	maxInFlight int32
	ackWaitSecs int32
	order       uint64 // in which they were made; members of a group share what is pending in that order

	id     delivery.MemberID
	way    *way
	joined bool // with the group's consumer; guarded by group.op
	ended  atomic.Bool
}

func (s *subscription) channelName() string { return s.g.key.channel }

func (s *subscription) ackInbox() string { return s.f.subjects.acks + s.token }

func (s *subscription) info() []byte {
	m := pb.SubscriptionInfo{
		Channel: []byte(s.g.key.channel), Cursor: []byte(s.g.key.cursor), ClientID: []byte(s.c.id), Inbox: []byte(s.inbox),
		MaxInFlight: s.maxInFlight, AckWaitInSecs: s.ackWaitSecs, Order: s.order,
	}
	return m.Append(nil)
}

// suspect tells the consumer whether the client misses heartbeats.
func (s *subscription) suspect(failing bool) {
	if c := s.g.running(); c != nil {
		c.Suspect(s.id, failing)
	}
}

// writes collects changes that are stored together, so that waiting for them
// takes one sync and not many.
type writes struct {
	f       *Frontend
	results chan error
	n       int
}

func (f *Frontend) newWrites() *writes { return &writes{f: f, results: make(chan error, writesMax)} }

// writesMax is how many changes one request makes at most.
const writesMax = 4

func (w *writes) add(start func(done func(error))) {
	w.n++
	start(func(err error) { w.results <- err })
}

// wait returns the first error.
func (w *writes) wait() (first error) {
	for ; w.n > 0; w.n-- {
		select {
		case err := <-w.results:
			if first == nil {
				first = err
			}
		case <-w.f.ctx.Done():
			return errShutdown
		}
	}
	return first
}

// endSubscription ends one: a durable's place stays unless it unsubscribes, a
// queue's as long as it has other members. With an error it has ended as well,
// and what could not be removed from the store is owed.
func (f *Frontend) endSubscription(s *subscription, unsubscribe bool) error {
	s.g.op.Lock()
	defer s.g.op.Unlock()
	return f.endLocked(s, unsubscribe)
}

func (f *Frontend) endLocked(s *subscription, unsubscribe bool) error {
	if s.ended.Swap(true) {
		return nil
	}
	g := s.g
	f.interest.remove(s)
	f.groups.dismiss(s)
	s.c.forget(s)
	g.leave(s)
	s.way.close()
	left := g.drop(s)
	w := f.newWrites()
	w.add(func(done func(error)) { g.channel.Partition().DeleteSession(sessionSubscription, s.token, done) })
	last := left == 0 && (unsubscribe || !g.kind.isDurable())
	if last {
		f.groups.remove(g)
		w.add(func(done func(error)) { g.channel.DeleteCursor(g.key.cursor, goneIsGone(done)) })
	}
	err := w.wait()
	if err != nil {
		f.owed.subscription(g.channel.Partition(), s.token)
		if last {
			f.owed.place(g.channel, g.kind, g.key.cursor)
		}
	}
	return err
}
