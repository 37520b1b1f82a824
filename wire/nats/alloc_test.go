package nats

import (
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire"
)

// countingSink is a handler and its sink.
type countingSink struct{ msgs, bytes int }

func (s *countingSink) Attach(wire.Source) wire.Sink { return s }
func (s *countingSink) Msg(m *wire.Msg)              { s.msgs++; s.bytes += len(m.Data) }
func (s *countingSink) Flush()                       {}
func (s *countingSink) Detach()                      {}

// nullConn takes everything and gives nothing, so that a connection's paths can
// be run without a network.
type nullConn struct{ net.Conn }

func (nullConn) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (nullConn) Write(b []byte) (int, error)      { return len(b), nil }
func (nullConn) Close() error                     { return nil }
func (nullConn) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (nullConn) SetDeadline(time.Time) error      { return nil }
func (nullConn) SetReadDeadline(time.Time) error  { return nil }
func (nullConn) SetWriteDeadline(time.Time) error { return nil }

// quietServer is a server without a listener.
func quietServer(t testing.TB) *Server {
	s, err := Listen(Options{NoListen: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// idleConn is a connection whose goroutines do not run: the test does their
// work.
func idleConn(t testing.TB, s *Server, id uint64) *conn {
	c := newConn(s, id, nullConn{})
	feed(t, c, "CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n")
	return c
}

func feed(t testing.TB, c *conn, text string) {
	used, perr := c.process([]byte(text))
	require.Nil(t, perr)
	require.Equal(t, len(text), used)
}

// drain does what the write loop does.
func drain(c *conn, queue [][]byte) [][]byte {
	for len(c.out.queue) > 0 {
		queue, _ = c.out.take(queue[:0])
		n := 0
		for _, b := range queue {
			n += len(b)
			c.out.pool.put(b)
		}
		c.out.written(n)
	}
	return queue
}

func reads(msg string) []byte { return []byte(strings.Repeat(msg, 60_000/len(msg))) }

var publishes = map[string]string{
	"plain":   "PUB a.b 128\r\n" + strings.Repeat("x", 128) + "\r\n",
	"reply":   "PUB a.b re.ply 128\r\n" + strings.Repeat("x", 128) + "\r\n",
	"headers": "HPUB a.b re.ply 12 140\r\nNATS/1.0\r\n\r\n" + strings.Repeat("x", 128) + "\r\n",
	"large":   "PUB a.b 40000\r\n" + strings.Repeat("x", 40000) + "\r\n",
}

func TestRoutingDoesNotAllocate(t *testing.T) {
	// Aim: a message costs no allocation from the read buffer to a client's
	// outbox, to a handler, or out of an Outlet. Method: AllocsPerRun over
	// reads of many messages.
	for name, msg := range publishes {
		t.Run(name, func(t *testing.T) {
			s := quietServer(t)
			pub, sub := idleConn(t, s, 1), idleConn(t, s, 2)
			feed(t, sub, "SUB a.* 1\r\nSUB a.b q 2\r\n")
			sink := &countingSink{}
			_, err := s.Subscribe("a.>", sink)
			require.NoError(t, err)
			buf := reads(msg)
			var queue [][]byte
			run := func() {
				if _, perr := pub.process(buf); perr != nil {
					t.Fatal(perr)
				}
				queue = drain(sub, queue)
			}
			for range 3 {
				run()
			}
			sink.msgs = 0
			require.Less(t, testing.AllocsPerRun(100, run), allocsMax(strings.Count(string(buf), "PUB ")))
			require.Equal(t, 101*strings.Count(string(buf), "PUB "), sink.msgs)
		})
	}
	for _, width := range []int{1, 2 * wideFrom} {
		testOutletDoesNotAllocate(t, width)
	}
}

func testOutletDoesNotAllocate(t *testing.T, width int) {
	t.Run("outlet to "+strconv.Itoa(width), func(t *testing.T) {
		s := quietServer(t)
		sub := idleConn(t, s, 2)
		for i := range width {
			feed(t, sub, "SUB a.* "+strconv.Itoa(i)+"\r\n")
		}
		o := s.Outlet()
		defer o.Close()
		subj, head, body := []byte("a.b"), []byte("NATS/1.0\r\nK: v\r\n\r\n"), make([]byte, 128)
		var queue [][]byte
		run := func() {
			for range 100 {
				o.Send(subj, nil, head, body, body)
			}
			o.Flush()
			queue = drain(sub, queue)
		}
		run()
		require.Less(t, testing.AllocsPerRun(100, run), allocsMax(100*width))
	})
}

// allocsMax is what a run of so many messages may allocate: not exactly nothing,
// because collections empty the buffer pool, and the race detector makes it
// forget some.
func allocsMax(msgs int) float64 {
	if raceEnabled {
		return max(5, float64(msgs)/100)
	}
	return max(1, float64(msgs)/100)
}

func BenchmarkToHandler(b *testing.B) {
	// Measures a 128-byte publish from the read buffer to a handler.
	s := quietServer(b)
	pub := idleConn(b, s, 1)
	sink := &countingSink{}
	_, err := s.Subscribe("a.>", sink)
	require.NoError(b, err)
	benchmarkReads(b, pub, nil, reads(publishes["plain"]))
}

func BenchmarkToClient(b *testing.B) {
	// Measures publishes from the read buffer to one client's outbox.
	for _, name := range []string{"plain", "reply", "headers", "large"} {
		b.Run(name, func(b *testing.B) {
			s := quietServer(b)
			pub, sub := idleConn(b, s, 1), idleConn(b, s, 2)
			feed(b, sub, "SUB a.b 1\r\n")
			benchmarkReads(b, pub, sub, reads(publishes[name]))
		})
	}
}

// benchmarkReads counts one message as one operation.
func benchmarkReads(b *testing.B, pub, sub *conn, buf []byte) {
	perRead := strings.Count(string(buf), "PUB ")
	b.ReportAllocs()
	b.SetBytes(int64(len(buf) / perRead))
	var queue [][]byte
	for i := 0; i < b.N; i += perRead {
		if _, perr := pub.process(buf); perr != nil {
			b.Fatal(perr)
		}
		if sub != nil {
			queue = drain(sub, queue)
		}
	}
}

func BenchmarkOutlet(b *testing.B) {
	// Measures an Outlet's run of 1 KiB messages to one client's outbox.
	s := quietServer(b)
	sub := idleConn(b, s, 1)
	feed(b, sub, "SUB a.b 1\r\n")
	o := s.Outlet()
	defer o.Close()
	subj, body := []byte("a.b"), make([]byte, 1024)
	b.ReportAllocs()
	b.SetBytes(1024)
	var queue [][]byte
	for i := 0; i < b.N; i++ {
		o.Send(subj, nil, nil, body, nil)
		if i%256 == 255 {
			o.Flush()
			queue = drain(sub, queue)
		}
	}
}
