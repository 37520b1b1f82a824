package stan_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/stan"
)

// raw speaks the protocol without the official library on top, with the
// official codec.
type raw struct {
	t  *testing.T
	nc *nats.Conn
	official.ConnectResponse
	id, hb string
	beats  *nats.Subscription
}

type message interface {
	Marshal() ([]byte, error)
	Unmarshal([]byte) error
}

func (r *raw) request(subject string, q message, a message) {
	r.t.Helper()
	data, err := q.Marshal()
	require.NoError(r.t, err)
	r.requestBytes(subject, data, a)
}

func (r *raw) requestBytes(subject string, data []byte, a message) {
	r.t.Helper()
	m, err := r.nc.Request(subject, data, patience)
	require.NoError(r.t, err)
	require.NoError(r.t, a.Unmarshal(m.Data))
}

// dial connects to NATS only.
func (s *server) dial() *raw { return &raw{t: s.t, nc: s.nats("raw")} }

// hello connects to STAN and answers heartbeats.
func (r *raw) hello(id string, protocol int32) string {
	r.t.Helper()
	r.id, r.hb = id, r.nc.NewInbox()
	var err error
	r.beats, err = r.nc.Subscribe(r.hb, func(m *nats.Msg) { _ = m.Respond(nil) })
	require.NoError(r.t, err)
	q := &official.ConnectRequest{ClientID: id, HeartbeatInbox: r.hb, Protocol: protocol, PingInterval: 7, PingMaxOut: 9}
	if protocol > 0 {
		q.ConnID = []byte("conn-" + id + r.hb)
	}
	r.request("_STAN.discover.test-cluster", q, &r.ConnectResponse)
	return r.Error
}

func (r *raw) publish(m *official.PubMsg) string {
	r.t.Helper()
	var ack official.PubAck
	r.request(r.PubPrefix+"."+m.Subject, m, &ack)
	require.Equal(r.t, m.Guid, ack.Guid)
	return ack.Error
}

func (r *raw) subscribe(q *official.SubscriptionRequest) (*nats.Subscription, *official.SubscriptionResponse) {
	r.t.Helper()
	q.ClientID, q.Inbox = r.id, r.nc.NewInbox()
	if q.MaxInFlight == 0 {
		q.MaxInFlight = 10
	}
	if q.AckWaitInSecs == 0 {
		q.AckWaitInSecs = 30
	}
	sub, err := r.nc.SubscribeSync(q.Inbox)
	require.NoError(r.t, err)
	var a official.SubscriptionResponse
	r.request(r.SubRequests, q, &a)
	return sub, &a
}

func (r *raw) next(sub *nats.Subscription) *official.MsgProto {
	r.t.Helper()
	m, err := sub.NextMsg(patience)
	require.NoError(r.t, err)
	var p official.MsgProto
	require.NoError(r.t, p.Unmarshal(m.Data))
	return &p
}

func (r *raw) none(sub *nats.Subscription, d time.Duration) {
	r.t.Helper()
	_, err := sub.NextMsg(d)
	require.ErrorIs(r.t, err, nats.ErrTimeout)
}

func (r *raw) ack(inbox, channel string, seq uint64) {
	r.t.Helper()
	data, err := (&official.Ack{Subject: channel, Sequence: seq}).Marshal()
	require.NoError(r.t, err)
	require.NoError(r.t, r.nc.Publish(inbox, data))
	require.NoError(r.t, r.nc.Flush())
}

func (r *raw) end(subject string, q *official.UnsubscribeRequest) string {
	r.t.Helper()
	var a official.SubscriptionResponse
	r.request(subject, q, &a)
	return a.Error
}

// Aim: clients of protocol 0 and 1 are told what they understand. Method:
// connect by hand, compare the whole response.
func TestConnectResponse(t *testing.T) {
	s := start(t, stan.Options{})
	one := s.dial()
	require.Empty(t, one.hello("one", 1))
	require.Equal(t, official.ConnectResponse{
		PubPrefix: "_STAN.pub.test-cluster", SubRequests: "_STAN.sub.test-cluster", UnsubRequests: "_STAN.unsub.test-cluster",
		CloseRequests: "_STAN.close.test-cluster", SubCloseRequests: "_STAN.subclose.test-cluster",
		PingRequests: "_STAN.discover.test-cluster.pings", PingInterval: 7, PingMaxOut: 9, Protocol: 1,
	}, one.ConnectResponse)
	zero := s.dial()
	require.Empty(t, zero.hello("zero", 0))
	require.Equal(t, official.ConnectResponse{
		PubPrefix: "_STAN.pub.test-cluster", SubRequests: "_STAN.sub.test-cluster", UnsubRequests: "_STAN.unsub.test-cluster",
		CloseRequests: "_STAN.close.test-cluster", SubCloseRequests: "_STAN.subclose.test-cluster", Protocol: 1,
	}, zero.ConnectResponse)
	require.Empty(t, zero.publish(&official.PubMsg{ClientID: "zero", Guid: "g", Subject: "foo"}), "known by its client ID")
}

// Aim: wrong requests get the texts that clients match on, in the order of
// checks that they are used to, and do no harm. Method: a table of requests, by
// hand, over one server; at the end it still works.
func TestErrorTexts(t *testing.T) {
	s := start(t, stan.Options{ChannelsMax: 3, SubscriptionsMax: 2})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "g", Subject: "Foo"}))
	conn := []byte("conn-me" + r.hb)
	const garbage = "\x0a\xff"

	pub := func(m official.PubMsg) func(*testing.T) string {
		return func(t *testing.T) string {
			var a official.PubAck
			r.request("_STAN.pub.test-cluster.x", &m, &a)
			require.Equal(t, m.Guid, a.Guid)
			return a.Error
		}
	}
	sub := func(q official.SubscriptionRequest) func(*testing.T) string {
		return func(*testing.T) string {
			var a official.SubscriptionResponse
			r.request(r.SubRequests, &q, &a)
			return a.Error
		}
	}
	unsub := func(subject string, q official.UnsubscribeRequest) func(*testing.T) string {
		return func(*testing.T) string { return r.end(subject, &q) }
	}
	bytesTo := func(subject string, a message, text func() string) func(*testing.T) string {
		return func(*testing.T) string {
			r.requestBytes(subject, []byte(garbage), a)
			return text()
		}
	}
	var cr official.ConnectResponse
	var pa official.PubAck
	var sr official.SubscriptionResponse
	var cl official.CloseResponse
	connect := func(q official.ConnectRequest) func(*testing.T) string {
		return func(*testing.T) string {
			r.request("_STAN.discover.test-cluster", &q, &cr)
			return cr.Error
		}
	}
	const badID = "stan: invalid clientID: only alphanumeric and `-` or `_` characters allowed"
	const badPub = "stan: invalid publish request"
	for _, c := range []struct {
		name string
		do   func(*testing.T) string
		want string
	}{
		{"connect garbage", bytesTo("_STAN.discover.test-cluster", &cr, func() string { return cr.Error }), "stan: invalid connection request"},
		{"connect without inbox", connect(official.ConnectRequest{ClientID: "x"}), "stan: invalid connection request"},
		{"connect with a broken inbox", connect(official.ConnectRequest{ClientID: "x", HeartbeatInbox: "a\r\nPING"}), "stan: invalid connection request"},
		{"connect without id", connect(official.ConnectRequest{HeartbeatInbox: "i"}), badID},
		{"connect with a dot", connect(official.ConnectRequest{ClientID: "a.b", HeartbeatInbox: "i"}), badID},
		{"connect with a long id", connect(official.ConnectRequest{ClientID: strings.Repeat("a", 2000), HeartbeatInbox: "i"}), badID},
		{"connect twice", connect(official.ConnectRequest{ClientID: "me", HeartbeatInbox: "i"}), "stan: clientID already registered"},

		{"publish garbage", bytesTo("_STAN.pub.test-cluster.x", &pa, func() string { return pa.Error }), badPub},
		{"publish without guid", pub(official.PubMsg{ClientID: "me", Subject: "foo", ConnID: conn}), badPub},
		{"publish by nobody", pub(official.PubMsg{ClientID: "you", Guid: "1", Subject: "foo"}), badPub},
		{"publish by another conn", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo", ConnID: []byte("x")}), badPub},
		{"publish without channel", pub(official.PubMsg{ClientID: "me", Guid: "1"}), badPub},
		{"publish to a wildcard", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo.*"}), badPub},
		{"publish to an empty token", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo..x"}), badPub},
		{"publish with a slash", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "a/b"}), badPub},
		{
			"publish in other case", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}),
			`rejecting channel "foo" because channel "Foo" alreay exists (different cases not allowed)`,
		},

		{"subscribe garbage", bytesTo("_STAN.sub.test-cluster", &sr, func() string { return sr.Error }), "stan: invalid subscription request"},
		{"subscribe without id", sub(official.SubscriptionRequest{}), "stan: clientID missing"},
		{"subscribe without ack wait", sub(official.SubscriptionRequest{ClientID: "?"}), "stan: invalid ack wait time, should be >= 1s"},
		{"subscribe without window", sub(official.SubscriptionRequest{ClientID: "?", AckWaitInSecs: 1}), "stan: invalid MaxInflight, should be >= 1"},
		{"subscribe from nowhere", sub(official.SubscriptionRequest{ClientID: "?", AckWaitInSecs: 1, MaxInFlight: 1, StartPosition: 5}), "stan: invalid start position"},
		{"subscribe to nothing", sub(official.SubscriptionRequest{ClientID: "?", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i"}), "stan: invalid subject"},
		{"subscribe to a wildcard", sub(official.SubscriptionRequest{ClientID: "?", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i", Subject: "foo.>"}), "stan: invalid subject"},
		{"subscribe with a broken inbox", sub(official.SubscriptionRequest{ClientID: "?", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "a b", Subject: "foo"}), "stan: invalid subscription request"},
		{"subscribe by nobody", sub(official.SubscriptionRequest{ClientID: "?", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i", Subject: "foo"}), "stan: unknown clientID"},
		{
			"subscribe in other case", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i", Subject: "fOO"}),
			`rejecting channel "fOO" because channel "Foo" alreay exists (different cases not allowed)`,
		},
		{
			"durable queue with a colon", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i", Subject: "Foo", QGroup: "g", DurableName: "a:b"}),
			"stan: durable name of a durable queue subscriber can't contain the character ':'",
		},
		{"durable", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i", Subject: "Foo", DurableName: "d"}), ""},
		{"durable twice", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "j", Subject: "Foo", DurableName: "d"}), "stan: duplicate durable registration"},
		{"second subscription", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "k", Subject: "Foo", QGroup: "g"}), ""},
		{"third subscription", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "l", Subject: "Foo", QGroup: "g"}), "too many subscriptions per channel"},

		{"unsubscribe garbage", bytesTo("_STAN.unsub.test-cluster", &sr, func() string { return sr.Error }), "stan: invalid unsubscribe request"},
		{"close garbage sub", bytesTo("_STAN.subclose.test-cluster", &sr, func() string { return sr.Error }), "stan: invalid unsubscribe request"},
		{"unsubscribe from nowhere", unsub("_STAN.unsub.test-cluster", official.UnsubscribeRequest{ClientID: "me", Subject: "nope", Inbox: "k"}), "stan: unknown channel"},
		{"unsubscribe nothing", unsub("_STAN.unsub.test-cluster", official.UnsubscribeRequest{ClientID: "me", Subject: "Foo", Inbox: "zz"}), "stan: invalid subscription"},
		{"unsubscribe another's", unsub("_STAN.unsub.test-cluster", official.UnsubscribeRequest{ClientID: "you", Subject: "Foo", Inbox: "k"}), "stan: unknown clientID"},
		{"unsubscribe by inbox", unsub("_STAN.unsub.test-cluster", official.UnsubscribeRequest{ClientID: "me", Subject: "Foo", Inbox: "k"}), ""},

		{"second channel", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "c2"}), ""},
		{"third channel", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "c3"}), ""},
		{"fourth channel", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "c4"}), "too many channels"},
		{"subscribe to a fourth channel", sub(official.SubscriptionRequest{ClientID: "me", AckWaitInSecs: 1, MaxInFlight: 1, Inbox: "i", Subject: "c4"}), "too many channels"},

		{"close garbage", bytesTo("_STAN.close.test-cluster", &cl, func() string { return cl.Error }), "stan: invalid close request"},
		{"still working", pub(official.PubMsg{ClientID: "me", Guid: "1", Subject: "c3", ConnID: conn}), ""},
	} {
		cr, pa, sr, cl = official.ConnectResponse{}, official.PubAck{}, official.SubscriptionResponse{}, official.CloseResponse{}
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.want, c.do(t)) })
	}
	r.request(r.CloseRequests, &official.CloseRequest{ClientID: "me"}, &cl)
	require.Empty(t, cl.Error)
	r.request(r.CloseRequests, &official.CloseRequest{ClientID: "me"}, &cl)
	require.Equal(t, "stan: unknown clientID", cl.Error)
}

// Aim: pings tell who is known; acks and pings that are no messages do no harm,
// nor do inboxes that lead back into the server. Method: by hand.
func TestPingsAndGarbage(t *testing.T) {
	s := start(t, stan.Options{HeartbeatInterval: 5 * time.Millisecond, HeartbeatTimeout: 5 * time.Millisecond})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	ping := func(conn string) string {
		var a official.PingResponse
		r.request(r.PingRequests, &official.Ping{ConnID: []byte(conn)}, &a)
		return a.Error
	}
	require.Empty(t, ping("conn-me"+r.hb))
	require.Equal(t, "client has been replaced or is no longer registered", ping("other"))

	sub, a := r.subscribe(&official.SubscriptionRequest{Subject: "foo"})
	require.NoError(t, r.nc.Publish(a.AckInbox, []byte("\x0a\xff")))
	require.NoError(t, r.nc.Publish(a.AckInbox, nil))
	r.ack(a.AckInbox, "bar", 1)
	r.ack(a.AckInbox, "foo", 0)
	r.ack(a.AckInbox, "foo", 1<<63)
	r.ack(a.AckInbox+"x", "foo", 1)
	require.NoError(t, r.nc.Publish(r.PingRequests, []byte("\xff")))

	for i, inbox := range []string{r.PubPrefix + ".foo", r.PingRequests, r.CloseRequests, a.AckInbox, "_INBOX.test-cluster-hb.x.1"} {
		var cr official.ConnectResponse
		r.request("_STAN.discover.test-cluster", &official.ConnectRequest{ClientID: fmt.Sprintf("loop%d", i), HeartbeatInbox: inbox}, &cr)
		require.Empty(t, cr.Error)
	}
	time.Sleep(30 * time.Millisecond)
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo", Reply: "answer.here", Data: []byte("data")}))
	m := r.next(sub)
	require.Equal(t, official.MsgProto{Sequence: 1, Subject: "foo", Reply: "answer.here", Data: []byte("data"), Timestamp: m.Timestamp}, *m)
}

// Aim: a second client of an ID is refused while the first lives, and replaces
// it when it does not; the first learns of it. Method: by hand, with a first
// client that answers heartbeats, one that is deaf, and one without connection.
func TestDuplicateClient(t *testing.T) {
	s := start(t, stan.Options{ProbeTimeout: 100 * time.Millisecond})
	first := s.dial()
	require.Empty(t, first.hello("me", 1))
	firstConn := []byte("conn-me" + first.hb)
	inbox, q := first.subscribe(&official.SubscriptionRequest{Subject: "foo"})
	require.Empty(t, q.Error)
	second := s.dial()
	require.Equal(t, "stan: clientID already registered", second.hello("me", 1))

	require.NoError(t, first.beats.Unsubscribe())
	deaf, err := first.nc.SubscribeSync(first.hb)
	require.NoError(t, err)
	require.NoError(t, first.nc.Flush())
	results := make(chan string, 8)
	for range cap(results) {
		third := s.dial()
		go func() { results <- third.hello("me", 1) }()
	}
	welcome := 0
	for range cap(results) {
		switch text := <-results; text {
		case "":
			welcome++
		default:
			require.Equal(t, "stan: clientID already registered", text)
		}
	}
	require.Equal(t, 1, welcome, "all but one are refused")
	_, err = deaf.NextMsg(patience)
	require.NoError(t, err, "the old one was asked")

	var pong official.PingResponse
	first.request(first.PingRequests, &official.Ping{ConnID: firstConn}, &pong)
	require.Equal(t, "client has been replaced or is no longer registered", pong.Error)
	require.Equal(t, "stan: invalid publish request",
		first.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo", ConnID: firstConn}))
	require.Empty(t, first.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	first.none(inbox, 50*time.Millisecond)

	gone := s.dial()
	require.Empty(t, gone.hello("other", 1))
	gone.nc.Close()
	again := s.dial()
	before := time.Now()
	require.Eventually(t, func() bool { return again.hello("other", 1) == "" }, patience, 10*time.Millisecond)
	require.Less(t, time.Since(before), 2*time.Second)
}

// Aim: no message comes before the response, a response follows only when it is
// wanted. Method: raw connection whose order of arrival is visible.
func TestSubscribeOrder(t *testing.T) {
	s := start(t, stan.Options{})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	for range 20 {
		require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	}
	all, err := r.nc.SubscribeSync("order.>")
	require.NoError(t, err)
	q, err := (&official.SubscriptionRequest{
		ClientID: "me", Subject: "foo", Inbox: "order.inbox", MaxInFlight: 5, AckWaitInSecs: 30, StartPosition: official.StartPosition_First,
	}).Marshal()
	require.NoError(t, err)
	require.NoError(t, r.nc.PublishRequest(r.SubRequests, "order.response", q))
	for i := range 6 {
		m, err := all.NextMsg(patience)
		require.NoError(t, err)
		require.Equal(t, i == 0, m.Subject == "order.response")
	}
	r.none(all, 50*time.Millisecond)

	// Closed by the inbox and without reply, as after a subscribe that timed out.
	q, err = (&official.UnsubscribeRequest{ClientID: "me", Subject: "foo", Inbox: "order.inbox"}).Marshal()
	require.NoError(t, err)
	require.NoError(t, r.nc.Publish(r.SubCloseRequests, q))
	require.Eventually(t, func() bool {
		return r.end(r.UnsubRequests, &official.UnsubscribeRequest{ClientID: "me", Subject: "foo", Inbox: "order.inbox"}) == "stan: invalid subscription"
	}, patience, 5*time.Millisecond)
	_, err = all.NextMsg(10 * time.Millisecond)
	require.ErrorIs(t, err, nats.ErrTimeout)
}

// Aim: no message can bring the server down or hold it up. Method: requests of
// all kinds with bytes changed at random, to all subjects; then it serves as
// before.
func TestMutatedRequests(t *testing.T) {
	s := start(t, stan.Options{ChannelsMax: -1})
	r := s.dial()
	require.Empty(t, r.hello("me", 1))
	sub, a := r.subscribe(&official.SubscriptionRequest{Subject: "foo"})
	rng := rand.New(rand.NewPCG(1, 2))
	seeds := []message{
		&official.ConnectRequest{ClientID: "you", HeartbeatInbox: "in.box", Protocol: 1, ConnID: []byte("c"), PingInterval: 1, PingMaxOut: 3},
		&official.PubMsg{ClientID: "you", Guid: "g", Subject: "bar", Reply: "r", Data: []byte("data")},
		&official.SubscriptionRequest{
			ClientID: "you", Subject: "bar", QGroup: "g", Inbox: "in.box", MaxInFlight: 1, AckWaitInSecs: 1, DurableName: "d",
			StartPosition: official.StartPosition_SequenceStart, StartSequence: 7, StartTimeDelta: 9,
		},
		&official.UnsubscribeRequest{ClientID: "you", Subject: "bar", Inbox: "in.box"},
		&official.CloseRequest{ClientID: "you"},
		&official.Ack{Subject: "foo", Sequence: 1},
		&official.Ping{ConnID: []byte("c")},
	}
	subjects := []string{
		"_STAN.discover.test-cluster", r.PingRequests, r.PubPrefix + ".bar", r.SubRequests, r.UnsubRequests, r.SubCloseRequests,
		r.CloseRequests, a.AckInbox, "_INBOX.test-cluster-hb.x.1",
	}
	for range 20_000 {
		data, err := seeds[rng.IntN(len(seeds))].Marshal()
		require.NoError(t, err)
		for range rng.IntN(4) {
			data[rng.IntN(len(data))] = byte(rng.Uint32())
		}
		if rng.IntN(8) == 0 {
			data = data[:rng.IntN(len(data))]
		}
		require.NoError(t, r.nc.PublishRequest(subjects[rng.IntN(len(subjects))], "nowhere", data))
	}
	require.Empty(t, r.publish(&official.PubMsg{ClientID: "me", Guid: "1", Subject: "foo"}))
	require.Equal(t, uint64(1), r.next(sub).Sequence)
	s.kill()
	require.Eventually(t, func() bool {
		m, err := r.nc.Request(r.PingRequests, append([]byte{0x0a, byte(len("conn-me" + r.hb))}, "conn-me"+r.hb...), time.Second)
		return err == nil && len(m.Data) == 0
	}, patience, 10*time.Millisecond)
}
