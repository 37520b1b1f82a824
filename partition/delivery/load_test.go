package delivery_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

const window = 16384

func newGroup(t testing.TB, members int, opts delivery.Options) *delivery.Group {
	t.Helper()
	opts.Queue = members > 1
	g, err := delivery.NewGroup(cursor.New(1), opts)
	require.NoError(t, err)
	for id := range members {
		m := delivery.MemberOptions{MaxInFlight: window, AckWait: 30 * time.Second}
		require.NoError(t, g.Join(delivery.MemberID(id+1), m))
	}
	return g
}

// Aim: the table of flights keeps every record while thousands are in flight
// and stragglers stay behind for long. Method: three members at 16,384 each,
// rounds of acknowledgements in random order that leave one record in a hundred
// behind; each answer is checked, and in the end nothing is left.
func TestManyInFlight(t *testing.T) {
	g := newGroup(t, 3, delivery.Options{})
	rng := rand.New(rand.NewPCG(1, 2))
	var out []record.Offset
	for round := range 8 {
		acts := g.Next(0, 1<<40, 1<<20, nil)
		for _, a := range acts {
			for o := a.From; o <= a.To; o++ {
				out = append(out, o)
			}
		}
		require.Equal(t, 3*window, g.InFlight(), "round %d", round)
		require.True(t, g.Stalled())
		rng.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		keep := len(out) / 100
		for _, o := range out[keep:] {
			_, ok := g.Owner(o)
			require.True(t, ok)
			require.True(t, g.Ack(o))
			require.False(t, g.Ack(o))
		}
		out = out[:keep]
		require.Equal(t, keep, g.InFlight())
	}
	require.EqualValues(t, len(out), g.Cursor().PendingCount())
	for _, o := range out {
		require.True(t, g.Ack(o))
	}
	require.Zero(t, g.InFlight())
	require.Equal(t, g.LastSent(), g.Cursor().Floor())
}

// Aim: a clock that goes back breaks no order: records sent later never expire
// earlier. Method: send, set the clock back, send, and read the deadlines.
func TestClockGoesBack(t *testing.T) {
	g := newGroup(t, 1, delivery.Options{})
	sec := int64(time.Second)
	g.Next(100*sec, 1, 10, nil)
	g.Next(50*sec, 2, 10, nil)
	at, ok := g.Deadline()
	require.True(t, ok)
	require.Equal(t, 130*sec, at)
	acts := g.Expire(130*sec, 10, nil)
	require.Equal(t, []delivery.Send{{Member: 1, From: 1, To: 2, Count: 1}}, acts)
}

// Aim: refuse options that make no sense. Method: one of each.
func TestOptions(t *testing.T) {
	_, err := delivery.NewGroup(cursor.New(1), delivery.Options{Acks: 7})
	require.ErrorIs(t, err, delivery.ErrOptions)
	g := newGroup(t, 3, delivery.Options{})
	require.ErrorIs(t, g.Join(9, delivery.MemberOptions{MaxInFlight: -1}), delivery.ErrOptions)
	require.ErrorIs(t, g.Join(9, delivery.MemberOptions{AckWait: -1}), delivery.ErrOptions)
	require.False(t, g.Leave(0, 9))
}

// steady is a consumer at work: n records go out, n acknowledgements come in.
type steady struct {
	g    *delivery.Group
	acts []delivery.Send
	now  int64
	step record.Offset // acknowledge in strides of this
}

func (s *steady) fill() { s.acts = s.g.Next(s.now, 1<<50, 1<<20, s.acts[:0]) }

// turn acknowledges n records of those in flight, in strides, and sends as
// many anew.
func (s *steady) turn(n record.Offset) {
	s.now += int64(time.Millisecond)
	from := s.g.Cursor().Floor() + 1
	for k := range s.step {
		for o := from + k; o < from+n; o += s.step {
			s.g.Ack(o)
		}
	}
	s.fill()
}

// Aim: a busy consumer allocates nothing. Method: warm up, then count the
// allocations of turns with acknowledgements in and out of order, of one and
// of several members, and of redelivery.
func TestSteadyStateAllocatesNothing(t *testing.T) {
	for _, members := range []int{1, 4} {
		for _, step := range []record.Offset{1, 7} {
			t.Run(fmt.Sprintf("members=%d/stride=%d", members, step), func(t *testing.T) {
				s := &steady{g: newGroup(t, members, delivery.Options{}), step: step}
				s.fill()
				for range 20 {
					s.turn(1000)
				}
				require.Zero(t, testing.AllocsPerRun(50, func() { s.turn(1000) }))
			})
		}
	}
	t.Run("redelivery", func(t *testing.T) {
		s := &steady{g: newGroup(t, 2, delivery.Options{}), step: 1}
		s.fill()
		again := func() {
			s.now += int64(31 * time.Second)
			s.acts = s.g.Expire(s.now, 1<<20, s.acts[:0])
			s.g.Cursor().Relog() // what the owner does by logging
		}
		for range 5 {
			again()
		}
		require.Zero(t, testing.AllocsPerRun(10, again))
		require.NotEmpty(t, s.acts)
	})
}

// A record's whole way: sent once, acknowledged once, 16,384 in flight to each
// member.
func BenchmarkSendAck(b *testing.B) {
	for _, members := range []int{1, 2, 8, 64} {
		for _, step := range []record.Offset{1, 7, 1 << 10} {
			b.Run(fmt.Sprintf("members=%d/stride=%d", members, step), func(b *testing.B) {
				s := &steady{g: newGroup(b, members, delivery.Options{}), step: step}
				s.fill()
				b.ReportAllocs()
				b.ResetTimer()
				for n := 0; n < b.N; n += 8192 {
					s.turn(8192)
				}
			})
		}
	}
}

// A replay without acknowledgements: one action for a run of records.
func BenchmarkSendNoAck(b *testing.B) {
	s := &steady{g: newGroup(b, 1, delivery.Options{Acks: delivery.AckNone})}
	b.ReportAllocs()
	for n := 0; n < b.N; n += 1024 {
		s.acts = s.g.Next(0, 1<<50, 1024, s.acts[:0])
	}
}

// All that is in flight is sent again.
func BenchmarkExpire(b *testing.B) {
	for _, members := range []int{1, 8} {
		b.Run(fmt.Sprintf("members=%d", members), func(b *testing.B) {
			s := &steady{g: newGroup(b, members, delivery.Options{})}
			s.fill()
			b.ReportAllocs()
			b.ResetTimer()
			for n := 0; n < b.N; n += window * members {
				s.now += int64(31 * time.Second)
				s.acts = s.g.Expire(s.now, 1<<20, s.acts[:0])
			}
		})
	}
}
