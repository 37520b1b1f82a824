package stan_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	streaming "github.com/nats-io/stan.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/stan"
)

// Aim: an application notices nothing of a restart, in order or by kill -9: its
// connection, subscriptions, durables and queue members go on, what it had not
// acknowledged comes again, what it had does not. Method: the official client
// with one of everything; the node goes down and comes back under it, several
// times.
func TestRestart(t *testing.T) {
	for name, again := range map[string]func(*server){"stop": (*server).restart, "kill": (*server).kill} {
		t.Run(name, func(t *testing.T) {
			s := start(t, stan.Options{})
			sc := s.connect("me")
			lost := 0
			other := s.connect("other", streaming.SetConnectionLostHandler(func(streaming.Conn, error) { lost++ }), streaming.Pings(1, 100))
			manual, plain, durable, queue := newBox(t), newBox(t), newBox(t), newBox(t)
			msub, err := sc.Subscribe("foo", manual.take, streaming.SetManualAckMode())
			require.NoError(t, err)
			_, err = sc.Subscribe("foo", plain.take)
			require.NoError(t, err)
			dsub, err := sc.Subscribe("foo", durable.take, streaming.DurableName("d"))
			require.NoError(t, err)
			_, err = sc.QueueSubscribe("foo", "g", queue.take)
			require.NoError(t, err)
			_, err = other.QueueSubscribe("foo", "g", queue.take)
			require.NoError(t, err)
			publish(t, other, "foo", 5)
			manual.await(5)
			require.NoError(t, manual.all()[2].Ack())
			for _, b := range []*box{plain, durable, queue} {
				b.await(5)
			}
			time.Sleep(300 * time.Millisecond) // acknowledgements are logged now and then

			again(s)
			require.Eventually(t, func() bool { return other.Publish("foo", []byte("after")) == nil }, patience, 10*time.Millisecond)
			msgs := manual.await(10)
			require.Equal(t, []uint64{1, 2, 4, 5, 6}, sequences(msgs[5:]))
			for _, m := range msgs[5:9] {
				require.True(t, m.Redelivered)
				require.Equal(t, uint32(1), m.RedeliveryCount)
				require.NoError(t, m.Ack())
			}
			require.False(t, msgs[9].Redelivered)
			require.NoError(t, msgs[9].Ack())
			for _, b := range []*box{plain, durable, queue} {
				require.Equal(t, uint64(6), b.await(6)[5].Sequence, "after what was acknowledged")
			}
			time.Sleep(300 * time.Millisecond)

			again(s)
			require.NoError(t, dsub.Close(), "requests work on subscriptions from before")
			require.NoError(t, msub.Unsubscribe())
			publish(t, sc, "foo", 2)
			require.Equal(t, uint64(8), plain.await(8)[7].Sequence)
			require.ElementsMatch(t, []uint64{1, 2, 3, 4, 5, 6, 7, 8}, sequences(queue.await(8)))
			require.Len(t, manual.all(), 10)
			require.Zero(t, lost)

			again(s)
			_, err = sc.Subscribe("foo", durable.take, streaming.DurableName("d"))
			require.NoError(t, err)
			require.Equal(t, []uint64{7, 8}, sequences(durable.await(8)[6:]))
			require.NoError(t, sc.Close())
			sc = s.connect("me")
			publish(t, sc, "foo", 1)
			// 7 and 8 may come again: the node went down right after they were sent.
			require.Eventually(t, func() bool { return slices.Contains(sequences(queue.all()), 9) }, patience, time.Millisecond,
				"the other member is left")
		})
	}
}

// Aim: what was acknowledged to a publisher is there after a kill, in order,
// once. Method: asynchronous publishes while the node is killed three times.
func TestKillWhilePublishing(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	acked := 0
	for range 3 {
		for range 300 {
			require.NoError(t, sc.Publish("foo", fmt.Appendf(nil, "%d", acked)))
			acked++
		}
		s.kill()
		require.Eventually(t, func() bool {
			if sc.Publish("foo", fmt.Appendf(nil, "%d", acked)) != nil {
				return false
			}
			acked++
			return true
		}, patience, time.Millisecond)
	}
	got := newBox(t)
	_, err := sc.Subscribe("foo", got.take, streaming.DeliverAllAvailable())
	require.NoError(t, err)
	for i, m := range got.await(acked) {
		require.Equal(t, uint64(i+1), m.Sequence)
		require.Equal(t, strconv.Itoa(i), string(m.Data))
	}
}

// Aim: what was to be sent while a client's connection was down is sent when it
// is back, without waiting for AckWait. Method: a raw client whose inbox nobody
// listens on for a while.
func TestAbsentSubscriber(t *testing.T) {
	s := start(t, stan.Options{})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	q := &official.SubscriptionRequest{Subject: "foo"}
	sub, _ := r.subscribe(q)
	publishOne := func() {
		require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	}
	publishOne()
	require.Equal(t, uint64(1), r.next(sub).Sequence)
	require.NoError(t, sub.Unsubscribe())
	for range 3 {
		publishOne()
	}
	time.Sleep(50 * time.Millisecond)
	sub, err := r.nc.SubscribeSync(q.Inbox)
	require.NoError(t, err)
	publishOne()
	for seq := uint64(2); seq <= 5; seq++ {
		m := r.next(sub)
		require.Equal(t, seq, m.Sequence)
		require.False(t, m.Redelivered)
	}
}

// Aim: a deleted channel takes its subscriptions along and can be made again.
// Method: delete it under a durable and a plain subscription.
func TestDeletedChannel(t *testing.T) {
	s := start(t, stan.Options{ChannelsMax: 1})
	sc := s.connect("me")
	got := newBox(t)
	sub, err := sc.Subscribe("foo", got.take, streaming.DurableName("d"))
	require.NoError(t, err)
	publish(t, sc, "foo", 2)
	got.await(2)
	c, ok := s.node.Store().Channel("foo")
	require.True(t, ok)
	require.NoError(t, c.Delete(t.Context()))
	require.EqualError(t, sub.Unsubscribe(), "stan: unknown channel")
	publish(t, sc, "FOO", 1)
	_, err = sc.Subscribe("FOO", got.take, streaming.DurableName("d"), streaming.DeliverAllAvailable())
	require.NoError(t, err)
	require.Equal(t, uint64(1), got.await(3)[2].Sequence)
	require.Eventually(t, func() bool { return len(s.node.Store().Sessions('S')) == 1 }, patience, time.Millisecond)
}

// Aim: after a crash, what a client may have seen is flagged; after an orderly
// stop, what it has not seen is not. Method: a window of one keeps messages
// back; the node stops in order, then is killed; a second subscription that
// acknowledged everything sees nothing unflagged twice.
func TestDoubtAfterCrash(t *testing.T) {
	s := start(t, stan.Options{})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	sub, in := r.subscribe(&official.SubscriptionRequest{Subject: "foo", MaxInFlight: 1})
	eager := newBox(t)
	_, err := s.connect("eager").Subscribe("foo", eager.take)
	require.NoError(t, err)
	for range 3 {
		require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	}
	require.False(t, r.next(sub).Redelivered)
	eager.await(3)

	s.restart()
	m := r.next(sub)
	require.Equal(t, uint64(1), m.Sequence)
	require.Equal(t, uint32(1), m.RedeliveryCount)
	r.ack(in.AckInbox, "foo", 1)
	m = r.next(sub)
	require.Equal(t, uint64(2), m.Sequence)
	require.False(t, m.Redelivered, "nobody has seen it")
	r.ack(in.AckInbox, "foo", 2)
	m = r.next(sub)
	require.Equal(t, uint64(3), m.Sequence)
	require.False(t, m.Redelivered)

	for range 2 {
		require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	}
	s.kill()
	for last := uint64(0); last < 5; {
		m = r.next(sub)
		require.True(t, m.Redelivered, "%d may have been seen", m.Sequence)
		require.NotZero(t, m.RedeliveryCount)
		r.ack(in.AckInbox, "foo", m.Sequence)
		last = m.Sequence
	}
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	m = r.next(sub)
	require.Equal(t, uint64(6), m.Sequence)
	require.False(t, m.Redelivered)

	require.Eventually(t, func() bool { return slices.Contains(sequences(eager.all()), 6) }, patience, time.Millisecond)
	seen := map[uint64]bool{}
	for _, m := range eager.all() {
		require.Equal(t, seen[m.Sequence], m.Redelivered && seen[m.Sequence], "%d came twice, not flagged", m.Sequence)
		seen[m.Sequence] = true
	}
}

// Aim: a client that connects while one of its ID is being closed is known
// after a restart. Method: closing takes long, because the disk does; connect
// meanwhile, then kill the node and publish with the new client.
func TestConnectWhileClosing(t *testing.T) {
	s := start(t, stan.Options{})
	old, next := s.dial(), s.dial()
	require.Empty(t, old.hello("me", 1))
	for range 5 {
		_, a := old.subscribe(&official.SubscriptionRequest{Subject: "foo"})
		require.Empty(t, a.Error)
	}
	slow := s.faults.Inject(vfs.Rule{Op: vfs.OpSyncData, Delay: 20 * time.Millisecond})
	data, err := (&official.CloseRequest{ClientID: "me"}).Marshal()
	require.NoError(t, err)
	closed, err := old.nc.SubscribeSync("closed")
	require.NoError(t, err)
	require.NoError(t, old.nc.PublishRequest(old.CloseRequests, "closed", data))
	require.NoError(t, old.nc.Flush())
	require.NoError(t, old.beats.Unsubscribe())
	require.Empty(t, next.hello("me", 1))
	m, err := closed.NextMsg(patience)
	require.NoError(t, err)
	require.Empty(t, m.Data)
	slow.Remove()
	s.kill()
	require.Eventually(t, func() bool { return next.nc.IsConnected() }, patience, time.Millisecond)
	publishAs := &official.PubMsg{ClientID: "me", ConnID: fmt.Append(nil, "conn-me", next.hb), Guid: "g", Subject: "foo"}
	require.Empty(t, next.publish(publishAs))
}

// Aim: doubt outlives an orderly stop: what a client may have seen before a crash
// is flagged also when the node was stopped in between, before the client was
// back. Method: kill the node right after a delivery, stop and start it while
// the client is away.
func TestDoubtAfterStop(t *testing.T) {
	s := start(t, stan.Options{})
	r, publisher := s.late("me", 2*time.Second), s.dial()
	require.Empty(t, publisher.hello("publisher", 1))
	sub, _ := r.subscribe(&official.SubscriptionRequest{Subject: "foo"})
	for range 5 {
		require.Empty(t, publisher.publish(&official.PubMsg{ClientID: "publisher", Guid: "1", Subject: "foo"}))
	}
	for range 5 {
		require.False(t, r.next(sub).Redelivered)
	}
	s.kill()
	s.restart()
	require.False(t, r.nc.IsConnected(), "the client came back too early for this test")
	for seq := uint64(1); seq <= 5; seq++ {
		m := r.next(sub)
		require.Equal(t, seq, m.Sequence)
		require.True(t, m.Redelivered, "%d was seen before the crash", seq)
	}
}

// Aim: how often a message was sent again is known after a restart. Method: let a
// message expire once or twice, then restart, in order and not.
func TestRedeliveryCountAfterRestart(t *testing.T) {
	s := start(t, stan.Options{})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	sub, _ := r.subscribe(&official.SubscriptionRequest{Subject: "foo", AckWaitInSecs: 1, StartPosition: official.StartPosition_First})
	require.Zero(t, r.next(sub).RedeliveryCount)
	count := uint32(0)
	for _, again := range []func(){s.restart, s.kill, s.restart} {
		count++
		require.Equal(t, count, r.next(sub).RedeliveryCount)
		time.Sleep(300 * time.Millisecond) // counts are logged now and then
		again()
		count++
		require.Equal(t, count, r.next(sub).RedeliveryCount)
	}
}
