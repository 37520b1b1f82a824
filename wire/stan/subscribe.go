package stan

import (
	"bytes"
	"errors"
	"math"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// takeSubscribe is _STAN.sub.<cluster>.
func (f *Frontend) takeSubscribe(s *source, m *wire.Msg) {
	now := f.opts.Now().UnixNano() // a time to start at is relative to it
	b := s.barrier()
	reply, data := string(m.Reply), bytes.Clone(m.Data)
	var q pb.SubscriptionRequest
	if err := q.Decode(data); err != nil || len(data) > requestBytesMax {
		f.answerSubscribe(reply, "", errInvalidSubReq)
		return
	}
	if err := checkSubscribe(&q); err != nil {
		f.answerSubscribe(reply, "", err)
		return
	}
	c := f.clients.lookUp(q.ClientID)
	if c == nil {
		f.answerSubscribe(reply, "", errUnknownClient)
		return
	}
	c.enqueue(func() {
		if b.wait(f) {
			f.subscribe(c, &q, reply, now)
		}
	})
}

// checkSubscribe checks in the order that clients are used to.
func checkSubscribe(q *pb.SubscriptionRequest) error {
	switch {
	case len(q.ClientID) == 0:
		return errMissingClient
	case q.AckWaitInSecs <= 0:
		return errInvalidAckWait
	case q.MaxInFlight <= 0:
		return errInvalidMaxInflight
	case q.StartPosition < pb.NewOnly || q.StartPosition > pb.First:
		return errInvalidStart
	case partition.ValidateName(string(q.Subject)) != nil:
		return errInvalidSubject
	case !validInbox(q.Inbox):
		return errInvalidSubReq
	}
	return nil
}

func (f *Frontend) answerSubscribe(reply, ackInbox string, reason error) {
	r := pb.SubscriptionResponse{AckInbox: ackInbox}
	if reason != nil {
		r.Error = reason.Error()
	}
	f.answer(reply, r.Append(nil))
}

// subscribe runs in the client's queue of requests.
func (f *Frontend) subscribe(c *client, q *pb.SubscriptionRequest, reply string, now int64) {
	s, err := f.register(c, q, now)
	if err != nil {
		if errors.Is(err, errShutdown) {
			return // the client asks the next server
		}
		f.answerSubscribe(reply, "", err)
		return
	}
	defer s.g.op.Unlock()
	f.answerSubscribe(reply, s.ackInbox(), nil)
	if err := s.g.enter(s); err != nil {
		f.opts.Logger.Error("start a subscription", "client", c.id, "channel", s.channelName(), "error", err)
	}
}

// register stores a subscription. It returns with its group's op held, so that
// the response can go out before the first message.
func (f *Frontend) register(c *client, q *pb.SubscriptionRequest, now int64) (*subscription, error) {
	if c.gone.Load() {
		return nil, errUnknownClient
	}
	ch, err := f.channels.ensure(string(q.Subject))
	if err != nil {
		return nil, err
	}
	kind, token := plain, token()
	info := pb.CursorInfo{DurableName: q.DurableName, QGroup: q.QGroup}
	switch {
	case len(q.QGroup) > 0 && len(q.DurableName) > 0:
		if bytes.IndexByte(q.DurableName, ':') >= 0 {
			return nil, errDurableQueue
		}
		kind = durableQueue
	case len(q.QGroup) > 0:
		kind = queue
	case len(q.DurableName) > 0:
		kind, info.ClientID = durable, q.ClientID
	}
	info.Kind = uint64(kind)
	s := &subscription{
		f: f, c: c, token: token, inbox: string(q.Inbox), maxInFlight: q.MaxInFlight, ackWaitSecs: q.AckWaitInSecs,
	}
	g := f.lockGroup(ch, kind, cursorName(kind, token, &info))
	s.g = g
	if err := f.storeSubscription(s, q, &info, now); err != nil {
		if g.place == nil {
			f.groups.remove(g)
		}
		g.op.Unlock()
		return nil, err
	}
	return s, nil
}

// lockGroup returns the group with its op held.
func (f *Frontend) lockGroup(ch *partition.Channel, kind groupKind, name string) *group {
	for {
		g := f.groups.lookUp(f, ch, kind, name)
		g.op.Lock()
		if !g.dead && g.channel == ch {
			return g
		}
		if !g.dead {
			f.groups.remove(g) // of a channel of that name that was deleted
		}
		g.op.Unlock()
	}
}

// storeSubscription makes a subscription durable, and its group's place when it is new.
func (f *Frontend) storeSubscription(s *subscription, q *pb.SubscriptionRequest, info *pb.CursorInfo, now int64) error {
	g := s.g
	if g.kind == durable {
		for _, old := range g.list() {
			if !f.opts.ReplaceDurable {
				return errDupDurable
			}
			if err := f.endLocked(old, false); err != nil {
				return told(err)
			}
		}
	}
	if f.opts.SubscriptionsMax > 0 && (g.place == nil || len(g.list()) > 0) {
		// The group itself is counted already.
		n := f.groups.subscriptions(g.key.channel)
		if g.place == nil {
			n--
		}
		if n >= f.opts.SubscriptionsMax {
			return errTooManySubs
		}
	}
	w := f.newWrites()
	place := g.place
	if place == nil {
		next, err := startAt(g.channel, q, now)
		if err != nil {
			f.opts.Logger.Error("look up where a subscription starts", "channel", g.key.channel, "error", err)
			return told(err)
		}
		place = cursor.New(next)
		w.add(func(done func(error)) { g.channel.PutCursor(g.key.cursor, info.Append(nil), place, done) })
	}
	f.groups.admit(s)
	w.add(func(done func(error)) {
		g.channel.Partition().PutSession(sessionSubscription, s.token, s.info(), done)
	})
	if err := w.wait(); err != nil {
		f.groups.dismiss(s)
		f.channels.unmade(g.channel)
		if errors.Is(err, errShutdown) {
			return err
		}
		// One of the writes may have got through.
		f.owed.subscription(g.channel.Partition(), s.token)
		if g.place == nil {
			f.owed.place(g.channel, g.kind, g.key.cursor)
		}
		f.opts.Logger.Error("store a subscription", "client", s.c.id, "channel", g.key.channel, "error", err)
		return told(err)
	}
	g.place = place
	s.way = f.newWay(s)
	g.add(s)
	s.c.own(s)
	return nil
}

// startAt is the first offset that a new subscription gets.
func startAt(c *partition.Channel, q *pb.SubscriptionRequest, now int64) (record.Offset, error) {
	first, last := c.First(), c.Last()
	fresh := last + 1
	if last < first {
		return fresh, nil // there is none
	}
	switch q.StartPosition {
	case pb.First:
		return first, nil
	case pb.LastReceived:
		return last, nil
	case pb.SequenceStart:
		n := record.Offset(q.StartSequence)
		if n > last {
			return fresh, nil // new only, not a wait for that number
		}
		return max(n, first), nil
	case pb.TimeDeltaStart:
		at := now - q.StartTimeDelta
		if q.StartTimeDelta < 0 && at < now {
			at = math.MaxInt64 // it overflowed
		}
		return c.OffsetAt(max(at, 0))
	}
	return fresh, nil
}
