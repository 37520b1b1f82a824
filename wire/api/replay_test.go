package api_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/api"
	router "leat.dev/leat/wire/nats"
)

// Aim: a replay begins where its From says, in every form, ends after Count or
// at the last record there was, and says so. Method: 10 records, each form, and
// the whole list of deliveries.
func TestReplayFromAnywhere(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 5)
	time.Sleep(2 * time.Millisecond)
	between := time.Now().UTC()
	time.Sleep(2 * time.Millisecond)
	for i := range 5 {
		c.ask("PUB.orders", fmt.Sprint("orders ", i+6))
	}
	at := between.Format(time.RFC3339Nano)
	for _, x := range []struct {
		request string
		from    int
	}{
		{``, 1},
		{`{}`, 1},
		{`{"from":"first"}`, 1},
		{`{"from":"FIRST"}`, 1},
		{`{"from":null}`, 1},
		{`{"from":0}`, 1},
		{`{"from":1}`, 1},
		{`{"from":7}`, 7},
		{`{"from":"7"}`, 7},
		{`{"from":10}`, 10},
		{`{"from":"last"}`, 10},
		{`{"from":"new"}`, 11},
		{`{"from":"` + at + `"}`, 6},
		{`{"from":"-1h"}`, 1},
		{`{"from":"2020-01-01"}`, 1},
		{`{"from":"1066-10-14"}`, 1},
		{`{"from":"2999-01-01T00:00:00Z"}`, 11},
	} {
		got := c.replay("orders", x.request).take(11 - x.from + 1)
		require.Equal(t, append(list(x.from, 10), "204 11"), got, x.request)
	}
	require.Equal(t, []string{"3", "4", "204 5"}, c.replay("orders", `{"from":3,"count":2}`).take(3))
	require.Equal(t, []string{"204 50"}, c.replay("orders", `{"from":50}`).take(1))

	c.ask("API.CHANNEL.PURGE.orders", `{"first":4}`)
	require.Equal(t, append(list(4, 10), "204 11"), c.replay("orders", `{"from":2}`).take(8))
	c.ask("API.CHANNEL.PURGE.orders", ``)
	for _, request := range []string{``, `{"from":"last"}`, `{"window":3}`} {
		require.Equal(t, []string{"204 11"}, c.replay("orders", request).take(1), request)
	}
	c.ask("API.CHANNEL.CREATE.empty", ``)
	for _, request := range []string{``, `{"from":"last"}`, `{"window":3}`, `{"durable":"d"}`} {
		require.Equal(t, []string{"204 1"}, c.replay("empty", request).take(1), request)
	}
}

// Aim: replays are bounded, and too many of them keep nobody from publishing and
// administration. Method: more than there may be at once, from one client.
func TestTooManyReplays(t *testing.T) {
	n := startBounded(t, router.Options{}, 20)
	c := n.client()
	c.publish("orders", 1)
	in, err := c.SubscribeSync(nats.NewInbox())
	require.NoError(t, err)
	for range 21 {
		require.NoError(t, c.PublishRequest("$LEAT.REPLAY.orders", in.Subject, []byte(`{"from":"new","follow":true}`)))
	}
	m, err := in.NextMsg(patience)
	require.NoError(t, err)
	require.Contains(t, string(m.Data), `"code":503`)
	want[api.NodeInfo](c, "API.INFO", ``)
	c.publish("plain", 1)
	require.NoError(t, in.Unsubscribe())
}

// Aim: no replay feeds a channel, its own least of all: that would never end.
// Method: deliver to bound subjects, by both ways to say so; bind a channel to
// where replays deliver already.
func TestReplayIntoChannel(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.loop", `{"subjects":["loop.>"]}`)
	c.publish("loop", 1)
	c.publish("plain", 1)
	for _, channel := range []string{"loop", "plain"} {
		e := c.refused("REPLAY."+channel, `{"follow":true,"deliver":"loop.a"}`)
		require.Equal(t, 400, e.Code)
		require.Contains(t, e.Description, `channel "loop" is bound to "loop.>"`)
	}
	told, err := c.SubscribeSync("loop.b")
	require.NoError(t, err)
	require.NoError(t, c.PublishRequest("$LEAT.REPLAY.loop", told.Subject, []byte(`{"follow":true}`)))
	m, err := told.NextMsg(patience)
	require.NoError(t, err)
	require.Contains(t, string(m.Data), `"code":400`)

	// The refusal was stored, as an answer to a bound subject is; nothing else.
	require.EqualValues(t, 2, want[api.ChannelInfo](c, "API.CHANNEL.SHOW.loop", "").Last)
	for _, how := range []string{``, `,"window":5`, `,"durable":"d"`} {
		in, err := c.SubscribeSync("late.x")
		require.NoError(t, err)
		want[api.ReplayAnswer](c, "REPLAY.plain", `{"from":"new","follow":true,"deliver":"late.x"`+how+`}`)
		want[api.ChannelInfo](c, "API.CHANNEL.CREATE.late", `{"subjects":["late.*"]}`)
		eventually(t, "the replay ends", func() bool {
			c.publish("plain", 1)
			_, err := in.NextMsg(20 * time.Millisecond)
			return err != nil
		})
		require.Less(t, want[api.ChannelInfo](c, "API.CHANNEL.SHOW.late", "").Last, uint64(10), how)
		c.ask("API.CHANNEL.DELETE.late", "")
		require.NoError(t, in.Unsubscribe())
	}
}

// Aim: what a record has comes with it, in each form of Meta. Method: a record
// with everything and a bare one, each delivered thrice.
func TestReplayMeta(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.orders", `{"subjects":["shop.*.orders"]}`)
	m := nats.NewMsg("shop.east.orders")
	m.Data = []byte("value")
	m.Header = nats.Header{api.HeaderKey: {"k1"}, "Color": {"red", "blue"}, "Leat-Offset": {"99"}, "Leat-Redelivered": {"7"}}
	_, err := c.RequestMsg(m, patience)
	require.NoError(t, err)
	c.ask("PUB.orders", "bare")

	in := c.replay("orders", ``)
	first, second := in.next(), in.next()
	require.Equal(t, "value", string(first.Data))
	when := first.Header.Get(api.HeaderTime)
	require.NotEmpty(t, when)
	require.Equal(t, nats.Header{
		api.HeaderChannel: {"orders"}, api.HeaderOffset: {"1"}, api.HeaderTime: {when}, api.HeaderKey: {"k1"},
		api.HeaderSubject: {"shop.east.orders"}, "Color": {"red", "blue"},
	}, first.Header)
	require.Empty(t, first.Reply)
	require.Equal(t, "bare", string(second.Data))
	require.Len(t, second.Header, 3)

	in = c.replay("orders", `{"meta":"reply"}`)
	first, second = in.next(), in.next()
	require.Equal(t, nats.Header{api.HeaderKey: {"k1"}, api.HeaderSubject: {"shop.east.orders"}, "Color": {"red", "blue"}}, first.Header)
	off, ns, ok := api.ParseDelivery(first.Reply)
	require.True(t, ok, first.Reply)
	require.EqualValues(t, 1, off)
	require.Equal(t, when, strconv.FormatInt(ns, 10))
	require.Empty(t, second.Header)
	require.Equal(t, "204 3", show(in.next()))

	in = c.replay("orders", `{"meta":"none"}`)
	first = in.next()
	require.Empty(t, first.Header)
	require.Empty(t, first.Reply)
	require.Equal(t, []string{"bare", "204 3"}, in.take(2))
}

// Aim: a record without a value, and keys that a header line can't hold, come
// out as they went in, and can be published again as they were delivered.
// Method: publish, replay, publish what came to another channel, replay.
func TestNullAndBinaryKeys(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	null := nats.NewMsg("$LEAT.PUB.a")
	null.Header = nats.Header{api.HeaderNull: {"1"}, api.HeaderKeyBase64: {"AAoNIA=="}}
	_, err := c.RequestMsg(null, patience)
	require.NoError(t, err)
	c.ask("PUB.a", "")
	in := c.replay("a", ``)
	for range 2 {
		m := in.next()
		m.Subject, m.Reply = "$LEAT.PUB.b", ""
		_, err := c.RequestMsg(m, patience)
		require.NoError(t, err)
	}
	in = c.replay("b", ``)
	m := in.next()
	require.Equal(t, "AAoNIA==", m.Header.Get(api.HeaderKeyBase64))
	require.Equal(t, "1", m.Header.Get(api.HeaderNull))
	require.Equal(t, "b", m.Header.Get(api.HeaderChannel))
	require.Len(t, in.next().Header, 3, "empty is a value")

	null.Data = []byte("x")
	refused, err := c.RequestMsg(null, patience)
	require.NoError(t, err)
	require.Contains(t, string(refused.Data), "Leat-Null with a payload")
}

// Aim: following goes on with what is stored later, by whichever connection, and
// ends when nobody listens or the channel is deleted. Method: two connections.
func TestReplayFollow(t *testing.T) {
	n := start(t, router.Options{})
	c, other := n.client(), n.client()
	c.publish("orders", 3)
	for _, request := range []string{`{"from":2,"follow":true}`, `{"from":2,"follow":true,"window":100}`} {
		in := c.replay("orders", request)
		require.Equal(t, []string{"2", "3"}, in.take(2), request)
		other.publish("orders", 1)
		last := in.next()
		require.NotEqual(t, "3", show(last))
		require.NoError(t, in.Unsubscribe())
		c.ask("API.CHANNEL.PURGE.orders", "")
		c.ask("API.CHANNEL.DELETE.orders", "")
		c.publish("orders", 3)
	}
	in := c.replay("orders", `{"follow":true,"count":4}`)
	win := c.replay("orders", `{"follow":true,"window":10}`)
	require.Equal(t, list(1, 3), in.take(3))
	require.Equal(t, list(1, 3), win.take(3))
	other.publish("orders", 1)
	require.Equal(t, []string{"4", "204 5"}, in.take(2))
	require.Equal(t, []string{"4"}, win.take(1))
	in = c.begun("orders", `"from":"new","follow":true`)
	c.ask("PUB.orders", "5")
	require.Equal(t, []string{"5"}, in.take(1))
	require.Equal(t, []string{"5"}, win.take(1))
	c.ask("API.CHANNEL.DELETE.orders", "")
	require.Equal(t, []string{"204 6"}, in.take(1))
	require.Equal(t, []string{"204 1"}, win.take(1))
}

// Aim: a request that makes no sense is answered with an error that says what is
// wrong. Method: one of each.
func TestReplayRefusals(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 1)
	for _, x := range []struct {
		channel, body string
		code          int
		says          string
	}{
		{"none", ``, 404, "CHANNEL.CREATE.none"},
		{"orders", `{"from":"yesterday"}`, 400, "want first, last, new"},
		{"orders", `{"from":-5}`, 400, "want first"},
		{"orders", `{"from":18446744073709551615}`, 400, "at most"},
		{"orders", `{"form":1}`, 400, "form"},
		{"orders", `{"window":-1}`, 400, "window"},
		{"orders", `{"window":65537}`, 400, "window"},
		{"orders", `{"ack_wait":"1s"}`, 400, "without a window"},
		{"orders", `{"window":1,"ack_wait":"1"}`, 400, "ack_wait"},
		{"orders", `{"window":1,"ack_wait":"1ms"}`, 400, "ack_wait"},
		{"orders", `{"durable":"a/b"}`, 400, "durable name"},
		{"orders", `{"durable":"` + strings.Repeat("x", 201) + `"}`, 400, "201 bytes"},
		{"orders", `{"meta":"json"}`, 400, "meta"},
		{"orders", `{"deliver":"$LEAT.PUB.copy"}`, 400, "can't deliver"},
		{"orders", `{"deliver":"a.*"}`, 400, "can't deliver"},
		{"orders", `{"deliver":"a..b"}`, 400, "can't deliver"},
		{"orders", `{"deliver":"nobody.there"}`, 400, "subscribe before"},
		{"orders", `{} {}`, 400, "follows"},
		{"orders", `[1]`, 400, "array"},
	} {
		e := c.refused("REPLAY."+x.channel, x.body)
		require.Equal(t, x.code, e.Code, "%s: %s", x.body, e.Description)
		require.Contains(t, e.Description, x.says, x.body)
	}
}

// Aim: with a subject of its own to deliver to, the request is answered with
// what is about to come, before it comes. Method: subscribe, ask, compare.
func TestReplayAnswer(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 3)
	in, err := c.SubscribeSync("my.inbox")
	require.NoError(t, err)
	a := want[api.ReplayAnswer](c, "REPLAY.orders", `{"from":2,"deliver":"my.inbox"}`)
	require.NotEmpty(t, a.Replay)
	a.Replay = ""
	require.Equal(t, api.ReplayAnswer{Channel: "orders", From: 2, Last: 3, Deliver: "my.inbox"}, a)
	require.Equal(t, []string{"2", "3", "204 4"}, (&inbox{in, c}).take(3))
}

// Aim: a receiver that does not read holds its replay back in bounded memory,
// harms nobody, and gets everything when it reads on. Method: 64 MiB of records
// to a subscriber that blocks, with and without acknowledgements; a second one
// reads meanwhile.
func TestSlowReceiver(t *testing.T) {
	n := start(t, router.Options{PendingBytesMax: 16 << 20})
	c := n.client()
	const records, size = 512, 128 << 10
	payload := []byte(strings.Repeat("x", size))
	for range records {
		require.NoError(t, c.Publish("$LEAT.PUB.big", payload))
	}
	require.Contains(t, c.ask("PUB.big", "end"), strconv.Itoa(records+1))
	for _, request := range []string{`{"meta":"reply"}`, `{"meta":"reply","window":1000}`} {
		slow := n.client()
		block, got, done := make(chan struct{}), 0, make(chan struct{})
		var once sync.Once
		sub, err := slow.Subscribe(nats.NewInbox(), func(m *nats.Msg) {
			once.Do(func() { <-block })
			if m.Header.Get("Status") != "" {
				close(done)
				return
			}
			if got++; strings.Contains(request, "window") {
				_ = m.Respond(nil)
			}
		})
		require.NoError(t, err)
		// What the client itself holds is not the server's: let it hold little.
		require.NoError(t, sub.SetPendingLimits(-1, -1))
		require.NoError(t, slow.PublishRequest("$LEAT.REPLAY.big", sub.Subject, []byte(request)))
		require.Equal(t, fmt.Sprint("204 ", records+2), c.replay("big", ``).take(records + 2)[records+1])
		close(block)
		select {
		case <-done:
		case <-time.After(patience):
			require.Fail(t, "the slow receiver is stuck", "%d records", got)
		}
		require.Equal(t, records+1, got)
		require.True(t, slow.IsConnected())
		slow.Close()
	}
}
