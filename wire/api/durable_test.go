package api_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/api"
	router "leat.dev/leat/wire/nats"
)

func (i *inbox) ackNext(n int, word string) (got []string) {
	i.c.t.Helper()
	for range n {
		m := i.next()
		got = append(got, show(m))
		require.NoError(i.c.t, m.Respond([]byte(word)))
	}
	return got
}

func (c *client) cursor(channel, name string) api.CursorInfo {
	c.t.Helper()
	return want[api.CursorInfo](c, "API.CURSOR.SHOW."+channel, `{"name":"`+name+`"}`)
}

// Aim: no more than the window is under way; an acknowledgement makes room; what
// is not acknowledged comes again after AckWait with its count; the end comes
// when all is acknowledged. Method: five records, a window of two.
func TestWindow(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 5)
	in := c.replay("orders", `{"window":2,"ack_wait":"200ms"}`)
	first, second := in.next(), in.next()
	require.Equal(t, []string{"1", "2"}, []string{show(first), show(second)})
	in.quiet(50 * time.Millisecond)
	require.NoError(t, second.Respond(nil))
	third := in.next()
	require.Equal(t, "3", show(third))
	require.Equal(t, []string{"1×1", "3×1"}, in.take(2))
	require.NoError(t, third.Respond([]byte("+ALL")))
	require.Equal(t, []string{"4", "5"}, in.take(2))
	require.Equal(t, []string{"4×1", "5×1"}, in.ackNext(2, "+ACK"))
	require.Equal(t, []string{"204 6"}, in.take(1))
}

// Aim: the words of NATS clients mean what they say: not yet is not yet, and an
// acknowledgement that wants an answer gets one. Method: nats.go's own methods.
func TestAckWords(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 4)
	in := c.replay("orders", `{"window":10,"ack_wait":"300ms","durable":"d","meta":"reply"}`)
	require.NoError(t, in.next().Nak())
	require.NoError(t, in.next().InProgress())
	require.NoError(t, in.next().Term())
	fourth := in.next()
	answer, err := c.Request(fourth.Reply, []byte("+ACK"), patience)
	require.NoError(t, err)
	require.JSONEq(t, `{"ok":true}`, string(answer.Data))
	require.Equal(t, []string{"1×1", "2×1"}, in.ackNext(2, ""))
	require.Equal(t, []string{"204 5"}, in.take(1))
	answer, err = c.Request(fourth.Reply, nil, patience)
	require.NoError(t, err)
	require.Contains(t, string(answer.Data), `"code":404`)
	for _, bad := range []string{"x", "x.y", "1.2.z", "zz.0", "1.-1", "1.2.3.4"} {
		require.Equal(t, 400, c.refused("ACK."+bad, "").Code, bad)
	}
}

// Aim: a durable goes on where acknowledgements were, whoever restarts, with
// what was not acknowledged first. Method: acknowledge out of order, restart the
// node under the client, and the client.
func TestDurable(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 10)
	request := `{"durable":"billing","from":2,"window":4}`
	in := c.replay("orders", request)
	m := []*nats.Msg{in.next(), in.next(), in.next(), in.next()}
	require.NoError(t, m[0].Respond(nil))
	require.NoError(t, m[2].Respond(nil))
	require.Equal(t, []string{"6", "7"}, in.take(2))
	eventually(t, "progress is logged", func() bool { return c.cursor("orders", "billing").Pending == 4 })
	require.Equal(t, api.CursorInfo{Name: "billing", Floor: 2, Sent: 7, Pending: 4, Active: true}, c.cursor("orders", "billing"))

	n.restart()
	eventually(t, "the client is back", func() bool { return c.IsConnected() })
	require.NoError(t, m[1].Respond([]byte("+ALL")), "of an earlier life: to no effect")
	require.NoError(t, c.Flush())
	require.Equal(t, api.CursorInfo{Name: "billing", Floor: 2, Sent: 7, Pending: 4}, c.cursor("orders", "billing"))
	in = c.replay("orders", request)
	require.Equal(t, []string{"3×1", "5×1", "6×1", "7×1"}, in.ackNext(4, ""))
	require.Equal(t, []string{"8", "9", "10"}, in.ackNext(3, ""))
	require.Equal(t, []string{"204 11"}, in.take(1))

	c.publish("orders", 2)
	c.Close()
	c = n.client()
	in = c.replay("orders", `{"durable":"billing"}`)
	require.Equal(t, []string{"11", "12"}, in.ackNext(2, "+ALL"))
	require.Equal(t, []string{"204 13"}, in.take(1))
	// The other cursors of the channel are places of their own.
	in = c.replay("orders", `{"durable":"audit","from":12}`)
	require.Equal(t, []string{"12"}, in.ackNext(1, ""))
	require.Equal(t, []string{"204 13"}, in.take(1))
	info := want[api.ChannelInfo](c, "API.CHANNEL.SHOW.orders", "")
	require.Len(t, info.Cursors, 2)
	require.Equal(t, "audit", info.Cursors[0].Name)
}

// Aim: a second request for a durable takes over: the first is told, and what it
// had not acknowledged goes to the second. One that asks again for the same
// inbox is not told that it lost. Method: three requests in a row.
func TestTakeOver(t *testing.T) {
	n := start(t, router.Options{})
	c, other := n.client(), n.client()
	c.publish("orders", 3)
	request := `{"durable":"billing","window":2,"follow":true}`
	first := c.replay("orders", request)
	require.Equal(t, []string{"1"}, first.ackNext(1, ""))
	require.Equal(t, []string{"2", "3"}, first.take(2))
	second := other.replay("orders", request)
	require.Equal(t, []string{"409 2"}, first.take(1))
	require.Equal(t, []string{"2×1", "3×1"}, second.take(2))
	require.NoError(t, other.PublishRequest("$LEAT.REPLAY.orders", second.Subject, []byte(request)))
	require.Equal(t, []string{"2×2", "3×2"}, second.ackNext(2, ""))
	other.publish("orders", 1)
	require.Equal(t, []string{"4"}, second.ackNext(1, ""))
	first.quiet(20 * time.Millisecond)
}

// Aim: deliveries stop when the inbox is not subscribed to any more, and the
// cursor stays. Method: unsubscribe while records flow; show the cursor.
func TestInterestLost(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 3)
	in := c.replay("orders", `{"durable":"d","window":2,"follow":true,"ack_wait":"50ms"}`)
	require.Equal(t, []string{"1"}, in.ackNext(1, ""))
	require.NoError(t, in.Unsubscribe())
	eventually(t, "the replay is over", func() bool { return !c.cursor("orders", "d").Active })
	require.Equal(t, api.CursorInfo{Name: "d", Floor: 1, Sent: 3, Pending: 2}, c.cursor("orders", "d"))
	in = c.replay("orders", `{"durable":"d"}`)
	got := in.ackNext(2, "")
	require.True(t, strings.HasPrefix(got[0], "2×") && strings.HasPrefix(got[1], "3×"), "%v", got)
	require.Equal(t, []string{"204 4"}, in.take(1))
}

// Aim: cursors are listed, shown, reset and deleted, also while they are in use;
// other names are refused. Method: every call.
func TestCursors(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.publish("orders", 5)
	require.Empty(t, want[api.CursorList](c, "API.CURSOR.LIST.orders", "").Cursors)
	in := c.replay("orders", `{"durable":"d","follow":true}`)
	require.Equal(t, list(1, 5), in.ackNext(5, ""))
	reset := want[api.CursorInfo](c, "API.CURSOR.RESET.orders", `{"name":"d","from":4}`)
	require.Equal(t, api.CursorInfo{Name: "d", Floor: 3, Sent: 3}, reset)
	require.Equal(t, []string{"409 6"}, in.take(1))
	in = c.replay("orders", `{"durable":"d","follow":true}`)
	require.Equal(t, []string{"4", "5"}, in.take(2))
	require.Equal(t, []api.CursorInfo{c.cursor("orders", "d")}, want[api.CursorList](c, "API.CURSOR.LIST.orders", "").Cursors)
	require.True(t, want[api.Done](c, "API.CURSOR.DELETE.orders", `{"name":"d"}`).OK)
	require.Equal(t, []string{"410 4"}, in.take(1))
	require.Equal(t, 404, c.refused("API.CURSOR.SHOW.orders", `{"name":"d"}`).Code)
	require.Equal(t, 404, c.refused("API.CURSOR.DELETE.orders", `{"name":"d"}`).Code)
	require.Equal(t, 404, c.refused("API.CURSOR.LIST.none", ``).Code)
	require.Equal(t, 400, c.refused("API.CURSOR.DELETE.orders", ``).Code)
	require.Equal(t, 400, c.refused("API.CURSOR.RESET.orders", `{"name":"stan/d"}`).Code)
	n.restart()
	eventually(t, "the client is back", func() bool { return c.IsConnected() })
	require.Empty(t, want[api.CursorList](c, "API.CURSOR.LIST.orders", "").Cursors)
}

// Aim: with subscribers in a queue group on the inbox, one replay feeds several
// workers, each record goes to one of them. Method: three workers, 300 records.
func TestWorkers(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	const records = 300
	c.publish("jobs", records)
	got := make(chan string, 2*records)
	for range 3 {
		_, err := n.client().QueueSubscribe("work.jobs", "workers", func(m *nats.Msg) {
			got <- show(m)
			_ = m.Respond(nil)
		})
		require.NoError(t, err)
	}
	eventually(t, "workers are there", func() bool {
		return !strings.Contains(c.ask("REPLAY.jobs", `{"durable":"w","deliver":"work.jobs","window":10}`), "error")
	})
	seen := make(map[string]bool)
	for len(seen) < records+1 {
		select {
		case s := <-got:
			require.False(t, seen[s], s)
			seen[s] = true
		case <-time.After(patience):
			require.Fail(t, "records are missing", "%d", len(seen))
		}
	}
	require.True(t, seen[fmt.Sprint("204 ", records+1)])
}

// Aim: a channel can be shown and changed however many durables it has, and they
// come in pages. Method: more than a page of them, then each call.
func TestManyCursors(t *testing.T) {
	n := start(t, router.Options{PayloadBytesMax: 100 << 10})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.orders", ``)
	const total = 1500
	in, err := c.SubscribeSync(nats.NewInbox())
	require.NoError(t, err)
	for i := range total {
		request := fmt.Sprintf(`{"durable":"%s-%04d"}`, strings.Repeat("d", i%3), i)
		require.NoError(t, c.PublishRequest("$LEAT.REPLAY.orders", in.Subject, []byte(request)))
	}
	for range total {
		m, err := in.NextMsg(patience)
		require.NoError(t, err)
		require.Equal(t, "204 1", show(m))
	}
	info := want[api.ChannelInfo](c, "API.CHANNEL.SHOW.orders", ``)
	require.Len(t, info.Cursors, 1000)
	require.Equal(t, total, info.CursorCount)
	require.Equal(t, "s2", want[api.ChannelInfo](c, "API.CHANNEL.SET.orders", `{"compression":"s2"}`).Config.Compression)
	want[api.ChannelInfo](c, "API.CHANNEL.CREATE.orders", `{"compression":"s2"}`)
	page := want[api.CursorList](c, "API.CURSOR.LIST.orders", `{"prefix":"dd-","offset":498}`)
	require.Equal(t, 500, page.Total)
	require.Equal(t, []string{"dd-1496", "dd-1499"}, []string{page.Cursors[0].Name, page.Cursors[1].Name})
	require.Len(t, page.Cursors, 2)
	require.Equal(t, 400, c.refused("API.CURSOR.LIST.orders", `{"limit":0}`).Code)
}
