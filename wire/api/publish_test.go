package api_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire/api"
	router "leat.dev/leat/wire/nats"
)

// Aim: what is published on bound subjects is stored once, in order, with its
// subject, acknowledged, and delivered to core subscribers and queue groups as
// well. Method: two patterns, plain and queue subscribers, 100 publishes.
func TestBoundSubjects(t *testing.T) {
	n := start(t, router.Options{})
	c, other := n.client(), n.client()
	c.ask("API.CHANNEL.CREATE.orders", `{"subjects":["orders.*.new","returns.>"]}`)
	var plain, queued atomic.Int64
	_, err := other.Subscribe("orders.>", func(*nats.Msg) { plain.Add(1) })
	require.NoError(t, err)
	for range 2 {
		_, err = other.QueueSubscribe("orders.>", "q", func(*nats.Msg) { queued.Add(1) })
		require.NoError(t, err)
	}
	require.NoError(t, other.Flush())
	for i := range 100 {
		m, err := c.Request(fmt.Sprintf("orders.s%d.new", i%3), fmt.Append(nil, i), patience)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"stream":"orders","seq":%d}`, i+1), string(m.Data))
	}
	m, err := c.Request("returns.a.b", nil, patience)
	require.NoError(t, err)
	require.JSONEq(t, `{"stream":"orders","seq":101}`, string(m.Data))
	require.NoError(t, c.Publish("orders.x.old", nil), "not bound")
	eventually(t, "core subscribers", func() bool { return plain.Load() == 101 && queued.Load() == 101 })

	in := c.replay("orders", `{"meta":"reply"}`)
	for i := range 100 {
		m := in.next()
		require.Equal(t, strconv.Itoa(i), string(m.Data))
		require.Equal(t, fmt.Sprintf("orders.s%d.new", i%3), m.Header.Get(api.HeaderSubject))
	}
	require.Equal(t, "returns.a.b", in.next().Header.Get(api.HeaderSubject))
	require.Equal(t, []string{"204 102"}, in.take(1))
}

// Aim: what one connection publishes to a channel keeps its order, by whichever of
// the channel's subjects it comes. Method: three ways in turn, without waiting.
func TestOrderOverSubjects(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.orders", `{"subjects":["a.*","b"]}`)
	subjects := []string{"a.x", "b", "$LEAT.PUB.orders", "a.y"}
	const records = 4000
	for i := range records {
		require.NoError(t, c.Publish(subjects[i%len(subjects)], fmt.Append(nil, i)))
	}
	require.Contains(t, c.ask("PUB.orders", strconv.Itoa(records)), strconv.Itoa(records+1))
	in := c.replay("orders", `{"meta":"none"}`)
	for i := range records + 1 {
		require.Equal(t, strconv.Itoa(i), string(in.next().Data))
	}
}

// Aim: JetStream's publishing client works on a bound subject, singly and
// asynchronously, and is refused what is not kept. Method: nats.go's jetstream.
func TestJetStreamPublish(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.orders", `{"subjects":["orders.>"]}`)
	js, err := jetstream.New(c.Conn)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ack, err := js.Publish(ctx, "orders.a", []byte("1"), jetstream.WithMsgID("m1"))
	require.NoError(t, err)
	require.Equal(t, "orders", ack.Stream)
	require.EqualValues(t, 1, ack.Sequence)
	var last jetstream.PubAckFuture
	for range 1000 {
		last, err = js.PublishAsync("orders.b", []byte("x"))
		require.NoError(t, err)
	}
	select {
	case <-js.PublishAsyncComplete():
	case <-ctx.Done():
		require.Fail(t, "asynchronous publishes are not complete")
	}
	require.EqualValues(t, 1001, (<-last.Ok()).Sequence)
	for _, refused := range []jetstream.PublishOpt{
		jetstream.WithExpectLastSequence(1001), jetstream.WithExpectStream("orders"), jetstream.WithExpectLastMsgID("m1"),
		jetstream.WithExpectLastSequencePerSubject(4),
	} {
		_, err = js.Publish(ctx, "orders.a", []byte("2"), refused)
		var failed *jetstream.APIError
		require.ErrorAs(t, err, &failed)
		require.Equal(t, 400, failed.Code)
		require.Contains(t, failed.Description, "header Nats-Expected-")
	}
	probe := nats.NewMsg("orders.a")
	probe.Header.Set("Nats-Trace-Only", "true") // what "nats trace" sends, to find out where a message would go
	answer, err := c.RequestMsg(probe, patience)
	require.NoError(t, err)
	require.Contains(t, string(answer.Data), "header Nats-Trace-Only")
	m := c.replay("orders", ``).next()
	require.Equal(t, "m1", m.Header.Get("Nats-Msg-Id"))
	_, err = js.Publish(ctx, "elsewhere", nil, jetstream.WithRetryAttempts(0))
	require.ErrorIs(t, err, jetstream.ErrNoStreamResponse)
}

// Aim: a publish that is not stored is answered with a code and a text, and what
// comes after it is stored. Method: each reason in turn.
func TestPublishRefusals(t *testing.T) {
	n := start(t, router.Options{PayloadBytesMax: 9 << 20, ControlLineBytesMax: 8192})
	c := n.client()
	long := strings.Repeat("x", 300)
	require.Equal(t, 400, c.refused("PUB."+long, "x").Code)
	require.Equal(t, 400, c.refused("PUB.a/b", "x").Code)
	require.Equal(t, 413, c.refused("PUB.orders", strings.Repeat("x", 8<<20+1)).Code)
	require.Contains(t, c.ask("PUB.orders", strings.Repeat("x", 1<<20)), `"seq":1`)
	m := nats.NewMsg("$LEAT.PUB.orders")
	m.Header = nats.Header{api.HeaderKey: {strings.Repeat("k", 64<<10+1)}}
	answer, err := c.RequestMsg(m, patience)
	require.NoError(t, err)
	require.Contains(t, string(answer.Data), `"code":413`)
	require.Contains(t, string(answer.Data), `"stream":"orders"`)
	m.Header = nats.Header{api.HeaderKeyBase64: {"!"}}
	answer, err = c.RequestMsg(m, patience)
	require.NoError(t, err)
	require.Contains(t, string(answer.Data), `"code":400`)

	for _, s := range n.shards {
		s.fault(full())
	}
	e := c.refused("PUB.orders", "x")
	require.Equal(t, 507, e.Code)
	require.Contains(t, e.Description, "no space left")
	require.Equal(t, []string{"1", "204 2"}, c.replay("orders", ``).take(2))
	for _, s := range n.shards {
		s.fault(nil)
	}
	require.Contains(t, c.ask("PUB.orders", "x"), `"seq":2`)
	for _, s := range n.shards {
		s.part.Fail(partition.ErrClosed)
	}
	require.Equal(t, 503, c.refused("PUB.orders", "x").Code)
}

// Aim: one read of a connection may bring messages for a thousand channels; all
// are stored, in order of each, and acknowledged. Method: 3 rounds over 1,000
// channels without waiting, then every channel's records; the names have dots.
func TestThousandChannels(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	const channels, rounds = 1000, 3
	acks, err := c.SubscribeSync(nats.NewInbox())
	require.NoError(t, err)
	require.NoError(t, acks.SetPendingLimits(-1, -1))
	for r := range rounds {
		for i := range channels {
			require.NoError(t, c.PublishRequest(fmt.Sprintf("$LEAT.PUB.many.c%d", i), acks.Subject, fmt.Append(nil, r)))
		}
	}
	seqs := make(map[string]int)
	for range channels * rounds {
		m, err := acks.NextMsg(patience)
		require.NoError(t, err)
		seqs[string(m.Data)]++
	}
	require.Len(t, seqs, channels*rounds)
	l := want[api.ListAnswer](c, "API.CHANNEL.LIST", `{"prefix":"many.","limit":10,"offset":990}`)
	require.Equal(t, channels, l.Total)
	require.Len(t, l.Channels, 10)
	for _, info := range l.Channels {
		require.EqualValues(t, rounds, info.Last)
	}
	in := c.replay("many.c77", ``)
	for r := range rounds {
		require.Equal(t, strconv.Itoa(r), string(in.next().Data))
	}
}

// Aim: an acknowledgement may go to a subject that is bound itself, without the
// partition waiting for itself. Method: acknowledgements of one channel are
// stored in another, and in the same one, while the queue is full.
func TestAcksThatAreStored(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	c.ask("API.CHANNEL.CREATE.receipts", `{"subjects":["receipts"]}`)
	payload := []byte(strings.Repeat("x", 256<<10))
	const records = 600 // more than the partition's queue holds
	for range records {
		require.NoError(t, c.PublishRequest("$LEAT.PUB.receipts", "receipts", payload))
		require.NoError(t, c.PublishRequest("$LEAT.PUB.receipts", "$LEAT.PUB.copies", nil))
	}
	eventually(t, "all is stored", func() bool {
		a := want[api.ChannelInfo](c, "API.CHANNEL.SHOW.receipts", "").Last
		l := want[api.ListAnswer](c, "API.CHANNEL.LIST", `{"prefix":"copies"}`).Channels
		return a == 3*records && len(l) == 1 && l[0].Last == records
	})
}

// Aim: a channel that is deleted and published to again is a new one, also for a
// connection that knew the old one. Method: delete between two publishes.
func TestDeletedUnderPublisher(t *testing.T) {
	n := start(t, router.Options{})
	c, admin := n.client(), n.client()
	for range 3 {
		c.publish("orders", 2)
		require.Contains(t, c.ask("PUB.orders", "x"), `"seq":3}`)
		admin.ask("API.CHANNEL.DELETE.orders", "")
	}
}

// Aim: what a closing front-end has taken in is acknowledged exactly when it is
// stored; the rest has no responders. Method: publish without waiting, close the
// front-end, count answers and records.
func TestCloseUnderPublisher(t *testing.T) {
	n := start(t, router.Options{})
	c := n.client()
	answers, err := c.SubscribeSync(nats.NewInbox())
	require.NoError(t, err)
	require.NoError(t, answers.SetPendingLimits(-1, -1))
	const records = 20000
	for range records {
		require.NoError(t, c.PublishRequest("$LEAT.PUB.orders", answers.Subject, []byte("x")))
	}
	m, err := answers.NextMsg(patience)
	require.NoError(t, err)
	require.JSONEq(t, `{"stream":"orders","seq":1}`, string(m.Data))
	n.front.Close()
	acked := 1
	for range records - 1 {
		m, err := answers.NextMsg(patience)
		if errors.Is(err, nats.ErrNoResponders) {
			continue
		}
		require.NoError(t, err)
		acked++
		require.JSONEq(t, fmt.Sprintf(`{"stream":"orders","seq":%d}`, acked), string(m.Data))
	}
	ch, ok := n.channel("orders")
	require.True(t, ok)
	require.EqualValues(t, ch.Last(), acked)
}
