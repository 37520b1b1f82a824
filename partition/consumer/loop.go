package consumer

import (
	"fmt"
	"time"

	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

// loop is what the goroutine owns.
type loop struct {
	c       *Consumer
	g       *delivery.Group
	members map[delivery.MemberID]*member
	feed    feed
	mail    mailbox // taken, being worked off
	acts    []delivery.Send
	done    bool // Done was called

	retryAt time.Time // no reading before that
	log     progress
}

// member is one receiver.
type member struct {
	id   delivery.MemberID
	sink Sink
	full bool
	run  []Delivery      // gathered for the next call of the sink
	left []delivery.Send // decided and not sent; the group has it paused meanwhile
	// spare is the other buffer for left, while that is worked off.
	spare []delivery.Send
}

func (l *loop) init(c *Consumer, g *delivery.Group) {
	l.c, l.g = c, g
	l.members = make(map[delivery.MemberID]*member)
	l.feed.source = c.opts.Source
	l.log = progress{c: c, result: make(chan error, 1)}
}

// timerIdle is how long to wait when there is nothing to wait for.
const timerIdle = time.Hour

// run is the consumer's goroutine. It ends after Close.
func (l *loop) run() {
	defer close(l.c.ended)
	timer := time.NewTimer(timerIdle)
	defer timer.Stop()
	for !l.take() {
		now := l.c.opts.Now()
		busy := l.turn(now)
		l.log.turn(now)
		if busy {
			l.feed.usedAt = now
			continue
		}
		timer.Reset(l.wait(now))
		select {
		case <-l.c.wake:
		case <-timer.C:
		}
	}
	l.c.cancel()
	l.feed.close()
	l.log.rest()
}

// take empties the mailbox and works it off. It reports whether it was the
// last.
func (l *loop) take() (closed bool) {
	m := &l.mail
	l.c.mu.Lock()
	l.c.mail, *m = *m, l.c.mail
	closed = m.closed
	l.c.mail.closed = closed
	l.c.room.Broadcast()
	l.c.mu.Unlock()

	for _, a := range m.acks {
		if a.from == a.to {
			l.g.Ack(a.from)
		} else {
			l.g.AckRange(a.from, a.to)
		}
	}
	for _, h := range m.health {
		l.g.Suspect(h.id, h.suspect)
	}
	for _, id := range m.resume {
		if to := l.members[id]; to != nil {
			to.full = false
			l.unpause(to)
		}
	}
	for i, made := range m.calls {
		made.do()
		close(made.done)
		m.calls[i] = call{} // so that it can be collected
	}
	*m = mailbox{
		acks: m.acks[:0], calls: m.calls[:0], health: m.health[:0],
		resume: m.resume[:0],
	}
	return closed
}

// turn decides and sends once. It reports whether there may be more to do.
func (l *loop) turn(now time.Time) (busy bool) {
	if now.Before(l.retryAt) {
		return false
	}
	source := l.c.opts.Source
	l.g.MoveFirst(source.First())
	if sent, ok := l.sendLeft(now); sent || !ok {
		return ok
	}
	budget := l.c.opts.TurnRecords
	l.acts = l.g.Expire(now.UnixNano(), budget, l.acts[:0])
	for i := range l.acts {
		budget -= l.acts[i].Len()
	}
	l.acts = l.g.Next(now.UnixNano(), source.Last(), budget, l.acts)
	for i, a := range l.acts {
		if rest, err := l.send(l.members[a.Member], a); err != nil {
			l.fail(now, rest.From, err)
			l.hold(rest)
			for _, a := range l.acts[i+1:] {
				l.hold(a)
			}
			return false
		}
	}
	l.flush()
	l.finish()
	return len(l.acts) > 0
}

// sendLeft sends what was left for members that have room again. sent reports
// whether there was any, ok is false when reading failed.
func (l *loop) sendLeft(now time.Time) (sent, ok bool) {
	for _, m := range l.members {
		if m.full || len(m.left) == 0 {
			continue
		}
		sent = true
		left := m.left
		m.left = m.spare[:0]
		for i, a := range left {
			if m.full {
				m.left = append(m.left, left[i:]...)
				break
			}
			if rest, err := l.sendPending(now, m, a); err != nil {
				l.fail(now, rest.From, err)
				m.left = append(append(m.left, rest), left[i+1:]...)
				return sent, false
			}
		}
		m.spare = left[:0]
		l.flush()
		l.unpause(m)
	}
	return sent, true
}

// unpause tells the group that a member can be sent to, if it can.
func (l *loop) unpause(m *member) {
	if !m.full && len(m.left) == 0 {
		l.g.Unpause(m.id)
	}
}

// finish tells once that all is done.
func (l *loop) finish() {
	if l.done || !l.g.Done() {
		return
	}
	for _, m := range l.members {
		if len(m.left) > 0 {
			return
		}
	}
	l.done = true
	if l.c.opts.Done != nil {
		l.c.opts.Done()
	}
}

// fail puts reading off.
func (l *loop) fail(now time.Time, at record.Offset, err error) {
	l.flush()
	l.c.opts.Logger.Error("delivery waits", "offset", at, "retry", l.c.opts.RetryDelay, "err", err)
	l.retryAt = now.Add(l.c.opts.RetryDelay)
}

// hold keeps an action until its member has room, or reading works again.
func (l *loop) hold(a delivery.Send) {
	m := l.members[a.Member]
	m.left = append(m.left, a)
	l.g.Pause(m.id)
}

// join adds a member.
func (l *loop) join(m Member) error {
	if m.Sink == nil {
		return fmt.Errorf("join member %d: no sink: %w", m.ID, ErrOptions)
	}
	if err := l.g.Join(m.ID, m.Options); err != nil {
		return err
	}
	l.members[m.ID] = &member{id: m.ID, sink: m.Sink}
	return nil
}

// leave removes a member.
func (l *loop) leave(id delivery.MemberID) (left int) {
	l.g.Leave(l.c.opts.Now().UnixNano(), id)
	delete(l.members, id)
	return l.g.Members()
}

func (l *loop) stats() Stats {
	c := l.g.Cursor()
	s := Stats{
		Floor: c.Floor(), LastSent: c.LastSent(), Pending: c.PendingCount(),
		Stalled: l.g.Stalled(), Members: make(map[delivery.MemberID]delivery.MemberStats),
	}
	for id := range l.members {
		s.Members[id], _ = l.g.Stats(id)
	}
	return s
}

// wait returns how long there is nothing to do unless something happens. On
// the way it lets go of the log, if it was not read for a while: between the
// acknowledgements of a busy consumer that would only cost.
func (l *loop) wait(now time.Time) time.Duration {
	d := timerIdle
	if now.Before(l.retryAt) {
		d = l.retryAt.Sub(now)
	} else if at, ok := l.g.Deadline(); ok {
		d = min(d, time.Unix(0, at).Sub(now))
	}
	if at, ok := l.log.due(); ok {
		d = min(d, at.Sub(now))
	}
	if l.feed.holds() {
		if idle := now.Sub(l.feed.usedAt); idle < feedHold {
			d = min(d, feedHold-idle)
		} else {
			l.feed.pause()
		}
	}
	return max(d, 0)
}
