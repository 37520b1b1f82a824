package node

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/stan/pb"
)

// Aim: clients that lie, break off, babble or never read do no harm: they get an
// error or are cut off, the node's memory and goroutines are as before once they
// are gone, and honest clients notice nothing. Method: a publisher that reads
// back what it stores runs all the time, while each kind of bad client comes
// along; then the heap and the goroutines are compared.
func TestHostileClients(t *testing.T) {
	o := Options{Dir: t.TempDir(), NodeID: "n1", ClusterID: "test", Partitions: 2, Listen: "127.0.0.1:0", SegmentBytes: 4 << 20}
	n, err := Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	honest := newHonest(t, n)
	defer honest.stop()
	attacks := []struct {
		name string
		run  func(*testing.T, *Node)
	}{
		{"broken protocol", brokenProtocol},
		{"garbage for STAN", garbageForSTAN},
		{"garbage for the API", garbageForAPI},
		{"connections", manyConnections},
		{"a replay that nobody reads", slowReplay},
	}
	for round := range 2 { // the first fills pools and caches
		before, routines := heap(), runtime.NumGoroutine()
		for _, a := range attacks {
			t.Run(fmt.Sprintf("%s %d", a.name, round), func(t *testing.T) { a.run(t, n) })
		}
		if round == 0 {
			continue
		}
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= routines+5 }, 10*time.Second, 10*time.Millisecond,
			"there were %d goroutines, there are %d", routines, runtime.NumGoroutine())
		var after uint64
		require.Eventually(t, func() bool { after = heap(); return after < before+16<<20 }, 5*time.Second, 100*time.Millisecond,
			"the heap had %d bytes", before)
		t.Logf("heap %d KiB before, %d KiB after", before>>10, after>>10)
	}
	require.NoError(t, n.storage.health())
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// honest stores a record, waits for the answer, and at the end reads all back.
type honest struct {
	stop func()
}

func newHonest(t *testing.T, n *Node) *honest {
	t.Helper()
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	quit := make(chan struct{})
	var wg sync.WaitGroup
	var took []time.Duration
	wg.Go(func() {
		for seq := 1; ; seq++ {
			select {
			case <-quit:
				return
			default:
			}
			time.Sleep(time.Millisecond)
			begin := time.Now()
			m, err := nc.Request("$LEAT.PUB.honest", fmt.Appendf(nil, "record %d", seq), 5*time.Second)
			took = append(took, time.Since(begin))
			if want := fmt.Sprintf(`{"stream":"honest","seq":%d}`, seq); err != nil || string(m.Data) != want {
				t.Errorf("an honest publisher got %v %+v, want %s", err, m, want)
				return
			}
		}
	})
	return &honest{stop: func() {
		close(quit)
		wg.Wait()
		inbox, err := nc.SubscribeSync(nats.NewInbox())
		if err == nil {
			err = nc.PublishRequest("$LEAT.REPLAY.honest", inbox.Subject, nil)
		}
		if err != nil {
			t.Error(err)
		}
		for i := range took {
			m, err := inbox.NextMsg(5 * time.Second)
			if err != nil || string(m.Data) != fmt.Sprintf("record %d", i+1) {
				t.Errorf("record %d reads as %+v: %v", i+1, m, err)
				break
			}
		}
		slices.Sort(took)
		t.Logf("%d honest publishes, slowest %v", len(took), took[len(took)-1])
		nc.Close()
	}}
}

func dial(t *testing.T, n *Node) net.Conn {
	t.Helper()
	var dialer net.Dialer
	c, err := dialer.DialContext(t.Context(), "tcp", n.Addr())
	require.NoError(t, err)
	require.NoError(t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return c
}

// brokenProtocol sends what no client should; each gets the error that
// nats-server words, or is cut off without one where nats-server does that.
func brokenProtocol(t *testing.T, n *Node) {
	const connect = "CONNECT {\"headers\":true}\r\n"
	for _, c := range []struct{ send, want string }{
		{connect + "PUB a 1048577\r\n", "-ERR 'Maximum Payload Violation'"},
		{connect + "PUB a 99999999999999999999\r\n", ""},
		{connect + "PUB a -1\r\n", ""},
		{connect + "PUB a 3\r\nlong\r\n", "-ERR"},
		{connect + "PUB " + strings.Repeat("a", 5000) + " 1\r\nx\r\n", "-ERR 'maximum control line exceeded'"},
		{connect + "HPUB a 20 10\r\n", ""},
		{connect + "HPUB a -5 10\r\n", ""},
		{connect + "HPUB $LEAT.PUB.h reply 12 2000000\r\n", "-ERR"},
		{connect + "SUB a..b 1\r\nPING\r\n", "-ERR 'Invalid Subject'"},
		{connect + "SUB >.a 1\r\nPING\r\n", "-ERR 'Invalid Subject'"},
		{connect + "GARBAGE\r\n", "-ERR 'Unknown Protocol Operation'"},
		{"CONNECT {{{\r\n", ""},
		{"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "-ERR"},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "-ERR"},
	} {
		conn := dial(t, n)
		_, err := io.WriteString(conn, c.send)
		require.NoError(t, err)
		var got bytes.Buffer
		buf := make([]byte, 4096)
		for c.want == "" || !strings.Contains(got.String(), c.want) {
			k, err := conn.Read(buf)
			got.Write(buf[:k])
			if err != nil {
				require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "%.60q leaves the connection open: %s", c.send, got.String())
				break
			}
		}
		require.Contains(t, got.String(), c.want, "%.60q", c.send)
		require.NoError(t, conn.Close())
	}
	// A header block that is none, within honest lengths, is refused or stored,
	// and a replay of it can be read.
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	defer nc.Close()
	inbox, err := nc.SubscribeSync(nats.NewInbox())
	require.NoError(t, err)
	conn := dial(t, n)
	for _, h := range []string{"NATS/1.0\r\n\r\n", "nonsense\r\n\r\n", "NATS/1.0\r\n:\r\n\r\n", "NATS/1.0\r\nA:\x00\xff\r\n\r\n", "\r\n"} {
		_, err := fmt.Fprintf(conn, "%sHPUB $LEAT.PUB.headers %s %d %d\r\n%sx\r\n", connect, inbox.Subject, len(h), len(h)+1, h)
		require.NoError(t, err)
		m, err := inbox.NextMsg(5 * time.Second)
		require.NoError(t, err, "%q", h)
		require.True(t, json.Valid(m.Data), "%s", m.Data)
	}
	require.NoError(t, conn.Close())
}

// garbageForSTAN sends random protobuf, cut and flipped real requests, to every
// subject of NATS Streaming.
func garbageForSTAN(t *testing.T, n *Node) {
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	defer nc.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	valid := [][]byte{
		(&pb.ConnectRequest{ClientID: []byte("c"), HeartbeatInbox: []byte("hb")}).Append(nil),
		(&pb.PubMsg{ClientID: []byte("c"), GUID: []byte("g"), Subject: []byte("foo"), Data: []byte("data")}).Append(nil),
	}
	id := n.Identity().ClusterID
	for _, subject := range []string{
		"_STAN.discover." + id, "_STAN.discover." + id + ".pings", "_STAN.pub." + id + ".foo", "_STAN.sub." + id,
		"_STAN.unsub." + id, "_STAN.subclose." + id, "_STAN.close." + id, "_STAN.pub." + id + ".a.b.c", "_STAN.nothing",
	} {
		for i := range 300 {
			data := make([]byte, rng.IntN(200))
			for k := range data {
				data[k] = byte(rng.Uint32())
			}
			if i%2 == 0 {
				data = bytes.Clone(valid[rng.IntN(len(valid))])
				data[rng.IntN(len(data))] ^= 1 << rng.IntN(8)
				data = data[:rng.IntN(len(data)+1)]
			}
			require.NoError(t, nc.PublishRequest(subject, "nobody", data))
		}
	}
	require.NoError(t, nc.Flush())
	sc, err := stan.Connect(id, "sane", stan.NatsURL("nats://"+n.Addr()))
	require.NoError(t, err)
	require.NoError(t, sc.Publish("sane", []byte("x")))
	require.Error(t, sc.Publish("not.*", []byte("x")))
	_, err = stan.Connect(id, "sane", stan.NatsURL("nats://"+n.Addr()))
	require.Error(t, err, "a client ID was given twice")
	require.NoError(t, sc.Close())
}

// garbageForAPI sends what is no JSON, or JSON that makes no sense.
func garbageForAPI(t *testing.T, n *Node) {
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	defer nc.Close()
	bodies := []string{
		"{", "null", "[]", `"x"`, "12", "{}{}", `{"no_such_field":1}`, `{"from":-1}`, `{"from":{"a":1}}`, `{"window":-5}`,
		`{"window":1e99}`, `{"count":-1}`, `{"ack_wait":"forever"}`, `{"deliver":"a.>"}`, `{"deliver":"$LEAT.PUB.loop"}`,
		`{"durable":"..."}`, `{"subjects":["$LEAT.>"]}`, `{"subjects":[">"]}`, `{"subjects":["a..b"]}`, "\x00\xff",
		strings.Repeat("[", 100_000), strings.Repeat("x", 300<<10),
	}
	subjects := []string{
		"REPLAY.honest", "REPLAY.nothing", "REPLAY...", "API.INFO", "API.NOTHING", "API.CHANNEL.LIST", "API.CHANNEL.CREATE.x",
		"API.CHANNEL.CREATE..", "API.CHANNEL.SHOW.nothing", "API.CHANNEL.SET.nothing", "API.CHANNEL.PURGE.nothing",
		"API.CHANNEL.DELETE.nothing", "API.CURSOR.SHOW.nothing.x", "API.CURSOR.RESET.nothing.x", "API.CURSOR.DELETE.nothing.x",
		"ACK.nothing", "ACK.1.2.3", "PUB.bad..name", "PUB." + strings.Repeat("x", 2000),
	}
	for _, s := range subjects {
		for _, b := range bodies {
			require.NoError(t, nc.PublishRequest("$LEAT."+s, "nobody", []byte(b)))
		}
	}
	m, err := nc.Request("$LEAT.API.INFO", nil, 5*time.Second)
	require.NoError(t, err)
	require.Contains(t, string(m.Data), `"node_id":"n1"`)
	for _, s := range []string{"API.CHANNEL.SHOW.nothing", "REPLAY.nothing", "PUB." + strings.Repeat("x", 2000)} {
		m, err := nc.Request("$LEAT."+s, nil, 5*time.Second)
		require.NoError(t, err)
		require.Contains(t, string(m.Data), `"error":{"code":4`, "%.40s: %s", s, m.Data)
	}
	for _, name := range []string{"x"} { // what a body like {} makes
		_, err := nc.Request("$LEAT.API.CHANNEL.DELETE."+name, nil, 5*time.Second)
		require.NoError(t, err)
	}
}

// manyConnections opens a thousand: some say nothing, some half a word, some
// subscribe; all go without a goodbye.
func manyConnections(t *testing.T, n *Node) {
	before := n.router.Stats().Connections
	var open []net.Conn
	for i := range 1000 {
		c := dial(t, n)
		open = append(open, c)
		_, err := io.WriteString(c, []string{
			"", "CONN", "CONNECT {}\r\nSUB a 1\r\n", "CONNECT {}\r\nPUB $LEAT.PUB.half 10\r\nhalf", "CONNECT {}\r\nPING\r\n",
		}[i%5])
		require.NoError(t, err)
		if len(open) == 250 { // within what a test may have open
			for k, c := range open {
				if k%2 == 0 {
					_ = c.(*net.TCPConn).SetLinger(0) // a reset
				}
				require.NoError(t, c.Close())
			}
			open = open[:0]
		}
	}
	require.Eventually(t, func() bool { return n.router.Stats().Connections <= before }, 10*time.Second, time.Millisecond)
}

// slowReplay asks for a long replay, never reads, and goes.
func slowReplay(t *testing.T, n *Node) {
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	defer nc.Close()
	for i := range 24 {
		_, err := nc.Request("$LEAT.PUB.long", bytes.Repeat([]byte{byte(i)}, 1<<20-1000), 10*time.Second)
		require.NoError(t, err)
	}
	before := heap()
	conn := dial(t, n)
	for i := range 8 {
		_, err = fmt.Fprintf(conn, "CONNECT {\"headers\":true}\r\nSUB d%d %d\r\nPUB $LEAT.REPLAY.long 26\r\n{\"deliver\":\"d%d\",\"meta\":\"\"}\r\n", i, i, i)
		require.NoError(t, err)
	}
	time.Sleep(300 * time.Millisecond)
	require.Less(t, heap(), before+80<<20, "the node queues what a client does not read")
	_, err = nc.Request("$LEAT.API.INFO", nil, 5*time.Second)
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	_, err = nc.Request("$LEAT.API.CHANNEL.PURGE.long", nil, 5*time.Second)
	require.NoError(t, err)
}
