package stan

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/consumer"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire/stan/pb"
)

// groupKind is what shares a place in a channel. The numbers are stored.
type groupKind uint64

const (
	plain        groupKind = 1 // one subscription
	durable      groupKind = 2 // one subscription at a time, by client and name
	queue        groupKind = 3 // subscriptions of any clients, by group
	durableQueue groupKind = 4 // the same, by name and group
)

func (k groupKind) isQueue() bool   { return k == queue || k == durableQueue }
func (k groupKind) isDurable() bool { return k == durable || k == durableQueue }

// groupKey names a group.
type groupKey struct{ channel, cursor string }

// cursorPrefix begins the names of this front-end's cursors.
const cursorPrefix = "stan/"

// cursorNameBytesMax is the longest name that is stored as it is; what is
// longer is hashed.
const cursorNameBytesMax = 200

// cursorName names the place of a group. Parts are kept apart by what they
// can't contain: a client ID no '/', a durable queue's durable name no ':'.
// (The streaming server joins client, channel and name with '-', which all of
// them may contain.)
func cursorName(kind groupKind, token string, m *pb.CursorInfo) string {
	var name string
	switch kind {
	case durable:
		name = "d/" + string(m.ClientID) + "/" + string(m.DurableName)
	case queue:
		name = "q/" + string(m.QGroup)
	case durableQueue:
		name = "Q/" + string(m.DurableName) + ":" + string(m.QGroup)
	default:
		name = "p/" + token
	}
	if len(name) > cursorNameBytesMax {
		sum := sha256.Sum256([]byte(name))
		name = name[:2] + "#" + hex.EncodeToString(sum[:])
	}
	return cursorPrefix + name
}

// group is the subscriptions that share one place in a channel, and that place.
// A plain or durable one has one subscription at most.
//
// Lock order: op, then mu. op is held while a change is stored, mu never.
type group struct {
	f       *Frontend
	channel *partition.Channel
	key     groupKey
	kind    groupKind
	doubtTo record.Offset // up to it, new messages may have been sent before a crash; set before the first join

	op    sync.Mutex
	dead  bool           // removed from the registry; guarded by op
	place *cursor.Cursor // guarded by op; the consumer's while there is one

	gathering  bool      // members have yet to come back after a restart; guarded by op
	gatherTill time.Time // when it goes on without them; zero until the first is back; guarded by op
	gatherNext time.Time // when to look again who is back; guarded by op

	mu       sync.Mutex
	consumer *consumer.Consumer // runs while a member has joined; written under op and mu
	members  []*subscription    // written under op and mu
}

// join lets subscriptions have what the group delivers: share it, when it begins
// with several. The caller holds op.
func (g *group) join(list ...*subscription) error {
	members := make([]consumer.Member, 0, len(list))
	for _, s := range list {
		s.joined = true
		members = append(members, consumer.Member{
			ID: s.id,
			Options: delivery.MemberOptions{
				MaxInFlight: int(s.maxInFlight), AckWait: time.Duration(s.ackWaitSecs) * time.Second,
			},
			Sink: s.way,
		})
	}
	if g.consumer != nil {
		for _, m := range members {
			if err := g.consumer.Join(m); err != nil {
				return err
			}
		}
		return nil
	}
	// Held over the start: the consumer may deliver before Start has returned, and
	// the acknowledgement of that must find it.
	g.mu.Lock()
	defer g.mu.Unlock()
	c, err := consumer.Start(consumer.Options{
		Source: channelSource{g.channel}, Cursor: g.place, Delivery: delivery.Options{Queue: g.kind.isQueue()},
		Progress: g, Logger: g.f.opts.Logger.With("channel", g.key.channel, "cursor", g.key.cursor),
		Members: members,
	})
	if err != nil {
		return err
	}
	g.consumer = c
	return nil
}

// leave ends deliveries to a subscription. What it has not acknowledged goes to
// the others, or waits for the next. The caller holds op.
func (g *group) leave(s *subscription) {
	if !s.joined {
		return
	}
	s.joined = false
	if left, err := g.consumer.Leave(s.id); err == nil && left > 0 {
		return
	}
	g.stop()
}

// stop ends the consumer and keeps its place. The caller holds op.
func (g *group) stop() {
	g.mu.Lock()
	c := g.consumer
	g.consumer = nil
	g.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

func (g *group) running() *consumer.Consumer {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.consumer
}

// ack takes acknowledgements, whichever member they come from.
func (g *group) ack(offsets []record.Offset) {
	if c := g.running(); c != nil {
		c.AckBatch(offsets)
	}
}

// Advance implements consumer.Progress.
func (g *group) Advance(delta []byte, done func(error)) {
	g.channel.AdvanceCursor(g.key.cursor, delta, done)
}

func (g *group) add(s *subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.members = append(g.members, s)
}

// drop takes a member out and returns how many are left.
func (g *group) drop(s *subscription) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := g.members[:0]
	for _, m := range g.members {
		if m != s {
			kept = append(kept, m)
		}
	}
	clear(g.members[len(kept):])
	g.members = kept
	return len(kept)
}

func (g *group) list() []*subscription {
	g.mu.Lock()
	defer g.mu.Unlock()
	return append([]*subscription(nil), g.members...)
}

// channelSource shows a channel as package consumer wants to see it.
type channelSource struct{ c *partition.Channel }

// First implements consumer.Source.
func (s channelSource) First() record.Offset { return s.c.First() }

// Last implements consumer.Source.
func (s channelSource) Last() record.Offset { return s.c.Last() }

// Open implements consumer.Source.
func (s channelSource) Open(from record.Offset) consumer.Reader { return s.c.NewReader(from) }

// Watch implements consumer.Source.
func (s channelSource) Watch(notify func()) (cancel func()) { return s.c.Watch(notify) }

// groups are all groups of all channels.
type groups struct {
	mu sync.RWMutex
	// guarded by mu
	byChannel map[string]map[groupKey]*group
	byToken   map[string]*subscription // by the last token of the ack inbox
	order     uint64                   // of the newest subscription
	member    delivery.MemberID        // the newest one
}

func (gs *groups) init() {
	gs.byChannel = make(map[string]map[groupKey]*group)
	gs.byToken = make(map[string]*subscription)
}

// lookUp returns the group, or a new one without a place.
func (gs *groups) lookUp(f *Frontend, c *partition.Channel, kind groupKind, cursorName string) *group {
	key := groupKey{c.Name(), cursorName}
	gs.mu.Lock()
	defer gs.mu.Unlock()
	of := gs.byChannel[key.channel]
	if of == nil {
		of = make(map[groupKey]*group)
		gs.byChannel[key.channel] = of
	}
	g := of[key]
	if g == nil {
		g = &group{f: f, channel: c, key: key, kind: kind}
		of[key] = g
	}
	return g
}

// remove takes a group out. The caller holds its op.
func (gs *groups) remove(g *group) {
	g.dead = true
	gs.mu.Lock()
	defer gs.mu.Unlock()
	of := gs.byChannel[g.key.channel]
	if of[g.key] == g {
		delete(of, g.key)
	}
	if len(of) == 0 {
		delete(gs.byChannel, g.key.channel)
	}
}

func (gs *groups) of(channel string) []*group {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	list := make([]*group, 0, len(gs.byChannel[channel]))
	for _, g := range gs.byChannel[channel] {
		list = append(list, g)
	}
	return list
}

func (gs *groups) all() []*group {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	var list []*group
	for _, of := range gs.byChannel {
		for _, g := range of {
			list = append(list, g)
		}
	}
	return list
}

// subscriptions counts a channel's, durables that are offline included.
func (gs *groups) subscriptions(channel string) int {
	n := 0
	for _, g := range gs.of(channel) {
		g.mu.Lock()
		n += max(len(g.members), 1)
		g.mu.Unlock()
	}
	return n
}

// admit gives a subscription its numbers.
func (gs *groups) admit(s *subscription) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	gs.member++
	s.id = gs.member
	if s.order == 0 {
		gs.order++
		s.order = gs.order
	}
	gs.order = max(gs.order, s.order)
	gs.byToken[s.token] = s
}

func (gs *groups) dismiss(s *subscription) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if gs.byToken[s.token] == s {
		delete(gs.byToken, s.token)
	}
}

func (gs *groups) byAckToken(token []byte) *subscription {
	gs.mu.RLock()
	defer gs.mu.RUnlock()
	return gs.byToken[string(token)]
}
