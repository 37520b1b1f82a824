package stan_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/stan"
)

// Aim: a request is behind what other connections had sent before, too: what the
// node has read (it answered a ping after it) is stored or counts, whichever
// connection the request then comes from. Method: a client that publishes and acknowledges on
// one connection, and closes on another, on a slow disk.
func TestBarrierAcrossConnections(t *testing.T) {
	s := start(t, stan.Options{})
	slow := s.faults.Inject(vfs.Rule{Op: vfs.OpSyncData, Delay: 2 * time.Millisecond})
	defer slow.Remove()
	const n = 200
	for round := range 10 {
		id := fmt.Sprintf("me%d", round)
		channel := "of." + id
		r, other := s.dial(), s.nats("other")
		require.Empty(t, r.hello(id, 1))
		sub, a := r.subscribe(&official.SubscriptionRequest{Subject: channel, DurableName: "d", MaxInFlight: n})
		require.Empty(t, a.Error)
		acks, err := r.nc.SubscribeSync("acks")
		require.NoError(t, err)
		for i := range n {
			data, err := (&official.PubMsg{ClientID: id, Guid: strconv.Itoa(i), Subject: channel}).Marshal()
			require.NoError(t, err)
			require.NoError(t, r.nc.PublishRequest(r.PubPrefix+"."+channel, "acks", data))
		}
		require.NoError(t, r.nc.Flush())
		if round%2 == 0 { // with messages still on their way to the disk
			data, err := (&official.CloseRequest{ClientID: id}).Marshal()
			require.NoError(t, err)
			m, err := other.Request(r.CloseRequests, data, patience)
			require.NoError(t, err)
			require.Empty(t, m.Data)
		}
		for range n {
			m, err := acks.NextMsg(patience)
			require.NoError(t, err)
			var ack official.PubAck
			require.NoError(t, ack.Unmarshal(m.Data))
			require.Empty(t, ack.Error)
		}
		if round%2 == 0 {
			continue
		}
		for range n {
			m := r.next(sub)
			data, err := (&official.Ack{Subject: channel, Sequence: m.Sequence}).Marshal()
			require.NoError(t, err)
			require.NoError(t, r.nc.Publish(a.AckInbox, data))
		}
		require.NoError(t, r.nc.Flush())
		data, err := (&official.UnsubscribeRequest{ClientID: id, Subject: channel, Inbox: a.AckInbox}).Marshal()
		require.NoError(t, err)
		m, err := other.Request(r.SubCloseRequests, data, patience)
		require.NoError(t, err)
		require.Empty(t, m.Data)
		sub, _ = r.subscribe(&official.SubscriptionRequest{Subject: channel, DurableName: "d"})
		_, err = sub.NextMsg(20 * time.Millisecond)
		require.ErrorIs(t, err, nats.ErrTimeout, "an acknowledgement did not count")
	}
}
