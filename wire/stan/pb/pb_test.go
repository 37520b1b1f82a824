package pb_test

import (
	"math"
	"testing"

	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"leat.dev/leat/wire/stan/pb"
)

type theirs interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

type ours interface {
	Append([]byte) []byte
	Decode([]byte) error
}

func text(t *rapid.T, name string) []byte {
	b := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, name)
	if len(b) == 0 {
		return nil
	}
	return b
}

func i32(t *rapid.T, name string) int32 {
	return rapid.OneOf(rapid.Int32(), rapid.SampledFrom([]int32{0, 1, -1, math.MinInt32, math.MaxInt32})).Draw(t, name)
}

// pairs makes one message of each type twice: ours and the official one with
// the same fields.
func pairs(t *rapid.T) []struct {
	name        string
	ours, fresh ours
	theirs, out theirs
} {
	a, b, c, d, e := text(t, "a"), text(t, "b"), text(t, "c"), text(t, "d"), text(t, "e")
	x, y, z := i32(t, "x"), i32(t, "y"), i32(t, "z")
	u := rapid.Uint64().Draw(t, "u")
	n := rapid.Int64().Draw(t, "n")
	flag := rapid.Bool().Draw(t, "flag")
	s := func(b []byte) string { return string(b) }
	return []struct {
		name        string
		ours, fresh ours
		theirs, out theirs
	}{
		{
			"ConnectRequest", &pb.ConnectRequest{ClientID: a, HeartbeatInbox: b, Protocol: x, ConnID: c, PingInterval: y, PingMaxOut: z}, &pb.ConnectRequest{},
			&official.ConnectRequest{ClientID: s(a), HeartbeatInbox: s(b), Protocol: x, ConnID: c, PingInterval: y, PingMaxOut: z}, &official.ConnectRequest{},
		},
		{
			"PubMsg", &pb.PubMsg{ClientID: a, GUID: b, Subject: c, Reply: d, Data: e, ConnID: a}, &pb.PubMsg{},
			&official.PubMsg{ClientID: s(a), Guid: s(b), Subject: s(c), Reply: s(d), Data: e, ConnID: a}, &official.PubMsg{},
		},
		{
			"Ack", &pb.Ack{Subject: a, Sequence: u}, &pb.Ack{},
			&official.Ack{Subject: s(a), Sequence: u}, &official.Ack{},
		},
		{
			"SubscriptionRequest", &pb.SubscriptionRequest{
				ClientID: a, Subject: b, QGroup: c, Inbox: d, MaxInFlight: x, AckWaitInSecs: y, DurableName: e,
				StartPosition: pb.StartPosition(z), StartSequence: u, StartTimeDelta: n,
			}, &pb.SubscriptionRequest{},
			&official.SubscriptionRequest{
				ClientID: s(a), Subject: s(b), QGroup: s(c), Inbox: s(d), MaxInFlight: x, AckWaitInSecs: y, DurableName: s(e),
				StartPosition: official.StartPosition(z), StartSequence: u, StartTimeDelta: n,
			}, &official.SubscriptionRequest{},
		},
		{
			"UnsubscribeRequest", &pb.UnsubscribeRequest{ClientID: a, Subject: b, Inbox: c, DurableName: d}, &pb.UnsubscribeRequest{},
			&official.UnsubscribeRequest{ClientID: s(a), Subject: s(b), Inbox: s(c), DurableName: s(d)}, &official.UnsubscribeRequest{},
		},
		{
			"CloseRequest", &pb.CloseRequest{ClientID: a}, &pb.CloseRequest{},
			&official.CloseRequest{ClientID: s(a)}, &official.CloseRequest{},
		},
		{"Ping", &pb.Ping{ConnID: a}, &pb.Ping{}, &official.Ping{ConnID: a}, &official.Ping{}},
		{
			"ConnectResponse", &pb.ConnectResponse{
				PubPrefix: s(a), SubRequests: s(b), UnsubRequests: s(c), CloseRequests: s(d), Error: s(e),
				SubCloseRequests: s(a), PingRequests: s(b), PingInterval: x, PingMaxOut: y, Protocol: z,
			}, &pb.ConnectResponse{},
			&official.ConnectResponse{
				PubPrefix: s(a), SubRequests: s(b), UnsubRequests: s(c), CloseRequests: s(d), Error: s(e),
				SubCloseRequests: s(a), PingRequests: s(b), PingInterval: x, PingMaxOut: y, Protocol: z,
			}, &official.ConnectResponse{},
		},
		{"PubAck", &pb.PubAck{GUID: a, Error: b}, &pb.PubAck{}, &official.PubAck{Guid: s(a), Error: s(b)}, &official.PubAck{}},
		{
			"MsgProto", &pb.MsgProto{Sequence: u, Subject: a, Reply: b, Data: c, Timestamp: n, Redelivered: flag, RedeliveryCount: uint32(x)}, &pb.MsgProto{},
			&official.MsgProto{Sequence: u, Subject: s(a), Reply: s(b), Data: c, Timestamp: n, Redelivered: flag, RedeliveryCount: uint32(x)}, &official.MsgProto{},
		},
		{
			"SubscriptionResponse", &pb.SubscriptionResponse{AckInbox: s(a), Error: s(b)}, &pb.SubscriptionResponse{},
			&official.SubscriptionResponse{AckInbox: s(a), Error: s(b)}, &official.SubscriptionResponse{},
		},
		{"CloseResponse", &pb.CloseResponse{Error: s(a)}, &pb.CloseResponse{}, &official.CloseResponse{Error: s(a)}, &official.CloseResponse{}},
		{"PingResponse", &pb.PingResponse{Error: s(a)}, &pb.PingResponse{}, &official.PingResponse{Error: s(a)}, &official.PingResponse{}},
	}
}

// Aim: each side reads from the other what was written. Method: random fields,
// the official codec as the peer, both directions; an unknown field in between
// must not matter.
func TestCodecAgreesWithOfficial(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, p := range pairs(t) {
			mine := p.ours.Append(nil)
			require.NoError(t, p.out.Unmarshal(mine), p.name)
			require.Equal(t, p.theirs, p.out, p.name)

			wire, err := p.theirs.Marshal()
			require.NoError(t, err)
			wire = append([]byte("\xfa\x3f\x03abc"), wire...) // field 1023, bytes
			require.NoError(t, p.fresh.Decode(wire), p.name)
			require.Equal(t, p.ours, p.fresh, p.name)
		}
	})
}

// Aim: cut messages are refused or decode to a part, and never panic. Method:
// every prefix of every message, compared with what the official codec says.
func TestCodecTruncated(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		for _, p := range pairs(t) {
			wire := p.ours.Append(nil)
			for n := range wire {
				mine, official := p.fresh.Decode(wire[:n]), p.out.Unmarshal(wire[:n])
				require.Equal(t, official == nil, mine == nil, "%s cut at %d of %x", p.name, n, wire)
				if mine != nil {
					require.ErrorIs(t, mine, pb.ErrMalformed)
				}
			}
		}
	})
}

// Aim: what passes through the hot path takes no memory. Method: count
// allocations of a publish, its ack, a delivery and its ack.
func TestCodecAllocatesNothing(t *testing.T) {
	pub := (&pb.PubMsg{ClientID: []byte("me"), GUID: []byte("guid"), Subject: []byte("foo"), Data: make([]byte, 128), ConnID: []byte("conn")}).Append(nil)
	ack := (&pb.Ack{Subject: []byte("foo"), Sequence: 7}).Append(nil)
	buf := make([]byte, 0, 512)
	var m pb.PubMsg
	var a pb.Ack
	var failed error
	n := testing.AllocsPerRun(100, func() {
		if err := m.Decode(pub); err != nil {
			failed = err
		}
		if err := a.Decode(ack); err != nil {
			failed = err
		}
		p := pb.PubAck{GUID: m.GUID}
		buf = p.Append(buf[:0])
		d := pb.MsgProto{Sequence: 7, Subject: m.Subject, Timestamp: 9}
		buf = d.AppendPrefix(buf[:0], 128)
	})
	require.NoError(t, failed)
	require.Zero(t, n)
}

// FuzzDecode aims at crashes and at disagreement: what the official codec takes
// and what is taken here is the same for bytes that either wrote, and garbage
// does no harm. Method: decode arbitrary bytes as every message; what decodes
// must survive being encoded and decoded again.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("\x0a\x02me\x12\x03abc"))
	f.Add([]byte("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Add([]byte("\x0a\xff\xff\xff\xff\x0f"))
	f.Add([]byte("\xfa\x3f\x03abc\x0b\x0b\x0c\x0c"))
	f.Fuzz(func(t *testing.T, src []byte) {
		for _, pair := range []struct{ a, b ours }{
			{&pb.ConnectRequest{}, &pb.ConnectRequest{}},
			{&pb.PubMsg{}, &pb.PubMsg{}},
			{&pb.Ack{}, &pb.Ack{}},
			{&pb.SubscriptionRequest{}, &pb.SubscriptionRequest{}},
			{&pb.UnsubscribeRequest{}, &pb.UnsubscribeRequest{}},
			{&pb.CloseRequest{}, &pb.CloseRequest{}},
			{&pb.Ping{}, &pb.Ping{}},
			{&pb.ConnectResponse{}, &pb.ConnectResponse{}},
			{&pb.PubAck{}, &pb.PubAck{}},
			{&pb.MsgProto{}, &pb.MsgProto{}},
			{&pb.SubscriptionResponse{}, &pb.SubscriptionResponse{}},
			{&pb.CloseResponse{}, &pb.CloseResponse{}},
			{&pb.PingResponse{}, &pb.PingResponse{}},
		} {
			if err := pair.a.Decode(src); err != nil {
				require.ErrorIs(t, err, pb.ErrMalformed)
				continue
			}
			wire := pair.a.Append(nil)
			require.NoError(t, pair.b.Decode(wire))
			require.Equal(t, wire, pair.b.Append(nil))
		}
	})
}
