package stan

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire/stan/pb"
)

// restore makes clients, groups and subscriptions as they were stored. Members
// join when somebody listens on their inboxes, so that what is pending is not
// sent before clients have come back.
func (f *Frontend) restore() error {
	clean := f.takeMark()
	for _, stored := range f.store.Sessions(sessionClient) {
		var m pb.ClientInfo
		if err := m.Decode(stored.Value); err != nil {
			return fmt.Errorf("client %q: %w", stored.Name, err)
		}
		c := f.newClient(m.ID, m.HeartbeatInbox, m.ConnID, m.Protocol, m.PingInterval, m.PingMaxOut)
		f.clients.add(c)
		f.heartbeats.add(c)
	}
	for _, c := range f.store.Channels() {
		for _, k := range c.Cursors() {
			if !strings.HasPrefix(k.Name, cursorPrefix) {
				continue
			}
			var m pb.CursorInfo
			if err := m.Decode(k.Meta); err != nil {
				return fmt.Errorf("cursor %q of channel %q: %w", k.Name, c.Name(), err)
			}
			f.groups.lookUp(f, c, groupKind(m.Kind), k.Name).place = k.Place
		}
	}
	if err := f.restoreSubscriptions(); err != nil {
		return err
	}
	if !clean {
		f.doubt()
	}
	// A crash between a subscription and its place leaves a place that nobody
	// can come back to.
	for _, g := range f.groups.all() {
		g.gathering = len(g.members) > 1 && g.channel.Last() > g.place.Floor()
		if len(g.members) == 0 && !g.kind.isDurable() {
			f.groups.remove(g)
			f.owed.place(g.channel, g.kind, g.key.cursor)
		}
	}
	return nil
}

type storedSubscription struct {
	token string
	at    *partition.Partition
	info  pb.SubscriptionInfo
}

func (f *Frontend) restoreSubscriptions() error {
	var list []storedSubscription
	for _, p := range f.store.Partitions() {
		for _, stored := range p.Sessions(sessionSubscription) {
			s := storedSubscription{token: stored.Name, at: p}
			if err := s.info.Decode(stored.Value); err != nil {
				return fmt.Errorf("subscription %q: %w", stored.Name, err)
			}
			list = append(list, s)
		}
	}
	slices.SortFunc(list, func(a, b storedSubscription) int { return cmp.Compare(a.info.Order, b.info.Order) })
	// Two of a durable are there when the older one could not be removed.
	newest := make(map[groupKey]uint64)
	for i := range list {
		m := &list[i].info
		newest[groupKey{string(m.Channel), string(m.Cursor)}] = m.Order
		f.groups.order = m.Order
	}
	for i := range list {
		if !f.restoreSubscription(&list[i], newest) {
			f.owed.subscription(list[i].at, list[i].token)
		}
	}
	return nil
}

// restoreSubscription returns false when what it belongs to is gone, or a newer
// one has its place.
func (f *Frontend) restoreSubscription(stored *storedSubscription, newest map[groupKey]uint64) bool {
	m := &stored.info
	c := f.clients.lookUp(m.ClientID)
	key := groupKey{string(m.Channel), string(m.Cursor)}
	f.groups.mu.Lock()
	g := f.groups.byChannel[key.channel][key]
	f.groups.mu.Unlock()
	if c == nil || g == nil || (!g.kind.isQueue() && m.Order != newest[key]) {
		return false
	}
	s := &subscription{
		f: f, g: g, c: c, token: stored.token, inbox: string(m.Inbox), maxInFlight: m.MaxInFlight,
		ackWaitSecs: m.AckWaitInSecs, order: m.Order,
	}
	s.way = f.newWay(s)
	f.groups.admit(s)
	g.add(s)
	c.own(s)
	f.interest.add(s)
	return true
}

// logged returns a callback for a change that nobody waits for.
func (f *Frontend) logged(what string) func(error) {
	return func(err error) {
		if err != nil {
			f.opts.Logger.Warn(what, "error", err)
		}
	}
}

// channelDeleted ends the subscriptions of a channel that is gone; the cursors
// went with it. The partition's applying goroutine calls it.
func (f *Frontend) channelDeleted(c *partition.Channel) {
	groups := f.groups.of(c.Name())
	if len(groups) == 0 || !f.begin() {
		return
	}
	go func() {
		defer f.work.Done()
		for _, g := range groups {
			f.endGroup(g, c)
		}
	}()
}

func (f *Frontend) endGroup(g *group, c *partition.Channel) {
	g.op.Lock()
	defer g.op.Unlock()
	if g.channel != c || g.dead {
		return
	}
	for _, s := range g.list() {
		if err := f.endLocked(s, true); err != nil {
			f.opts.Logger.Warn("end a subscription of a deleted channel", "channel", c.Name(), "error", err)
		}
	}
	if !g.dead {
		f.groups.remove(g)
	}
}

// closeConsumers is the end of deliveries when the front-end closes.
func (f *Frontend) closeConsumers() {
	for _, g := range f.groups.all() {
		g.op.Lock()
		g.stop()
		for _, s := range g.list() {
			s.way.close()
		}
		g.op.Unlock()
	}
}

// markStopped names the session that says that the front-end was closed in
// order, so that every place is logged as it was.
const markStopped = "stan stopped in order"

// markTimeout bounds what Close waits for its mark. Without it the next start
// is only more careful.
const markTimeout = 2 * time.Second

func (f *Frontend) markStopped() {
	done := make(chan error, 1)
	f.store.PutSession(sessionMark, markStopped, nil, func(err error) { done <- err })
	timer := time.NewTimer(markTimeout)
	defer timer.Stop()
	select {
	case err := <-done:
		f.logged("note the orderly stop")(err)
	case <-timer.C:
	}
}

// takeMark tells whether the front-end was closed in order, and takes the mark
// away: the next stop may be a crash.
func (f *Frontend) takeMark() (clean bool) {
	if _, clean = f.store.Session(sessionMark, markStopped); clean {
		remove := func() error {
			return f.await(func(done func(error)) { f.store.DeleteSession(sessionMark, markStopped, done) })
		}
		if err := remove(); err != nil {
			f.logged("take the mark of the orderly stop")(err)
			f.owed.add(f.store.Of(markStopped), remove)
		}
	}
	return clean
}

// doubtMax bounds how many messages are flagged because a crash makes it
// uncertain whether they were sent before.
const doubtMax = 64 << 10

// doubt notes, after a crash, what may have been sent and is not logged as
// sent: progress is logged a moment after it is made. Clients expect what they
// may have seen to be flagged.
func (f *Frontend) doubt() {
	for _, g := range f.groups.all() {
		if len(g.members) > 0 {
			g.doubtTo = min(g.channel.Last(), g.place.LastSent()+doubtMax)
		}
	}
}

// doubtful tells whether something in doubt has not been sent since: then a stop
// is not as good as one that no crash went before. No consumer runs any more.
func (f *Frontend) doubtful() bool {
	return slices.ContainsFunc(f.groups.all(), func(g *group) bool {
		g.op.Lock()
		defer g.op.Unlock()
		return g.place != nil && g.doubtTo > g.place.LastSent()
	})
}
