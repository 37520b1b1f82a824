package stan

import (
	"bytes"
	"errors"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// takeUnsubscribe is _STAN.unsub.<cluster>.
func (f *Frontend) takeUnsubscribe(s *source, m *wire.Msg) { f.takeEnd(s, m, true) }

// takeSubClose is _STAN.subclose.<cluster>.
func (f *Frontend) takeSubClose(s *source, m *wire.Msg) { f.takeEnd(s, m, false) }

// takeEnd is a barrier: acknowledgements that came before count, publishes that
// came before are stored.
func (f *Frontend) takeEnd(s *source, m *wire.Msg, unsubscribe bool) {
	b := s.barrier()
	reply, data := string(m.Reply), bytes.Clone(m.Data)
	var q pb.UnsubscribeRequest
	if err := q.Decode(data); err != nil {
		f.answerEnd(reply, errInvalidUnsubReq)
		return
	}
	c := f.clients.lookUp(q.ClientID)
	if c == nil {
		f.answerEnd(reply, f.end(nil, &q, unsubscribe))
		return
	}
	// Behind the client's subscribe requests: after one that timed out, it
	// sends a close for it.
	c.enqueue(func() {
		if !b.wait(f) {
			return
		}
		if err := f.end(c, &q, unsubscribe); !errors.Is(err, errShutdown) {
			f.answerEnd(reply, err)
		}
	})
}

func (f *Frontend) answerEnd(reply string, reason error) {
	if reason == nil {
		f.answer(reply, nil)
		return
	}
	r := pb.SubscriptionResponse{Error: reason.Error()}
	f.answer(reply, r.Append(nil))
}

// end ends the subscription that a request names.
func (f *Frontend) end(c *client, q *pb.UnsubscribeRequest, unsubscribe bool) error {
	name := string(q.Subject)
	if _, ok := f.store.Channel(name); !ok {
		return errUnknownChannel
	}
	s := f.subscriptionAt(name, q.Inbox)
	if s == nil {
		return errInvalidSub
	}
	if s.c != c {
		return errUnknownClient
	}
	if err := f.endSubscription(s, unsubscribe); err != nil {
		f.opts.Logger.Error("end a subscription", "client", c.id, "channel", name, "error", err)
		return told(err)
	}
	return nil
}

// subscriptionAt finds a subscription by its ack inbox, or by the inbox that it
// delivers to: that is all that a client knows whose subscribe timed out.
func (f *Frontend) subscriptionAt(channel string, inbox []byte) *subscription {
	if token, ok := inboxIn(f.subjects.acks, inbox); ok {
		s := f.groups.byAckToken(token)
		if s != nil && s.channelName() == channel && !s.ended.Load() {
			return s
		}
		return nil
	}
	for _, g := range f.groups.of(channel) {
		for _, s := range g.list() {
			if s.inbox == string(inbox) {
				return s
			}
		}
	}
	return nil
}
