package stan_test

import (
	"fmt"
	"testing"
	"time"

	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/stan"
)

// Aim: a client that does not answer heartbeats is closed after so many misses,
// its plain subscriptions go, its durables stay. Method: short intervals, a
// client that stops answering.
func TestHeartbeats(t *testing.T) {
	s := start(t, stan.Options{HeartbeatInterval: 5 * time.Millisecond, HeartbeatTimeout: 5 * time.Millisecond, HeartbeatFailMax: 3})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	_, _ = r.subscribe(&official.SubscriptionRequest{Subject: "foo", DurableName: "d", StartPosition: official.StartPosition_First})
	_, b := r.subscribe(&official.SubscriptionRequest{Subject: "foo"})
	time.Sleep(100 * time.Millisecond)
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}), "alive")

	require.NoError(t, r.beats.Unsubscribe())
	_, err := r.nc.SubscribeSync(r.hb)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		return r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}) == "stan: invalid publish request"
	}, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool {
		return r.end(r.UnsubRequests, &official.UnsubscribeRequest{ClientID: "me", Subject: "foo", Inbox: b.AckInbox}) == "stan: invalid subscription"
	}, patience, 5*time.Millisecond)

	again := s.dial()
	require.Empty(t, again.hello("me", 1))
	sub, a := again.subscribe(&official.SubscriptionRequest{Subject: "foo", DurableName: "d"})
	require.Empty(t, a.Error)
	require.True(t, again.next(sub).Redelivered, "the durable was kept")
}

// Aim: a dead client is closed also when it had more requests under way than
// are held. Method: the disk stands still meanwhile, so that none is served.
func TestDeadClientWithFullQueue(t *testing.T) {
	s := start(t, stan.Options{HeartbeatInterval: 20 * time.Millisecond, HeartbeatTimeout: 20 * time.Millisecond, HeartbeatFailMax: 2})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	still := make(chan struct{})
	rule := s.faults.Inject(vfs.Rule{Op: vfs.OpSyncData, Hook: func() { <-still }})
	defer rule.Remove()
	data, err := (&official.SubscriptionRequest{
		ClientID: "me", Subject: "foo", Inbox: "inbox", MaxInFlight: 1, AckWaitInSecs: 1,
	}).Marshal()
	require.NoError(t, err)
	require.NoError(t, r.nc.Publish(r.SubRequests, data))
	data, err = (&official.UnsubscribeRequest{ClientID: "me", Subject: "foo", Inbox: "other"}).Marshal()
	require.NoError(t, err)
	for range 5000 {
		require.NoError(t, r.nc.Publish(r.UnsubRequests, data))
	}
	require.NoError(t, r.beats.Unsubscribe())
	require.NoError(t, r.nc.Flush())
	time.Sleep(200 * time.Millisecond) // more than three heartbeats
	close(still)
	require.Eventually(t, func() bool {
		var a official.PingResponse
		r.request(r.PingRequests, &official.Ping{ConnID: fmt.Append(nil, "conn-me", r.hb)}, &a)
		return a.Error != ""
	}, patience, 10*time.Millisecond)
}
