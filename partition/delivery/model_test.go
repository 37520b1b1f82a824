package delivery_test

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

const (
	slack   = int64(15 * time.Millisecond)
	noOwner = delivery.MemberID(0)
)

// naive is what is known of one record that was sent and not acknowledged.
type naive struct {
	owner  delivery.MemberID // noOwner: owed by a resume, or nobody is there
	expiry int64
	count  uint32
}

type naiveMember struct {
	max             int
	wait            int64
	suspect, paused bool
	quiet           int64
}

// world is a naive model of a group: maps, and a search through all of them at
// every step. It does not predict whom the group chooses; it judges the choice.
type world struct {
	queue     bool
	now       int64
	last      record.Offset
	sent      record.Offset
	gone      record.Offset // all up to it
	pending   map[record.Offset]*naive
	members   map[delivery.MemberID]*naiveMember
	delivered map[record.Offset]int // how often
	acked     map[record.Offset]bool
}

func (w *world) load(id delivery.MemberID) (n int) {
	for _, p := range w.pending {
		if p.owner == id {
			n++
		}
	}
	return n
}

func (w *world) owed() []record.Offset {
	var out []record.Offset
	for o, p := range w.pending {
		if p.owner == noOwner {
			out = append(out, o)
		}
	}
	slices.Sort(out)
	return out
}

// fewest judges a choice between members: if any member is free, healthy and
// not paused, the chosen one must be such and have the fewest in flight.
func (w *world) fewest(t require.TestingT, id delivery.MemberID) {
	least, found := 0, false
	for k, m := range w.members {
		if n := w.load(k); !m.suspect && !m.paused && (m.max == 0 || n < m.max) && (!found || n < least) {
			least, found = n, true
		}
	}
	if found && w.queue {
		m := w.members[id]
		require.False(t, m.suspect, "member %d is suspect and others are not", id)
		require.Equal(t, least, w.load(id), "member %d has more in flight than another", id)
	}
}

// due returns the record that has to be sent again first.
func (w *world) due() (first record.Offset, found bool) {
	for o, p := range w.pending {
		if p.owner == noOwner {
			continue
		}
		m := w.members[p.owner]
		if p.expiry > w.now+min(slack, m.wait/4) || w.now < m.quiet {
			continue
		}
		if !w.queue && (m.paused || m.suspect) {
			continue
		}
		if !found || p.expiry < w.pending[first].expiry || p.expiry == w.pending[first].expiry && o < first {
			first, found = o, true
		}
	}
	return first, found
}

func (w *world) open() bool {
	for _, m := range w.members {
		if !m.paused {
			return true
		}
	}
	return false
}

// expired takes what Expire answered.
func (w *world) expired(t require.TestingT, acts []delivery.Send) {
	for _, a := range acts {
		for o := a.From; o <= a.To; o++ {
			want, ok := w.due()
			require.True(t, ok, "%d sent again and nothing is due", o)
			require.Equal(t, want, o, "order of expiry")
			p, m := w.pending[o], w.members[a.Member]
			require.NotNil(t, m, "member %d is not there", a.Member)
			require.False(t, m.paused)
			w.fewest(t, a.Member)
			p.count++
			require.Equal(t, p.count, a.Count)
			next := p.expiry + m.wait
			if p.owner != a.Member || next <= w.now+min(slack, m.wait/4) {
				next = w.now + m.wait
			}
			p.owner, p.expiry = a.Member, next
			w.delivered[o]++
		}
	}
	for id, m := range w.members {
		if m.suspect && !w.queue && !m.paused && w.now >= m.quiet {
			for _, p := range w.pending {
				if p.owner == id && p.expiry <= w.now+min(slack, m.wait/4) {
					m.quiet = w.now + m.wait
				}
			}
		}
	}
}

// next takes what Next answered.
func (w *world) next(t require.TestingT, acts []delivery.Send) {
	for _, a := range acts {
		for o := a.From; o <= a.To; o++ {
			m := w.members[a.Member]
			require.NotNil(t, m)
			require.False(t, m.paused)
			w.fewest(t, a.Member)
			p := w.pending[o]
			if a.Redelivered() {
				require.Equal(t, w.owed()[0], o, "what is owed goes in order")
				p.count++
				require.Equal(t, p.count, a.Count)
			} else {
				require.Empty(t, w.owed(), "new records wait for what is owed")
				require.Equal(t, w.sent+1, o, "new records go in order")
				require.LessOrEqual(t, o, w.last)
				require.Nil(t, p)
				require.True(t, m.max == 0 || w.load(a.Member) < m.max, "window of member %d", a.Member)
				p = &naive{}
				w.pending[o] = p
				w.sent = o
			}
			p.owner, p.expiry = a.Member, w.now+m.wait
			w.delivered[o]++
		}
	}
}

func (w *world) ack(o record.Offset) bool {
	if w.pending[o] == nil {
		return false
	}
	delete(w.pending, o)
	w.acked[o] = true
	return true
}

func (w *world) leave(id delivery.MemberID) {
	delete(w.members, id)
}

// Aim: nothing is lost, nothing is sent against the rules, and the books of the
// group are right. Method: random histories of members that come, go, stall,
// pause and fall silent, of acknowledgements by whoever, of time, of records
// gone and of restarts; a naive model judges each action. At the end everything
// is let go and acknowledged, and every record must have arrived.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{
			queue:     rapid.Bool().Draw(t, "queue"),
			pending:   map[record.Offset]*naive{},
			members:   map[delivery.MemberID]*naiveMember{},
			delivered: map[record.Offset]int{},
			acked:     map[record.Offset]bool{},
		}
		c := cursor.New(1)
		opts := delivery.Options{Queue: w.queue}
		g, err := delivery.NewGroup(c, opts)
		require.NoError(t, err)
		someone := func(t *rapid.T) delivery.MemberID {
			if len(w.members) == 0 {
				t.Skip("nobody there")
			}
			ids := make([]delivery.MemberID, 0, len(w.members))
			for id := range w.members {
				ids = append(ids, id)
			}
			slices.Sort(ids)
			return rapid.SampledFrom(ids).Draw(t, "member")
		}
		// seldom thins out what ends a history's interesting part.
		seldom := func(t *rapid.T) {
			if rapid.IntRange(0, 4).Draw(t, "seldom") > 0 {
				t.Skip("not now")
			}
		}
		run := func(t *rapid.T) {
			w.now += int64(rapid.IntRange(1, 1500).Draw(t, "ms")) * int64(time.Millisecond)
			w.expired(t, g.Expire(w.now, 1<<20, nil))
			o, found := w.due()
			require.False(t, found && w.open(), "%d is due still", o)
			w.next(t, g.Next(w.now, w.last, 20, nil))
		}
		join := func(t *rapid.T) {
			id := delivery.MemberID(rapid.IntRange(1, 4).Draw(t, "member"))
			m := &naiveMember{max: rapid.IntRange(0, 5).Draw(t, "max")}
			m.wait = int64(rapid.IntRange(20, 3000).Draw(t, "wait ms")) * int64(time.Millisecond)
			err := g.Join(id, delivery.MemberOptions{MaxInFlight: m.max, AckWait: time.Duration(m.wait)})
			switch {
			case w.members[id] != nil:
				require.ErrorIs(t, err, delivery.ErrMemberExists)
			case !w.queue && len(w.members) > 0:
				require.ErrorIs(t, err, delivery.ErrOccupied)
			default:
				require.NoError(t, err)
				w.members[id] = m
			}
		}
		for range rapid.IntRange(0, 6).Draw(t, "joins") {
			join(t)
		}
		t.Repeat(map[string]func(*rapid.T){
			"run": run, "run on": run, "run further": run,
			"join": join,
			"leave": func(t *rapid.T) {
				seldom(t)
				id := someone(t)
				require.True(t, g.Leave(w.now, id))
				w.leave(id)
				// Whom the records went to shows in the statistics; the model
				// lets the group say, and checks the deal is even.
				w.redeal(t, g, id)
			},
			"publish": func(t *rapid.T) { w.last += record.Offset(rapid.IntRange(1, 12).Draw(t, "records")) },
			"next": func(t *rapid.T) {
				w.next(t, g.Next(w.now, w.last, rapid.IntRange(1, 20).Draw(t, "limit"), nil))
			},
			"expire some": func(t *rapid.T) {
				// A suspect member's timer is armed again by any call.
				w.expired(t, g.Expire(w.now, rapid.IntRange(1, 3).Draw(t, "limit"), nil))
			},
			"time": func(t *rapid.T) {
				w.now += int64(rapid.IntRange(1, 1500).Draw(t, "ms")) * int64(time.Millisecond)
			},
			"ack": func(t *rapid.T) {
				for range rapid.IntRange(1, 6).Draw(t, "acks") {
					o := record.Offset(rapid.IntRange(1, int(w.sent)+2).Draw(t, "offset"))
					require.Equal(t, w.ack(o), g.Ack(o))
				}
			},
			"ack range": func(t *rapid.T) {
				from := record.Offset(rapid.IntRange(1, int(w.sent)+2).Draw(t, "from"))
				to := from + record.Offset(rapid.IntRange(0, 8).Draw(t, "length"))
				var n uint64
				for o := from; o <= to; o++ {
					if w.ack(o) {
						n++
					}
				}
				require.Equal(t, n, g.AckRange(from, to))
			},
			"first": func(t *rapid.T) {
				seldom(t)
				first := w.gone + 1 + record.Offset(rapid.IntRange(0, 5).Draw(t, "by"))
				first = min(first, w.last+1)
				g.MoveFirst(first)
				for o := w.gone + 1; o < first; o++ {
					w.ack(o)
					w.acked[o] = true
				}
				w.gone, w.sent = first-1, max(w.sent, first-1)
			},
			"suspect": func(t *rapid.T) {
				id, is := someone(t), rapid.Bool().Draw(t, "is")
				g.Suspect(id, is)
				w.members[id].suspect = is
			},
			"pause": func(t *rapid.T) {
				id := someone(t)
				if w.members[id].paused = !w.members[id].paused; w.members[id].paused {
					g.Pause(id)
				} else {
					g.Unpause(id)
				}
			},
			"restart": func(t *rapid.T) {
				seldom(t)
				c, err = cursor.Decode(c.AppendTo(nil))
				require.NoError(t, err)
				g, err = delivery.NewGroup(c, opts)
				require.NoError(t, err)
				w.members = map[delivery.MemberID]*naiveMember{}
				w.orphan()
			},
			"": func(t *rapid.T) { w.check(t, g) },
		})
		w.finish(t, g)
	})
}

// orphan takes all records from their owners.
func (w *world) orphan() {
	for _, p := range w.pending {
		p.owner = noOwner
	}
}

// redeal follows what a member leaves: round robin to the others in their
// order. The order is the group's own matter; that the shares differ by one at
// most, and the time, are not.
func (w *world) redeal(t require.TestingT, g *delivery.Group, left delivery.MemberID) {
	if len(w.members) == 0 {
		w.orphan()
		return
	}
	var orphans []record.Offset
	for o, p := range w.pending {
		if p.owner == left {
			orphans = append(orphans, o)
		}
	}
	slices.SortFunc(orphans, func(a, b record.Offset) int {
		return cmp.Or(cmp.Compare(w.pending[a].expiry, w.pending[b].expiry), cmp.Compare(a, b))
	})
	for i, o := range orphans {
		id, ok := g.Owner(o)
		require.True(t, ok)
		require.NotEqual(t, left, id)
		if n := len(w.members); i >= n {
			before, _ := g.Owner(orphans[i-n])
			require.Equal(t, before, id, "round robin")
		} else {
			for _, o := range orphans[:i] {
				other, _ := g.Owner(o)
				require.NotEqual(t, other, id, "round robin")
			}
		}
		w.pending[o].owner, w.pending[o].expiry = id, w.now+int64(delivery.TransferDelay)
	}
}

// check compares the books.
func (w *world) check(t require.TestingT, g *delivery.Group) {
	require.Equal(t, w.sent, g.LastSent())
	require.EqualValues(t, len(w.pending), g.Cursor().PendingCount())
	require.Equal(t, len(w.pending)-len(w.owed()), g.InFlight())
	require.Equal(t, len(w.members), g.Members())
	for id, m := range w.members {
		st, ok := g.Stats(id)
		require.True(t, ok)
		n := w.load(id)
		require.Equal(t, delivery.MemberStats{
			Pending: n, Stalled: m.max > 0 && n >= m.max, Suspect: m.suspect, Paused: m.paused,
		}, st)
	}
	at, armed := g.Deadline()
	want, wanted := int64(0), false
	for _, p := range w.pending {
		m := w.members[p.owner]
		if m == nil || m.paused && !w.queue || !w.open() {
			continue
		}
		if e := max(p.expiry, m.quiet); !wanted || e < want {
			want, wanted = e, true
		}
	}
	require.Equal(t, wanted, armed)
	if wanted {
		require.Equal(t, want, at, "deadline")
	}
}

// finish lets everything go and acknowledges all; every record must have come.
func (w *world) finish(t require.TestingT, g *delivery.Group) {
	if len(w.members) == 0 {
		w.members[9] = &naiveMember{max: 2, wait: int64(time.Second)}
		require.NoError(t, g.Join(9, delivery.MemberOptions{MaxInFlight: 2, AckWait: time.Second}))
	}
	for id, m := range w.members {
		m.suspect, m.paused = false, false
		g.Suspect(id, false)
		g.Unpause(id)
	}
	for rounds := 0; w.sent < w.last || len(w.pending) > 0; rounds++ {
		require.Less(t, rounds, 1000, "stuck")
		w.next(t, g.Next(w.now, w.last, 7, nil))
		for o := range w.pending {
			if w.pending[o].owner != noOwner {
				require.True(t, g.Ack(o))
				w.ack(o)
			}
		}
		w.check(t, g)
	}
	for o := record.Offset(1); o <= w.last; o++ {
		require.True(t, w.acked[o], "%d acknowledged", o)
		require.True(t, w.delivered[o] > 0 || o <= w.gone, "%d delivered", o)
	}
	require.Equal(t, w.last, g.Cursor().Floor())
}
