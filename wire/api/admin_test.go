package api_test

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/api"
	router "leat.dev/leat/wire/nats"
)

// Aim: channels are made, listed, shown, changed, purged and deleted, and all of
// that is there after a restart. Method: one life of a channel.
func TestChannelLife(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	made := want[api.ChannelInfo](c, "API.CHANNEL.CREATE.a.b", `{"subjects":["x.*"],"compression":"zstd"}`)
	require.Equal(t, "a.b", made.Channel)
	require.Equal(t, api.ChannelConfig{Subjects: []string{"x.*"}, Compression: "zstd"}, made.Config)
	require.EqualValues(t, 1, made.First)
	require.Nil(t, made.LastTime)
	require.NotEmpty(t, made.Durability)
	again := want[api.ChannelInfo](c, "API.CHANNEL.CREATE.a.b", `{"subjects":["x.*"],"compression":"zstd"}`)
	require.Equal(t, made, again)
	for range 5 {
		_, err := c.Request("x.y", []byte(strings.Repeat("z", 1000)), patience)
		require.NoError(t, err)
	}
	info := want[api.ChannelInfo](c, "API.CHANNEL.SHOW.a.b", "")
	require.EqualValues(t, 5, info.Records)
	require.NotNil(t, info.LastTime)
	changed := want[api.ChannelInfo](c, "API.CHANNEL.SET.a.b", `{"compression":"none"}`)
	require.Equal(t, []string{"x.*"}, changed.Config.Subjects)
	require.Equal(t, "none", changed.Config.Compression)
	require.True(t, want[api.Done](c, "API.CHANNEL.PURGE.a.b", `{"first":3}`).OK)
	for _, below := range []string{`{"first":0}`, `{"first":1}`} { // no record is below those
		require.True(t, want[api.Done](c, "API.CHANNEL.PURGE.a.b", below).OK)
		require.EqualValues(t, 3, want[api.ChannelInfo](c, "API.CHANNEL.SHOW.a.b", "").First, below)
	}
	n.restart()
	eventually(t, "the client is back", func() bool { return c.IsConnected() })
	info = want[api.ChannelInfo](c, "API.CHANNEL.SHOW.a.b", "")
	require.EqualValues(t, 3, info.First)
	require.EqualValues(t, 5, info.Last)
	require.Equal(t, changed.Config, info.Config)
	m, err := c.Request("x.y", nil, patience)
	require.NoError(t, err)
	require.JSONEq(t, `{"stream":"a.b","seq":6}`, string(m.Data))
	want[api.ChannelInfo](c, "API.CHANNEL.SET.a.b", `{"subjects":[]}`)
	_, err = c.Request("x.y", nil, patience)
	require.ErrorIs(t, err, nats.ErrNoResponders)
	require.True(t, want[api.Done](c, "API.CHANNEL.DELETE.a.b", "").OK)
	require.Empty(t, want[api.ListAnswer](c, "API.CHANNEL.LIST", "").Channels)
	require.Equal(t, api.NodeInfo{NodeID: "N1", Partitions: shardCount}, want[api.NodeInfo](c, "API.INFO", ""))
}

// Aim: a request that can't be is refused, and says what to do. Method: one of
// each.
func TestAdminRefusals(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.orders", `{"subjects":["orders.>"]}`)
	c.publish("plain", 1)
	for _, x := range []struct {
		call, body string
		code       int
		says       string
	}{
		{"CHANNEL.CREATE.other", `{"subjects":["orders.new"]}`, 409, `channel "orders"`},
		{"CHANNEL.CREATE.other", `{"subjects":["*.new"]}`, 400, "begin with a name"},
		{"CHANNEL.CREATE.other", `{"subjects":["a.*.c","a.b.*"]}`, 409, `itself`},
		{"CHANNEL.SET.plain", `{"subjects":["orders.x"]}`, 409, `channel "orders"`},
		{"CHANNEL.CREATE.plain", `{"subjects":["p"]}`, 409, "CHANNEL.SET.plain"},
		{"CHANNEL.CREATE.other", `{"subjects":[">"]}`, 400, "not for channels"},
		{"CHANNEL.CREATE.other", `{"subjects":["$JS.API.x"]}`, 400, "$JS.>"},
		{"CHANNEL.CREATE.other", `{"subjects":["a..b"]}`, 400, "empty token"},
		{"CHANNEL.CREATE.other", `{"subjects":["a.>.b"]}`, 400, "before its end"},
		{"CHANNEL.CREATE.other", `{"subjects":["a b"]}`, 400, "white space"},
		{"CHANNEL.CREATE.other", `{"subjects":["a*"]}`, 400, "inside a token"},
		{"CHANNEL.CREATE.other", `{"subjects":[""]}`, 400, ""},
		{"CHANNEL.CREATE.other", `{"compression":"gzip"}`, 400, "want none, s2 or zstd"},
		{"CHANNEL.CREATE.other", `{"max_age":1}`, 400, "max_age"},
		{"CHANNEL.CREATE.a/b", ``, 400, "not allowed"},
		{"CHANNEL.SHOW.none", ``, 404, "CHANNEL.CREATE.none"},
		{"CHANNEL.SHOW.a/b", ``, 400, "not allowed"},
		{"CHANNEL.DELETE.none", ``, 404, "not found"},
		{"CHANNEL.LIST", `{"limit":1001}`, 400, "limit"},
		{"CHANNEL.LIST", `{"offset":-1}`, 400, "offset"},
		{"CHANNEL.DANCE.orders", ``, 404, "no such call"},
		{"CHANNEL.LIST.x", ``, 404, ""},
		{"CURSOR.DANCE.orders", `{"name":"x"}`, 404, "no such call"},
		{"CURSOR.DANCE.orders", ``, 404, "no such call"},
		{"CHANNEL.CREATE.other", `[]`, 400, "bad request: the JSON is an array, want an object"},
		{"CHANNEL.CREATE.other", `{"subjects":"a"}`, 400, "bad request: subjects is a string, want a list of strings"},
		{"CHANNEL.CREATE.other", `{"subjects":[1]}`, 400, "bad request: subjects is a number, want a string"},
		{"CHANNEL.PURGE.plain", `{"first":-1}`, 400, "bad request: first is the number -1, want a whole number that is not negative"},
		{"CHANNEL.LIST", `{"limit":1e3}`, 400, "bad request: limit is the number 1e3, want a whole number"},
		{"CHANNEL.LIST", `{"limit":99999999999999999999}`, 400, "limit is the number 99999999999999999999"},
		{"CHANNEL.LIST", `{"limit":`, 400, "bad request: the JSON ends too early"},
		{"CHANNEL.LIST", `limit`, 400, "bad request: the body is no JSON: invalid character 'l'"},
		{"WHAT", ``, 404, "no such call"},
		{"CHANNEL.SHOW", ``, 404, "no such call"},
		{"CHANNEL.LIST", strings.Repeat(" ", 257<<10), 400, "bytes"},
	} {
		e := c.refused("API."+x.call, x.body)
		require.Equal(t, x.code, e.Code, "%s %.60s: %s", x.call, x.body, e.Description)
		require.Contains(t, e.Description, x.says)
	}
	require.Equal(t, 2, want[api.ListAnswer](c, "API.CHANNEL.LIST", "").Total)
}

// Aim: of many requests at once for overlapping subjects one wins, and nothing is
// bound twice. Method: 20 creations over 4 connections, then one publish.
func TestCreateRace(t *testing.T) {
	n := start(t, router.Options{})
	var wg sync.WaitGroup
	for k := range 4 {
		c := n.client()
		wg.Go(func() {
			for i := range 5 {
				c.ask(fmt.Sprintf("API.CHANNEL.CREATE.c%d", k*5+i), `{"subjects":["race.*"]}`)
			}
		})
	}
	wg.Wait()
	c := n.client()
	l := want[api.ListAnswer](c, "API.CHANNEL.LIST", "")
	require.Equal(t, 1, l.Total)
	m, err := c.Request("race.x", nil, patience)
	require.NoError(t, err)
	require.JSONEq(t, fmt.Sprintf(`{"stream":%q,"seq":1}`, l.Channels[0].Channel), string(m.Data))
}

// Aim: while a channel's subjects change, what is published on one that stays is
// stored exactly once. Method: a publisher of acknowledged numbers, another
// connection that adds and takes away a second subject; then all records.
func TestBindingChangesUnderPublisher(t *testing.T) {
	n := start(t, router.Options{})
	c, admin := n.client(), n.client()
	admin.ask("API.CHANNEL.CREATE.orders", `{"subjects":["stay"]}`)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 50 {
			admin.ask("API.CHANNEL.SET.orders", `{"subjects":["come","stay"]}`)
			admin.ask("API.CHANNEL.SET.orders", `{"subjects":["stay"]}`)
		}
	}()
	i := 0
	for changing := true; changing; i++ {
		select {
		case <-done:
			changing = false
		default:
		}
		_, err := c.Request("stay", fmt.Append(nil, i), patience)
		require.NoError(t, err)
	}
	in := c.replay("orders", `{"meta":"none"}`)
	for k := range i {
		require.Equal(t, strconv.Itoa(k), string(in.next().Data))
	}
	require.Equal(t, []string{fmt.Sprint("204 ", i+1)}, in.take(1))
}
