package stan_test

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"time"

	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protowire"

	"leat.dev/leat/wire/stan"
)

// Aim: requests that are well formed and absurd, or no messages at all, leave
// nothing behind: no stored client or subscription, no goroutine, no memory; a
// request without reply subject is served or ignored, and never answered. Method:
// every message with every text as long as NATS carries it, with fields of wrong
// types and numbers, to every subject, with a reply and without; then the node is
// as before.
func TestAbsurdRequests(t *testing.T) {
	s := start(t, stan.Options{ChannelsMax: -1, HeartbeatInterval: time.Hour})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	sub, a := r.subscribe(&official.SubscriptionRequest{Subject: "foo", DurableName: "d"})
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	r.next(sub)
	long := strings.Repeat("x", 900<<10)
	rng := rand.New(rand.NewPCG(3, 4))
	messages := [][]byte{nil, []byte("\xff"), []byte(long)}
	for _, m := range []message{
		&official.ConnectRequest{ClientID: long, HeartbeatInbox: "in.box"},
		&official.ConnectRequest{ClientID: "a", HeartbeatInbox: long},
		&official.ConnectRequest{ClientID: "a", HeartbeatInbox: "in.box", Protocol: 1, ConnID: []byte(long)},
		&official.PubMsg{ClientID: long, Guid: "g", Subject: "bar"},
		&official.PubMsg{ClientID: "you", Guid: long, Subject: "b/ar"},
		&official.PubMsg{ClientID: "you", Guid: "g", Subject: long},
		&official.PubMsg{ClientID: "you", Guid: "g", Subject: "bar", Reply: long},
		&official.SubscriptionRequest{ClientID: "you", Subject: long, Inbox: "in.box", MaxInFlight: 1, AckWaitInSecs: 1},
		&official.SubscriptionRequest{ClientID: "you", Subject: "bar", Inbox: long, MaxInFlight: 1, AckWaitInSecs: 1},
		&official.SubscriptionRequest{ClientID: "you", Subject: "bar", Inbox: "in.box", MaxInFlight: 1, AckWaitInSecs: 1, DurableName: long},
		&official.SubscriptionRequest{ClientID: "you", Subject: "bar", Inbox: "in.box", MaxInFlight: 1, AckWaitInSecs: 1, QGroup: long},
		&official.UnsubscribeRequest{ClientID: "you", Subject: "foo", Inbox: long},
		&official.UnsubscribeRequest{ClientID: "you", Subject: long, Inbox: "in.box"},
		&official.CloseRequest{ClientID: long},
		&official.Ping{ConnID: []byte(long)},
		&official.Ack{Subject: long, Sequence: 1},
		&official.Ack{Subject: "foo", Sequence: 1<<64 - 1},
	} {
		data, err := m.Marshal()
		require.NoError(t, err)
		messages = append(messages, data)
	}
	for range 200 {
		messages = append(messages, absurd(rng))
	}
	answers, err := r.nc.SubscribeSync("answer.>")
	require.NoError(t, err)
	require.NoError(t, answers.SetPendingLimits(-1, -1))
	round := func() {
		for _, subject := range []string{
			"_STAN.discover.test-cluster", r.PingRequests, r.PubPrefix + ".bar", r.PubPrefix + ".a.b.c", r.SubRequests, r.UnsubRequests,
			r.SubCloseRequests, r.CloseRequests, a.AckInbox, a.AckInbox + "x", "_INBOX.test-cluster-hb.x.1",
		} {
			for _, data := range messages {
				require.NoError(t, r.nc.Publish(subject, data))
				require.NoError(t, r.nc.PublishRequest(subject, "answer.here", data))
			}
		}
		require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
		for {
			if _, err := answers.NextMsg(100 * time.Millisecond); err != nil {
				break
			}
		}
	}
	round() // fills pools
	before, routines := heapBytes(), runtime.NumGoroutine()
	round()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= routines+2 }, patience, 10*time.Millisecond)
	require.Less(t, heapBytes(), before+16<<20)
	// Some of the messages are good requests on another subject: one of them connects.
	var closed official.CloseResponse
	r.request(r.CloseRequests, &official.CloseRequest{ClientID: "you"}, &closed)
	require.Len(t, s.node.Store().Sessions('S'), 1)
	require.Len(t, s.node.Store().Sessions('C'), 1)
	require.Equal(t, uint64(2), r.next(sub).Sequence)
	require.Equal(t, uint64(3), r.next(sub).Sequence)
}

func heapBytes() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// absurd is a well-formed protobuf message of fields that nobody asked for.
func absurd(rng *rand.Rand) []byte {
	var b []byte
	for range 1 + rng.IntN(8) {
		num := protowire.Number(1 + rng.IntN(14))
		if rng.IntN(10) == 0 {
			num = protowire.MaxValidNumber
		}
		switch rng.IntN(4) {
		case 0:
			b = protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), rng.Uint64())
		case 1:
			b = protowire.AppendFixed64(protowire.AppendTag(b, num, protowire.Fixed64Type), rng.Uint64())
		case 2:
			b = protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), make([]byte, rng.IntN(50)))
		default:
			b = protowire.AppendTag(protowire.AppendTag(b, num, protowire.StartGroupType), num, protowire.EndGroupType)
		}
	}
	return b
}
