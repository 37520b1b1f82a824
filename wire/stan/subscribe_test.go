package stan_test

import (
	"fmt"
	"testing"
	"time"

	streaming "github.com/nats-io/stan.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/stan"
)

func sequences(msgs []*streaming.Msg) []uint64 {
	list := make([]uint64, len(msgs))
	for i, m := range msgs {
		list[i] = m.Sequence
	}
	return list
}

// Aim: each start position begins where clients expect it, clamped as they are
// used to. Method: ten messages, the first four trimmed away; a channel for each
// row of the table, then one new message that all must get.
func TestStartPositions(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	for i, row := range []struct {
		name string
		opt  func(middle time.Time) streaming.SubscriptionOption
		want []uint64
	}{
		{"new only", at(streaming.StartAt(official.StartPosition_NewOnly)), nil},
		{"last", at(streaming.StartWithLastReceived()), []uint64{10}},
		{"first", at(streaming.DeliverAllAvailable()), []uint64{5, 6, 7, 8, 9, 10}},
		{"sequence", at(streaming.StartAtSequence(8)), []uint64{8, 9, 10}},
		{"sequence 0", at(streaming.StartAtSequence(0)), []uint64{5, 6, 7, 8, 9, 10}},
		{"sequence before the first", at(streaming.StartAtSequence(2)), []uint64{5, 6, 7, 8, 9, 10}},
		{"sequence last", at(streaming.StartAtSequence(10)), []uint64{10}},
		{"sequence beyond the end is new only", at(streaming.StartAtSequence(100)), nil},
		{"time", streaming.StartAtTime, []uint64{7, 8, 9, 10}},
		{"time before all", at(streaming.StartAtTimeDelta(time.Hour)), []uint64{5, 6, 7, 8, 9, 10}},
		{"time of now", at(streaming.StartAtTimeDelta(0)), nil},
		{"time to come", at(streaming.StartAtTime(time.Now().Add(time.Hour))), nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			name := fmt.Sprintf("foo.%d", i)
			publish(t, sc, name, 6)
			middle := time.Now().Add(50 * time.Millisecond)
			time.Sleep(100 * time.Millisecond)
			publish(t, sc, name, 4)
			time.Sleep(2 * time.Millisecond)
			c, ok := s.node.Store().Channel(name)
			require.True(t, ok)
			require.NoError(t, c.Trim(t.Context(), 5))
			got := newBox(t)
			_, err := sc.Subscribe(name, got.take, row.opt(middle))
			require.NoError(t, err)
			publish(t, sc, name, 1)
			require.Equal(t, append(row.want, 11), sequences(got.await(len(row.want)+1)))
		})
	}
	empty := newBox(t)
	_, err := sc.Subscribe("empty", empty.take, streaming.StartWithLastReceived())
	require.NoError(t, err)
	publish(t, sc, "empty", 2)
	require.Equal(t, []uint64{1, 2}, sequences(empty.await(2)))
	c, _ := s.node.Store().Channel("empty")
	require.NoError(t, c.Purge(t.Context()))
	purged := newBox(t)
	_, err = sc.Subscribe("empty", purged.take, streaming.StartWithLastReceived())
	require.NoError(t, err)
	publish(t, sc, "empty", 1)
	require.Equal(t, []uint64{3}, sequences(purged.await(1)), "numbering goes on")
}

func at(o streaming.SubscriptionOption) func(time.Time) streaming.SubscriptionOption {
	return func(time.Time) streaming.SubscriptionOption { return o }
}

// Aim: what is not acknowledged in time comes again, counted, whatever
// MaxInflight says; what is acknowledged does not. Method: manual
// acknowledgements, AckWait of a second.
func TestRedelivery(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	publish(t, sc, "foo", 4)
	got := newBox(t)
	_, err := sc.Subscribe("foo", got.take, streaming.DeliverAllAvailable(), streaming.SetManualAckMode(),
		streaming.AckWait(time.Second), streaming.MaxInflight(3))
	require.NoError(t, err)
	began := time.Now()
	msgs := got.await(3)
	got.quiet(50*time.Millisecond, 3) // stalled
	require.NoError(t, msgs[1].Ack())
	require.Equal(t, []uint64{1, 2, 3, 4}, sequences(got.await(4)))
	msgs = got.await(6)
	require.GreaterOrEqual(t, time.Since(began), 900*time.Millisecond)
	require.Equal(t, []uint64{1, 3}, sequences(msgs[4:6]))
	for _, m := range msgs[4:6] {
		require.True(t, m.Redelivered)
		require.Equal(t, uint32(1), m.RedeliveryCount)
		require.NoError(t, m.Ack())
	}
	require.NoError(t, msgs[3].Ack())
	got.quiet(1200*time.Millisecond, len(got.all()))
}

// Aim: a durable goes on after close, with what was not acknowledged first, and
// forgets after unsubscribe. Method: the official client, reconnecting.
func TestDurable(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	publish(t, sc, "foo", 5)
	got := newBox(t)
	opts := []streaming.SubscriptionOption{
		streaming.DurableName("d"), streaming.DeliverAllAvailable(), streaming.SetManualAckMode(), streaming.MaxInflight(3),
	}
	sub, err := sc.Subscribe("foo", got.take, opts...)
	require.NoError(t, err)
	msgs := got.await(3)
	require.NoError(t, msgs[1].Ack())
	got.await(4)
	_, err = sc.Subscribe("foo", got.take, opts...)
	require.EqualError(t, err, "stan: duplicate durable registration")
	require.NoError(t, sub.Close())

	got.clear()
	_, err = sc.Subscribe("foo", got.take, streaming.DurableName("d"), streaming.SetManualAckMode(), streaming.MaxInflight(1))
	require.NoError(t, err)
	msgs = got.await(3)
	require.Equal(t, []uint64{1, 3, 4}, sequences(msgs), "all pending, whatever MaxInflight is")
	for _, m := range msgs {
		require.True(t, m.Redelivered)
		require.NoError(t, m.Ack())
	}
	msgs = got.await(4)
	require.Equal(t, uint64(5), msgs[3].Sequence)
	require.False(t, msgs[3].Redelivered)
	require.NoError(t, msgs[3].Ack())
	require.NoError(t, sc.Close()) // closes the durable too; the ack counts

	sc = s.connect("me")
	publish(t, sc, "foo", 1)
	got.clear()
	sub, err = sc.Subscribe("foo", got.take, opts...)
	require.NoError(t, err)
	require.Equal(t, []uint64{6}, sequences(got.await(1)))
	require.NoError(t, sub.Unsubscribe())

	got.clear()
	_, err = sc.Subscribe("foo", got.take, streaming.DurableName("d"), streaming.StartAtSequence(2))
	require.NoError(t, err)
	require.Equal(t, []uint64{2, 3, 4, 5, 6}, sequences(got.await(5)), "a new durable honours the start position")
}

// Aim: with ReplaceDurable a durable that is online gives way. Method: two
// subscriptions of the same name.
func TestReplaceDurable(t *testing.T) {
	s := start(t, stan.Options{ReplaceDurable: true})
	sc := s.connect("me")
	old, latest := newBox(t), newBox(t)
	_, err := sc.Subscribe("foo", old.take, streaming.DurableName("d"))
	require.NoError(t, err)
	_, err = sc.Subscribe("foo", latest.take, streaming.DurableName("d"))
	require.NoError(t, err)
	publish(t, sc, "foo", 1)
	latest.await(1)
	require.Empty(t, old.all())
}

// Aim: a queue group shares the work, hands over what a leaving member owes, and
// takes an ack from a former owner. Method: two members with manual acks; one
// leaves.
func TestQueueGroup(t *testing.T) {
	s := start(t, stan.Options{})
	one, two := s.connect("one"), s.connect("two")
	a, b := newBox(t), newBox(t)
	opts := []streaming.SubscriptionOption{streaming.SetManualAckMode(), streaming.DeliverAllAvailable()}
	subA, err := one.QueueSubscribe("foo", "g", a.take, opts...)
	require.NoError(t, err)
	subB, err := two.QueueSubscribe("foo", "g", b.take, opts...)
	require.NoError(t, err)
	publish(t, one, "foo", 20)
	left := a.await(10)
	require.Len(t, left, 10)
	require.Len(t, b.await(10), 10, "balanced by what is pending")

	require.NoError(t, subA.Close())
	msgs := b.await(20)
	for _, m := range msgs[10:] {
		require.True(t, m.Redelivered)
		require.Contains(t, sequences(left), m.Sequence)
	}
	require.NoError(t, subB.Unsubscribe())

	// The group is gone with its last member.
	publish(t, one, "foo", 1)
	c := newBox(t)
	_, err = two.QueueSubscribe("foo", "g", c.take, streaming.StartAtSequence(19))
	require.NoError(t, err)
	require.Equal(t, []uint64{19, 20, 21}, sequences(c.await(3)))
}

// Aim: an acknowledgement counts whichever member it comes from. Method: raw
// clients; what A was sent goes to B after A's AckWait, then A acknowledges.
func TestLateAckOfFormerOwner(t *testing.T) {
	s := start(t, stan.Options{})
	a, b := s.dial(), s.dial()
	require.Empty(t, a.hello("a", 1))
	require.Empty(t, b.hello("b", 1))
	subA, inA := a.subscribe(&official.SubscriptionRequest{Subject: "foo", QGroup: "g", AckWaitInSecs: 1, MaxInFlight: 1})
	require.Empty(t, a.publish(&official.PubMsg{ClientID: "a", Guid: "1", Subject: "foo"}))
	require.Equal(t, uint64(1), a.next(subA).Sequence)
	subB, inB := b.subscribe(&official.SubscriptionRequest{Subject: "foo", QGroup: "g", AckWaitInSecs: 1, MaxInFlight: 1})
	require.True(t, b.next(subB).Redelivered)
	a.ack(inA.AckInbox, "foo", 1)
	b.none(subB, 1300*time.Millisecond)
	a.none(subA, time.Millisecond)
	require.NotEqual(t, inA.AckInbox, inB.AckInbox)
}

// Aim: a durable queue group outlives its members, is bound to no client, and is
// apart from the plain group of that name; it goes with the last unsubscribe.
// Method: members of different clients come and go.
func TestDurableQueueGroup(t *testing.T) {
	s := start(t, stan.Options{})
	one, two := s.connect("one"), s.connect("two")
	publish(t, one, "foo", 4)
	a, b, p := newBox(t), newBox(t), newBox(t)
	opts := []streaming.SubscriptionOption{
		streaming.DurableName("d"), streaming.DeliverAllAvailable(), streaming.SetManualAckMode(), streaming.MaxInflight(2),
	}
	subA, err := one.QueueSubscribe("foo", "g", a.take, opts...)
	require.NoError(t, err)
	plain, err := one.QueueSubscribe("foo", "d:g", p.take, streaming.StartWithLastReceived())
	require.NoError(t, err)
	require.Equal(t, uint64(4), p.await(1)[0].Sequence)
	require.NoError(t, plain.Unsubscribe())
	require.NoError(t, a.await(2)[0].Ack())
	a.await(3)
	require.NoError(t, subA.Close())

	subB, err := two.QueueSubscribe("foo", "g", b.take, opts...)
	require.NoError(t, err)
	msgs := b.await(2)
	require.Equal(t, []uint64{2, 3}, sequences(msgs))
	require.True(t, msgs[0].Redelivered)
	for _, m := range msgs {
		require.NoError(t, m.Ack())
	}
	require.Equal(t, uint64(4), b.await(3)[2].Sequence)

	subC, err := one.QueueSubscribe("foo", "g", a.take, opts...)
	require.NoError(t, err)
	require.NoError(t, subC.Unsubscribe(), "not the last: the group stays")
	require.NoError(t, subB.Unsubscribe(), "the last: the group goes")
	a.clear()
	_, err = one.QueueSubscribe("foo", "g", a.take, opts...)
	require.NoError(t, err)
	require.Equal(t, []uint64{1, 2}, sequences(a.await(2)))
}

// Aim: subscriptions of one client on one channel are independent, and plenty of
// them are served. Method: 200 of them, each counts.
func TestManySubscriptions(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	boxes := make([]*box, 200)
	for i := range boxes {
		boxes[i] = newBox(t)
		_, err := sc.Subscribe(fmt.Sprintf("c%d", i%3), boxes[i].take)
		require.NoError(t, err)
	}
	for c := range 3 {
		publish(t, sc, fmt.Sprintf("c%d", c), 3)
	}
	for _, b := range boxes {
		require.Equal(t, []uint64{1, 2, 3}, sequences(b.await(3)))
	}
	require.NoError(t, sc.Close())
	for _, c := range s.node.Store().Channels() {
		require.Empty(t, c.Cursors(), "plain places go with their client")
	}
	require.Empty(t, s.node.Store().Sessions('S'))
	require.Empty(t, s.node.Store().Sessions('C'))
}
