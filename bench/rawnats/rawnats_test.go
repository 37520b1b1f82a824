package rawnats_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/bench/rawnats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const info = `INFO {"server_name":"x","max_payload":1048576,"headers":true}` + "\r\n"

// server accepts one client, greets it, and then sends what it is told to. It
// returns the address, and what the client sent when that has closed.
func server(t testing.TB, greeting string, send io.Reader) (addr string, got chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	got = make(chan string, 1)
	go func() {
		defer l.Close()
		c, err := l.Accept()
		if err != nil {
			close(got)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, greeting)
		in := bufio.NewReader(c)
		var text strings.Builder
		for range 2 { // CONNECT, PING
			line, _ := in.ReadString('\n')
			text.WriteString(line)
		}
		_, _ = io.Copy(c, send)
		rest, _ := io.ReadAll(in)
		text.Write(rest)
		got <- text.String()
	}()
	return l.Addr().String(), got
}

var errEnough = errors.New("enough")

// Aim: operations of all kinds are taken apart, however they are cut into
// packets. Method: a stream with everything in it, written byte by byte and at
// once.
func TestReceive(t *testing.T) {
	big := strings.Repeat("b", 600<<10)
	stream := "PONG\r\nMSG a.b 7 5\r\nhello\r\n+OK\r\nMSG a 1 _INBOX.x 0\r\n\r\nPING\r\n" +
		"HMSG h 2 r.s 21 24\r\nNATS/1.0 204\r\nA: b\r\n\r\n123\r\n"
	stream = strings.Replace(stream, "21 24", fmt.Sprintf("%d %d", len("NATS/1.0 204\r\nA: b\r\n\r\n"), len("NATS/1.0 204\r\nA: b\r\n\r\n")+3), 1)
	for name, r := range map[string]io.Reader{
		"at once": strings.NewReader(stream + fmt.Sprintf("MSG big 1 %d\r\n%s\r\nMSG end 1 0\r\n\r\n", len(big), big)),
		"byte by byte": iotest.OneByteReader(strings.NewReader(
			stream + "MSG big 1 3\r\nbbb\r\nMSG end 1 0\r\n\r\n")),
	} {
		t.Run(name, func(t *testing.T) {
			addr, got := server(t, info+"PONG\r\n", r)
			c, err := rawnats.Dial(t.Context(), rawnats.Options{URL: addr, Name: "test"})
			require.NoError(t, err)
			require.Equal(t, 1048576, c.Info().PayloadBytesMax)
			var seen []string
			err = c.Receive(func(m *rawnats.Msg) error {
				status := ""
				if m.Header != nil {
					status = string(rawnats.EachHeader(m.Header, func(n, v []byte) { status += string(n) + "=" + string(v) }))
				}
				seen = append(seen, fmt.Sprintf("%s %d %s %s %d", m.Subject, m.SID, m.Reply, status, len(m.Data)))
				if string(m.Subject) == "end" {
					return errEnough
				}
				return nil
			}, nil)
			require.ErrorIs(t, err, errEnough)
			require.NoError(t, c.Close())
			require.Equal(t, []string{"a.b 7   5", "a 1 _INBOX.x  0", "h 2 r.s 204 3"}, seen[:3])
			require.Len(t, seen, 5)
			require.Contains(t, <-got, "PONG\r\n", "a ping is answered")
		})
	}
}

// Aim: a server that lies or refuses is an error of its kind, at once. Method:
// streams that are wrong in one way each.
func TestBadServer(t *testing.T) {
	for stream, want := range map[string]error{
		"MSG a 1 99999999999\r\n":          rawnats.ErrProtocol,
		"MSG a x 1\r\n1\r\n":               rawnats.ErrProtocol,
		"MSG a 1 1\r\n12345\r\n":           rawnats.ErrProtocol,
		"MSG a\r\n":                        rawnats.ErrProtocol,
		"MSG a b c d e f g\r\n":            rawnats.ErrProtocol,
		"HMSG a 1 9 3\r\nabc\r\n":          rawnats.ErrProtocol,
		"GET / HTTP/1.1\r\n":               rawnats.ErrProtocol,
		strings.Repeat("x", 70<<10):        rawnats.ErrProtocol,
		"-ERR 'Slow Consumer'\r\n":         rawnats.ErrServer,
		"MSG a 1 0\r\n\r\n-ERR 'Bye'\r\n":  rawnats.ErrServer,
		"MSG a -1 0\r\n":                   rawnats.ErrProtocol,
		"MSG a 1 -1\r\n":                   rawnats.ErrProtocol,
		"HMSG a 1 5\r\n":                   rawnats.ErrProtocol,
		"MSG a 1 18446744073709551615\r\n": rawnats.ErrProtocol,
	} {
		addr, got := server(t, info+"PONG\r\n", strings.NewReader(stream))
		c, err := rawnats.Dial(t.Context(), rawnats.Options{URL: addr})
		require.NoError(t, err)
		err = c.Receive(func(*rawnats.Msg) error { return nil }, nil)
		require.ErrorIs(t, err, want, "%.40q", stream)
		require.NoError(t, c.Close())
		<-got
	}
}

// Aim: what can't be dialled is told so. Method: refused greetings and bad
// addresses.
func TestDial(t *testing.T) {
	for greeting, want := range map[string]error{
		info + "-ERR 'Authorization Violation'\r\n": rawnats.ErrServer,
		"HTTP/1.1 400\r\n":                          rawnats.ErrProtocol,
		"INFO {broken\r\n":                          rawnats.ErrProtocol,
		`INFO {"tls_required":true}` + "\r\n":       rawnats.ErrURL,
	} {
		addr, got := server(t, greeting, strings.NewReader(""))
		_, err := rawnats.Dial(t.Context(), rawnats.Options{URL: "nats://u:p@" + addr})
		require.ErrorIs(t, err, want, greeting)
		<-got
	}
	for _, url := range []string{"http://x", "nats://", "://", "tls://x:1"} {
		_, err := rawnats.Dial(t.Context(), rawnats.Options{URL: url})
		require.ErrorIs(t, err, rawnats.ErrURL, url)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := rawnats.Dial(ctx, rawnats.Options{URL: "127.0.0.1:1"})
	require.Error(t, err)
}

// Aim: a server that says nothing any more is given up. Method: short patience,
// and a server that only listens.
func TestStale(t *testing.T) {
	hold, release := io.Pipe()
	addr, got := server(t, info+"PONG\r\n", hold)
	c, err := rawnats.Dial(t.Context(), rawnats.Options{URL: addr, IdleMax: 20 * time.Millisecond})
	require.NoError(t, err)
	require.ErrorIs(t, c.Receive(func(*rawnats.Msg) error { return nil }, nil), rawnats.ErrStale)
	require.NoError(t, c.Close())
	require.NoError(t, release.Close())
	require.Contains(t, <-got, "PING\r\nPING\r\n")
}

// FuzzReceive: whatever a server sends, Receive ends with an error or a message
// that lies within what was sent, and does not panic.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("MSG a 1 5\r\nhello\r\n"))
	f.Add([]byte("HMSG a 1 r 12 15\r\nNATS/1.0\r\n\r\n123\r\n"))
	f.Add([]byte("PING\r\n+OK\r\n-ERR 'x'\r\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		addr, got := server(t, info+"PONG\r\n", strings.NewReader(string(stream)+"\r\n-ERR 'end'\r\n"))
		c, err := rawnats.Dial(t.Context(), rawnats.Options{URL: addr, IdleMax: 50 * time.Millisecond})
		require.NoError(t, err)
		sum := 0
		err = c.Receive(func(m *rawnats.Msg) error {
			sum += len(m.Data) + len(m.Header)
			rawnats.EachHeader(m.Header, func(_, _ []byte) {})
			return nil
		}, nil)
		require.Error(t, err)
		require.LessOrEqual(t, sum, len(stream)+16)
		require.NoError(t, c.Close())
		<-got
	})
}
