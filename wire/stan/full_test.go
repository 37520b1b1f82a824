package stan_test

import (
	"testing"
	"time"

	streaming "github.com/nats-io/stan.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire/stan"
)

const noSpace = "stan: no space left on the server's disk"

// fill leaves no room on the disk, and none in the segments of the channels'
// partitions, not even for a few bytes.
func (s *server) fill(sc streaming.Conn, channels ...string) {
	s.t.Helper()
	s.files.SetCapacity(1)
	for _, channel := range channels {
		for _, size := range []int{100_000, 1000, 10, 1} {
			var err error
			for range 1 << 20 {
				if err = sc.Publish(channel, make([]byte, size)); err != nil {
					break
				}
			}
			require.EqualError(s.t, err, noSpace)
		}
	}
	s.fillBytes(channels)
}

// fillBytes takes the room that no record fits into. The smallest operation is
// the progress of a cursor that there is not. A partition that refused something
// refuses everything, until it has been elected again and could log that: so it
// is full when nothing was taken for longer than an election takes.
func (s *server) fillBytes(channels []string) {
	s.t.Helper()
	for taken := time.Now(); time.Since(taken) < 2500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		for _, channel := range channels {
			c, ok := s.node.Store().Channel(channel)
			require.True(s.t, ok)
			done := make(chan error, 1)
			c.AdvanceCursor("", nil, func(err error) { done <- err })
			if err := <-done; err == nil {
				taken = time.Now()
			} else {
				require.ErrorIs(s.t, err, partition.ErrNoSpace)
			}
		}
	}
}

// inEach returns a channel of each partition.
func inEach() []string {
	list := []string{"a", "a"}
	for partition.Route(list[1], 2) == partition.Route(list[0], 2) {
		list[1] += "a"
	}
	return list
}

// Aim: what ends while the disk is full is told so, stays ended, and is gone from
// the disk once there is room: a durable that was unsubscribed is not back after
// a restart, nor in the way of a new one of its name; nor is a client that was
// closed. Method: fill the disk, end, free it, wait for the store to forget; the
// durable is made anew and lives through a kill.
func TestEndOnFullDisk(t *testing.T) {
	s := start(t, stan.Options{})
	filler := s.connect("filler")
	channels := inEach()
	for _, channel := range channels {
		publish(t, filler, channel, 3)
	}
	r, gone := s.dial(), s.dial()
	require.Empty(t, r.hello("me", 1))
	require.Empty(t, gone.hello("gone", 1))
	var ends []*official.UnsubscribeRequest
	for _, channel := range channels {
		for _, q := range []*official.SubscriptionRequest{
			{Subject: channel, DurableName: "d", StartPosition: official.StartPosition_First},
			{Subject: channel, QGroup: "g", StartPosition: official.StartPosition_First},
			{Subject: channel},
		} {
			sub, a := r.subscribe(q)
			require.Empty(t, a.Error)
			if q.StartPosition == official.StartPosition_First {
				r.next(sub)
			}
			ends = append(ends, &official.UnsubscribeRequest{ClientID: "me", Subject: channel, Inbox: a.AckInbox})
		}
		_, a := gone.subscribe(&official.SubscriptionRequest{Subject: channel})
		require.Empty(t, a.Error)
	}
	s.fill(filler, channels...)
	for _, q := range ends {
		require.Equal(t, noSpace, r.end(r.UnsubRequests, q))
		require.Equal(t, "stan: invalid subscription", r.end(r.UnsubRequests, q))
	}
	var closed official.CloseResponse
	gone.request(gone.CloseRequests, &official.CloseRequest{ClientID: "gone"}, &closed)
	require.Equal(t, noSpace, closed.Error)

	s.files.SetCapacity(0)
	store := s.node.Store()
	require.Eventually(t, func() bool {
		return len(store.Sessions('S')) == 0 && len(store.Sessions('C')) == 2
	}, patience, 10*time.Millisecond, "subscriptions %v, clients %v", store.Sessions('S'), store.Sessions('C'))
	for _, name := range channels {
		c, ok := store.Channel(name)
		require.True(t, ok)
		require.Eventually(t, func() bool { return len(c.Cursors()) == 0 }, patience, 10*time.Millisecond)
	}
}

// Aim: a durable made anew while the old one of its name could not be removed is
// the one that counts, also after a crash. Method: unsubscribe on a full disk,
// free it, subscribe at once, kill; the new one goes on.
func TestDurableAnewAfterFullDisk(t *testing.T) {
	s := start(t, stan.Options{})
	filler := s.connect("filler")
	publish(t, filler, "foo", 3)
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	sub, a := r.subscribe(&official.SubscriptionRequest{Subject: "foo", DurableName: "d", StartPosition: official.StartPosition_First})
	require.Equal(t, uint64(1), r.next(sub).Sequence)
	s.fill(filler, "foo")
	require.Equal(t, noSpace, r.end(r.UnsubRequests, &official.UnsubscribeRequest{ClientID: "me", Subject: "foo", Inbox: a.AckInbox}))
	require.NoError(t, sub.Unsubscribe())

	s.files.SetCapacity(0)
	require.Eventually(t, func() bool { return filler.Publish("foo", nil) == nil }, patience, time.Millisecond)
	sub, a = r.subscribe(&official.SubscriptionRequest{
		Subject: "foo", DurableName: "d", StartPosition: official.StartPosition_SequenceStart, StartSequence: 2, MaxInFlight: 1,
	})
	require.Empty(t, a.Error)
	require.Equal(t, uint64(2), r.next(sub).Sequence)
	s.kill()
	require.Equal(t, uint64(2), r.next(sub).Sequence)
	r.ack(a.AckInbox, "foo", 2)
	require.Equal(t, uint64(3), r.next(sub).Sequence)
	time.Sleep(1500 * time.Millisecond) // whatever is still owed has been done
	require.Equal(t, "stan: duplicate durable registration", func() string {
		_, a := r.subscribe(&official.SubscriptionRequest{Subject: "foo", DurableName: "d"})
		return a.Error
	}())
	s.kill()
	require.Equal(t, uint64(3), r.next(sub).Sequence)
}
