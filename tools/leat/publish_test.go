package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

const sample = "testdata/sample.jsonl"

// Aim: what publish reads comes out of replay byte for byte. Method: a file
// with CRLF, an empty line, and no line end at its end; raw output must be the
// file and one more line end, from any offset on.
func TestPublishAndReplayBytes(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	want, err := os.ReadFile(sample)
	require.NoError(t, err)

	r := leat(t, nil, "publish", "s", sample, "--server", server, "--output", "json")
	require.Equal(t, 0, r.code, r.err)
	var got publishResult
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Equal(t, uint64(6), got.Records)
	require.Equal(t, uint64(1), got.First)
	require.Equal(t, uint64(6), got.Last)

	r = leat(t, nil, "replay", "s", "--server", server, "--output", "raw")
	require.Equal(t, 0, r.code, r.err)
	require.Equal(t, string(want)+"\n", r.out)
	require.Empty(t, r.err, "no progress when the output is no terminal")

	r = leat(t, nil, "replay", "s", "--from", "LAST", "--server", server, "--output", "raw")
	require.Equal(t, "no json, no line end\n", r.out)
	r = leat(t, nil, "replay", "s", "--from", "2", "--count", "2", "--server", server, "--output", "raw")
	require.Equal(t, "{\"id\":\"a2\",\"properties\":{\"net\":\"nc\",\"mag\":null}}\r\n\n", r.out) //nolint:testifylint // byte for byte, with the line end
	r = leat(t, nil, "replay", "s", "--from", "-1h", "--server", server, "--output", "raw")
	require.Equal(t, string(want)+"\n", r.out)
}

// Aim: the main job on real input. Method: publish the file, stop the node,
// start it on the same folder, replay from offset 1000, compare with the file.
func TestQuakes(t *testing.T) {
	path, data := sharedFile(t, "earthquakes.jsonl")
	dir := t.TempDir()
	n, server := startNode(t, dir, "127.0.0.1:0")
	r := leat(t, nil, "publish", "quakes", path, "--server", server, "--key", "properties.net")
	require.Equal(t, 0, r.code, r.err)
	require.Contains(t, r.out, "1,707 records acknowledged")
	require.Contains(t, r.out, "offsets 1 to 1707")
	require.NoError(t, n.Close())

	_, server = startNode(t, dir, "127.0.0.1:0")
	r = leat(t, nil, "replay", "quakes", "--from", "1000", "--output", "raw", "--server", server)
	require.Equal(t, 0, r.code, r.err)
	lines := bytes.SplitAfter(data, []byte("\n"))
	require.Equal(t, string(bytes.Join(lines[999:], nil)), r.out)
	r = leat(t, nil, "inspect", dir, "--verify")
	require.Equal(t, 0, r.code, "beside the running node: %s%s", r.out, r.err)
}

// Aim: lines that can't be stored are told by number and the others go on.
// Method: a line over the server's limit, and lines without the key's field,
// among good ones.
func TestPublishRefusesLines(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	in := "short\n" + strings.Repeat("x", 1<<20+1) + "\n" + strings.Repeat("y", 1<<20) + "\nlast"
	r := leat(t, strings.NewReader(in), "publish", "long", "--server", server)
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "line 2 is not stored: 1048577 bytes, the server takes at most 1048576")
	require.Contains(t, r.out, "3 records acknowledged")

	r = leat(t, nil, "publish", "keyed", sample, "--key", "properties.net", "--server", server, "--output", "json")
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "line 3 is not stored")
	require.Contains(t, r.err, "line 6 is not stored")
	var got publishResult
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Equal(t, uint64(4), got.Records)
	require.Equal(t, uint64(2), got.Refused)
}

// Aim: a replay that finds nothing says so, and not in the output. Method: places
// behind the last record.
func TestReplayOfNothing(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	require.Equal(t, 0, leat(t, strings.NewReader("a\nb\n"), "publish", "s", "--server", server).code)
	for _, from := range []string{"3", "1000", "NEW", "2999-01-01"} {
		r := leat(t, nil, "replay", "s", "--from", from, "--server", server)
		require.Equal(t, 0, r.code, r.err)
		require.Empty(t, r.out)
		require.Equal(t, "leat: there are no records from there on; the last offset of s is 2\n", r.err, from)
	}
}

// Aim: JSON output carries every part of a record. Method: keys, headers that
// repeat, a value that is no UTF-8, one with control characters.
func TestReplayJSON(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	r := leat(t, nil, "publish", "j", sample, "--key", "properties.net", "--header", "Host=web 1", "--header", "Host=b", "--server", server)
	require.Equal(t, 1, r.code, "two lines have no key")
	r = leat(t, strings.NewReader("\xff\x00"), "publish", "j", "--server", server)
	require.Equal(t, 0, r.code, r.err)

	r = leat(t, nil, "replay", "j", "--output", "json", "--server", server)
	require.Equal(t, 0, r.code, r.err)
	type doc struct {
		Offset  uint64
		Time    time.Time
		Channel string
		Key     *string
		Headers map[string][]string
		Value   *string
		Base64  []byte `json:"value_base64"`
	}
	var docs []doc
	d := json.NewDecoder(strings.NewReader(r.out))
	for {
		var v doc
		err := d.Decode(&v)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		docs = append(docs, v)
	}
	require.Len(t, docs, 5)
	require.Equal(t, "us", *docs[0].Key)
	require.Equal(t, "7", *docs[2].Key, "a number's key is its text")
	require.Nil(t, docs[3].Key, "null is no key")
	require.Equal(t, map[string][]string{"Host": {"web 1", "b"}}, docs[0].Headers)
	require.Contains(t, *docs[2].Value, `"text":"quote \" and \\ and \u0001"`)
	require.Equal(t, []byte("\xff\x00"), docs[4].Base64)
	require.WithinDuration(t, time.Now(), docs[0].Time, time.Hour)
	for i, v := range docs {
		require.Equal(t, uint64(i+1), v.Offset)
		require.Equal(t, "j", v.Channel)
	}
	r = leat(t, nil, "replay", "j", "--from", "1", "--count", "1", "--server", server)
	require.Contains(t, r.out, "key us Host=web 1 Host=b\n")
}

// Aim: a publisher and a follower outlive the node. Method: follow a channel,
// stop the node in the middle of a publish, start it again on the same address;
// the follower must have every line, in order, where lines may repeat but only
// as whole runs that the publisher sent again.
func TestNodeRestartsUnderClients(t *testing.T) {
	dir := t.TempDir()
	n, server := startNode(t, dir, "127.0.0.1:0")
	addr := n.Addr()
	require.Equal(t, 0, leat(t, nil, "channels", "create", "f", "--server", server).code)

	const count = 4000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	followed, published := make(chan result, 1), make(chan result, 1)
	go func() {
		followed <- leatContext(ctx, nil, "replay", "f", "--follow", "--output", "raw", "--count", strconv.Itoa(count), "--server", server)
	}()
	in, w := io.Pipe()
	go func() {
		r := leatContext(ctx, in, "publish", "f", "--server", server)
		_ = in.Close() // so that a publish that gave up does not leave the writer waiting
		published <- r
	}()
	for i := range count {
		if i == count/2 {
			require.NoError(t, n.Close())
			n, _ = startNode(t, dir, addr)
		}
		fmt.Fprintf(w, "line %d\n", i)
	}
	require.NoError(t, w.Close())
	p := <-published
	require.Equal(t, 0, p.code, p.err)
	f := <-followed
	require.Equal(t, 0, f.code, f.err)
	lines := strings.Split(strings.TrimSpace(f.out), "\n")
	require.Len(t, lines, count)

	all := leat(t, nil, "replay", "f", "--output", "raw", "--server", server)
	require.Equal(t, 0, all.code, all.err)
	require.True(t, strings.HasPrefix(all.out, f.out), "the follower has what is stored, without hole or repetition of its own")
	seen := make(map[string]bool)
	for l := range strings.SplitSeq(all.out, "\n") {
		seen[l] = true
	}
	for i := range count {
		require.True(t, seen[fmt.Sprintf("line %d", i)], "line %d is lost", i)
	}
}

// Aim: an interrupt ends a publish in order. Method: a pipe that stays open; the
// context ends; what was read must be acknowledged and counted.
func TestPublishInterrupted(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	in, w := io.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan result, 1)
	go func() { done <- leatContext(ctx, in, "publish", "i", "--server", server, "--output", "json") }()
	fmt.Fprintln(w, "one")
	fmt.Fprintln(w, "two")
	require.Eventually(t, func() bool {
		return leat(t, nil, "replay", "i", "--output", "raw", "--server", server).out == "one\ntwo\n"
	}, 10*time.Second, 10*time.Millisecond)
	cancel()
	r := <-done
	require.NoError(t, w.Close())
	require.Equal(t, exitInterrupted, r.code)
	var got publishResult
	require.NoError(t, json.Unmarshal([]byte(r.out), &got))
	require.Equal(t, uint64(2), got.Records)
	require.True(t, got.Interrupted)
}

// Aim: an acknowledgement that never comes is an error, and so is a server
// that is none. Method: a plain NATS subscriber in front of another channel's
// subject can't be had, so a port that nobody listens on, and short patience.
func TestNoNode(t *testing.T) {
	for _, args := range [][]string{
		{"publish", "x", sample}, {"replay", "x"}, {"channels", "list"}, {"bench", "publish", "--duration", "1s"},
	} {
		r := leat(t, nil, append(args, "--server", "nats://127.0.0.1:1")...)
		require.Equal(t, 1, r.code, "%v", args)
		require.Contains(t, r.err, "connect to", "%v", args)
	}
}

// Aim: a message refused by the node ends with its words. Method: replay and
// change channels that do not exist, and names that can't be.
func TestRefusals(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"replay", "nobody"}, `channel not found: "nobody"`},
		{[]string{"channels", "show", "nobody"}, `channel not found: "nobody"`},
		{[]string{"channels", "show", "no body"}, "not allowed"},
		{[]string{"publish", "a..b", sample}, "empty token"},
		{[]string{"replay", "x", "--from", "yesterday"}, "--from"},
		{[]string{"replay", "x", "--output", "xml"}, "want raw, json, text"},
		{[]string{"publish", "x", sample, "--header", "a b=c"}, "--header"},
		{[]string{"publish", "x", "testdata"}, "is a folder"},
		{[]string{"publish", "x", "testdata/none"}, "no such file"},
		{[]string{"channels", "set", "x"}, "nothing to change"},
		{[]string{"channels", "delete", "x"}, "--yes"},
	} {
		r := leat(t, nil, append(c.args, "--server", server)...)
		require.Equal(t, 1, r.code, "%v", c.args)
		require.Contains(t, r.err, c.want, "%v", c.args)
	}
}

// Aim: every channel command does what it says, also in JSON. Method: make,
// bind, publish on the subject, purge, delete.
func TestChannels(t *testing.T) {
	_, server := startNode(t, "", "127.0.0.1:0")
	on := func(args ...string) result {
		return leat(t, nil, append(append([]string{"channels"}, args...), "--server", server)...)
	}
	require.Equal(t, 0, on("create", "orders", "--subjects", "orders.>", "--compression", "s2").code)
	require.Equal(t, 1, on("create", "orders").code, "it exists")
	require.Equal(t, 1, on("create", "other", "--subjects", "orders.new").code, "the subject is taken")

	nc, err := nats.Connect(server)
	require.NoError(t, err)
	defer nc.Close()
	for i := range 3 {
		m, err := nc.Request(fmt.Sprintf("orders.%d", i), []byte("x"), 5*time.Second)
		require.NoError(t, err)
		require.JSONEq(t, fmt.Sprintf(`{"stream":"orders","seq":%d}`, i+1), string(m.Data))
	}
	r := leat(t, nil, "replay", "orders", "--output", "json", "--count", "1", "--server", server)
	require.Contains(t, r.out, `"subject":"orders.0"`)
	r = on("show", "orders", "--output", "json")
	require.Contains(t, r.out, `"subjects":["orders.>"],"compression":"s2"`)
	require.Contains(t, on("show", "orders").out, "orders.>")
	require.Contains(t, on("list").out, "orders")
	require.Equal(t, 1, strings.Count(on("list", "--output", "json").out, "\n"))
	require.Empty(t, on("list", "--prefix", "zz", "--output", "json").out)

	require.Equal(t, 0, on("set", "orders", "--subjects", "").code)
	require.Contains(t, on("show", "orders").out, "none")
	require.Equal(t, 1, on("purge", "orders").code, "nobody to ask")
	require.Equal(t, 0, on("purge", "orders", "--before", "0", "--yes").code, "removes nothing")
	require.Equal(t, 0, on("purge", "orders", "--before", "3", "--yes").code)
	r = leat(t, nil, "replay", "orders", "--output", "raw", "--server", server)
	require.Equal(t, "x\n", r.out)
	require.Equal(t, 0, on("delete", "orders", "--yes", "--output", "json").code)
	require.Equal(t, 1, on("show", "orders").code)
}

// Aim: yes is yes and everything else is no. Method: answers as typed.
func TestConfirm(t *testing.T) {
	for answer, ok := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "n\n": false, "": false, "yes please\n": false} {
		err := confirm(strings.NewReader(answer), io.Discard, "?")
		require.Equal(t, ok, err == nil, "%q", answer)
	}
}
