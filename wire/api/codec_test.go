package api_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire/api"
)

// Aim: two patterns overlap when some subject matches both, and only then.
// Method: pairs, each both ways round.
func TestOverlap(t *testing.T) {
	for _, x := range []struct {
		a, b string
		want bool
	}{
		{"a", "a", true},
		{"a", "b", false},
		{"a", "a.b", false},
		{"a.b", "a.*", true},
		{"a.b", "*.b", true},
		{"a.*", "*.b", true},
		{"a.*.c", "*.b.*", true},
		{"a.*.c", "*.b.d", false},
		{"a.*", "a.*.*", false},
		{"a.>", "a", false},
		{"a.>", "a.b", true},
		{"a.>", "a.*.c", true},
		{"a.>", "b.>", false},
		{">", "a", true},
		{">", "a.>", true},
		{"*", "a.b", false},
		{"a.b.>", "a.*", false},
		{"a.*.>", "a.b.c", true},
	} {
		require.Equal(t, x.want, api.Overlap(x.a, x.b), "%s and %s", x.a, x.b)
		require.Equal(t, x.want, api.Overlap(x.b, x.a), "%s and %s", x.b, x.a)
	}
}

// Aim: patterns that are none, or that would store requests and inboxes, are
// refused. Method: some of each, and good ones.
func TestCheckPattern(t *testing.T) {
	for _, good := range []string{"a", "a.b", "a.*", "a.>", "a.*.>", "$KV.x", "_x", "ü.*"} {
		require.NoError(t, api.CheckPattern(good), good)
	}
	for _, bad := range []string{
		"", ".", "a.", ".a", "a..b", "a.>.b", "a*", "a.b>", "a b", "a\tb", ">", "*", "*.x",
		"$LEAT.PUB.x", "$JS.>", "$SYS.x", "_INBOX.x", "_STAN.pub.x",
	} {
		if bad == "*" {
			continue // matches one token only, so none of the reserved subjects
		}
		require.Error(t, api.CheckPattern(bad), bad)
	}
	require.NoError(t, api.CheckPattern("*"))
}

// headers reads a block as nats.go does.
func headers(t testing.TB, block []byte) nats.Header {
	t.Helper()
	h, err := nats.DecodeHeadersMsg(block)
	require.NoError(t, err)
	return h
}

// Aim: what a client sends in headers comes back as it was, in order, repeated
// names too. Method: publish blocks through the stored form and back.
func TestHeadersRoundTrip(t *testing.T) {
	block := "NATS/1.0\r\nB: 2\r\nA: 1\r\nB:3\r\nlower-case: x\r\nEmpty:\r\nColon: a:b: c\r\nLeat-Key:  k \r\nLeat-Time: 5\r\n\r\n"
	r := record.Record{Offset: 7, Time: 8, Value: []byte("v")}
	list, err := api.EncodeHeaders(nil, []byte(block), &r)
	require.NoError(t, err)
	r.Headers = list
	require.Equal(t, "k", string(r.Key))
	out, reply, err := api.Deliver(api.MetaHeaders, 1, "orders", &r, 2)
	require.NoError(t, err)
	require.Equal(t, "NATS/1.0\r\nLeat-Channel: orders\r\nLeat-Offset: 7\r\nLeat-Time: 8\r\nLeat-Key: k\r\nLeat-Redelivered: 2\r\n"+
		"B: 2\r\nA: 1\r\nB: 3\r\nlower-case: x\r\nEmpty: \r\nColon: a:b: c\r\n\r\n", string(out))
	require.Equal(t, "$LEAT.ACK.z.7", string(reply))
	require.Equal(t, []string{"2", "3"}, headers(t, out)["B"])
	out, reply, err = api.Deliver(api.MetaReply, 0, "orders", &record.Record{Offset: 7, Time: 8, Value: []byte{}}, 0)
	require.NoError(t, err)
	require.Nil(t, out)
	require.Equal(t, "$LEAT.ACK.z.7.8", string(reply))
	for _, bad := range []string{
		"", "NATS/1.0", "HTTP/1.1\r\n\r\n", "NATS/1.0\r\nA: 1", "NATS/1.0\r\nA\r\n\r\n", "NATS/1.0\r\n: x\r\n\r\n",
		"NATS/1.0\r\nNats-Expected-Stream: x\r\n\r\n", "NATS/1.0\r\nnats-ttl: 1s\r\n\r\n", "NATS/1.0\r\nNats-Rollup: all\r\n\r\n",
	} {
		_, err := api.EncodeHeaders(nil, []byte(bad), &record.Record{})
		require.ErrorIs(t, err, api.ErrBadRequest, bad)
	}
}

// Aim: what another front-end stored can't make header lines of its own. Method:
// ends of lines in every part, read back by nats.go.
func TestForeignHeaders(t *testing.T) {
	var list []byte
	list = record.AppendHeader(list, []byte("A"), []byte("x\r\nLeat-Offset: 9\r\n\r\npayload"))
	list = record.AppendHeader(list, []byte("B\r\nC"), []byte("x"))
	list = record.AppendHeader(list, nil, []byte("x"))
	list = record.AppendHeader(list, []byte("D:"), []byte("x"))
	r := record.Record{Offset: 1, Key: []byte("\nk"), Headers: list}
	out, _, err := api.Deliver(api.MetaReply, 0, "orders", &r, 0)
	require.NoError(t, err)
	require.Equal(t, nats.Header{
		"A": {"x  Leat-Offset: 9    payload"}, api.HeaderKeyBase64: {"Cms="}, api.HeaderNull: {"1"},
	}, headers(t, out))
	r.Headers = []byte{200}
	_, _, err = api.Deliver(api.MetaReply, 0, "orders", &r, 0)
	require.Error(t, err)
}

// Aim: any block of headers is refused or comes back through the stored form as
// one that means the same. Method: fuzz, with the delivered block published
// again.
func FuzzHeaders(f *testing.F) {
	for _, s := range []string{
		"NATS/1.0\r\nA: 1\r\n\r\n", "NATS/1.0 503 No Responders\r\n\r\n", "NATS/1.0\r\n\r\n", "NATS/1.0\r\nA:\t b \t\r\nA:\n\r\n\r\n",
		"NATS/1.0\r\nLeat-Key-Base64: AAo=\r\nLeat-Null: 1\r\n\r\n", "NATS/1.0\r\nLeat-Key: \r\n\r\nrest",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, block []byte) {
		r := record.Record{Offset: 1}
		list, err := api.EncodeHeaders(nil, block, &r)
		if err != nil {
			return
		}
		r.Headers = list
		lines := bytes.ReplaceAll(block, []byte("\r\n"), nil)
		odd := bytes.ContainsAny(lines, "\r\n") // is not given back as it was
		out, _, err := api.Deliver(api.MetaHeaders, 0, "c", &r, 0)
		require.NoError(t, err)
		require.True(t, bytes.HasSuffix(out, []byte("\r\n\r\n")))
		again := record.Record{}
		list2, err := api.EncodeHeaders(nil, out, &again)
		require.NoError(t, err, "%q", out)
		if odd {
			return
		}
		require.Equal(t, r.Key, again.Key)
		r.Headers, r.Value, again.Headers = list2, nil, list2
		out2, _, err := api.Deliver(api.MetaHeaders, 0, "c", &r, 0)
		require.NoError(t, err)
		require.Equal(t, string(out), string(out2))
	})
}

// Aim: every form of From is read, shown and written alike, and what is none is
// refused with the forms that there are. Method: a table through JSON.
func TestFrom(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "first", `"first"`: "first", `"LAST"`: "LAST", `"new"`: "new", `5`: "5", `"5"`: "5", `"-90s"`: "-90s",
		`"2026-01-02"`: "2026-01-02", `"2026-01-02T03:04:05Z"`: "2026-01-02T03:04:05Z", `"2026-01-02 03:04:05"`: "2026-01-02 03:04:05",
	} {
		var f api.From
		require.NoError(t, json.Unmarshal([]byte(in), &f), in)
		require.Equal(t, want, f.String())
		out, err := json.Marshal(f)
		require.NoError(t, err)
		require.Equal(t, `"`+want+`"`, string(out))
	}
	for _, bad := range []string{`"x"`, `-1`, `1.5`, `1e3`, `true`, `[]`, `"-x"`, `"--1h"`, `"2026-13-01"`, `18446744073709551616`} {
		var f api.From
		require.Error(t, json.Unmarshal([]byte(bad), &f), bad)
	}
	_, err := api.ParseFrom("soon")
	require.ErrorIs(t, err, api.ErrBadRequest)
	require.ErrorContains(t, err, "first, last, new")
}

// Aim: no body of a request breaks the reading of it, and what is accepted is in
// range. Method: fuzz.
func FuzzReplayRequest(f *testing.F) {
	for _, s := range []string{
		``, `{}`, `{"from":1,"count":2,"follow":true,"deliver":"x","meta":"reply"}`, `{"window":5,"ack_wait":"1s","durable":"d"}`,
		`{"from":{}}`, `{"window":1e9}`, `null`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		q, err := api.DecodeReplay(body)
		if err != nil {
			require.ErrorIs(t, err, api.ErrBadRequest)
			return
		}
		require.GreaterOrEqual(t, q.Window, 0)
		require.LessOrEqual(t, q.Window, api.WindowMax)
		if q.Durable != "" {
			require.Positive(t, q.Window)
		}
	})
}

// Aim: no subject of an acknowledgement breaks the reading of it, and those of
// deliveries are read as they were made. Method: fuzz, and the way round.
func FuzzParseDelivery(f *testing.F) {
	f.Add("$LEAT.ACK.z.7")
	f.Add("$LEAT.ACK.z.7.-8")
	f.Add("$LEAT.ACK.z.7.-1") // every time is one that a record may have
	f.Add("$LEAT.ACK.z.7.0")
	f.Add("$LEAT.ACK.3w5e11264sgsf.18446744073709551615.9")
	f.Fuzz(func(t *testing.T, reply string) {
		off, ns, ok := api.ParseDelivery(reply)
		if !ok {
			return
		}
		require.NotZero(t, off)
		_, made, err := api.Deliver(api.MetaReply, 0, "c", &record.Record{Offset: record.Offset(off), Time: ns, Value: []byte{}}, 0)
		require.NoError(t, err)
		o, at, ok := api.ParseDelivery(string(made))
		require.True(t, ok)
		require.Equal(t, off, o)
		require.Equal(t, ns, at)
	})
}

// Aim: encoding a delivery takes no memory, in any form. Method: AllocsPerRun of
// a record with everything.
func TestDeliveryAllocates(t *testing.T) {
	headers := record.AppendHeader(nil, []byte("A"), []byte("1"))
	r := record.Record{Time: time.Now().UnixNano(), Key: []byte("k"), Subject: []byte("a.b"), Headers: headers, Value: []byte("v")}
	for _, meta := range []api.Meta{api.MetaHeaders, api.MetaReply, api.MetaNone} {
		e := api.NewDeliverer(meta, 1, "orders")
		allocs := testing.AllocsPerRun(1000, func() {
			r.Offset++
			if e.Encode(&r, 1) != nil {
				panic("can't be encoded")
			}
		})
		require.Zero(t, allocs, meta)
	}
}
