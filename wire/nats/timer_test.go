package nats_test

import (
	"bufio"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats"
)

// inBubble runs a test of time with a client on a pipe. INFO has been read.
func inBubble(t *testing.T, opts nats.Options, test func(t *testing.T, s *nats.Server, c io.ReadWriteCloser, r *bufio.Reader)) {
	synctest.Test(t, func(t *testing.T) {
		opts.NoListen = true
		s, err := nats.Listen(opts)
		require.NoError(t, err)
		s.Serve()
		c, err := s.InProcessConn()
		require.NoError(t, err)
		r := bufio.NewReader(c)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Regexp(t, "^INFO ", line)
		test(t, s, c, r)
		c.Close()
		require.NoError(t, s.Close())
	})
}

func TestStaleConnection(t *testing.T) {
	// Aim: a silent client is pinged each interval and cut off after as many
	// pings as are allowed without an answer; an answer starts the count
	// anew. Method: false time.
	opts := nats.Options{PingInterval: time.Minute, PingsOutMax: 2}
	inBubble(t, opts, func(t *testing.T, s *nats.Server, c io.ReadWriteCloser, r *bufio.Reader) {
		start := time.Now()
		expect := func(want string, at time.Duration) {
			t.Helper()
			line, err := r.ReadString('\n')
			require.NoError(t, err)
			require.Equal(t, want, line)
			require.Equal(t, at, time.Since(start))
		}
		expect("PING\r\n", 1*time.Minute)
		_, err := io.WriteString(c, "PONG\r\n") // activity: the next one is spared
		require.NoError(t, err)
		expect("PING\r\n", 3*time.Minute)
		expect("PING\r\n", 4*time.Minute)
		expect("-ERR 'Stale Connection'\r\n", 5*time.Minute)
		_, err = r.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		synctest.Wait()
		require.EqualValues(t, 1, s.Stats().StaleConnections)
		require.Zero(t, s.Stats().Connections)
	})
}

func TestAuthTimeout(t *testing.T) {
	// Aim: a client that must authenticate and says nothing is cut off in
	// time, one that has authenticated is not. Method: false time.
	opts := nats.Options{AuthTimeout: 3 * time.Second, Token: "secret"}
	inBubble(t, opts, func(t *testing.T, s *nats.Server, c io.ReadWriteCloser, r *bufio.Reader) {
		start := time.Now()
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "-ERR 'Authentication Timeout'\r\n", line)
		require.Equal(t, 3*time.Second, time.Since(start))
	})
	inBubble(t, opts, func(t *testing.T, s *nats.Server, c io.ReadWriteCloser, r *bufio.Reader) {
		_, err := io.WriteString(c, "CONNECT {\"auth_token\":\"secret\"}\r\n")
		require.NoError(t, err)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "+OK\r\n", line)
		time.Sleep(10 * time.Second)
		_, err = io.WriteString(c, "PING\r\n")
		require.NoError(t, err)
		line, err = r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "PONG\r\n", line)
	})
}

func TestWriteDeadlineInTime(t *testing.T) {
	// Aim: the write deadline is kept to within a quarter. Method: false
	// time, a client that stops reading.
	inBubble(t, nats.Options{WriteDeadline: 8 * time.Second}, func(t *testing.T, s *nats.Server, c io.ReadWriteCloser, r *bufio.Reader) {
		_, err := io.WriteString(c, "SUB a 1\r\n")
		require.NoError(t, err)
		_, err = r.ReadString('\n') // +OK
		require.NoError(t, err)
		start := time.Now()
		s.Publish("a", "", nil, []byte("nobody reads this"))
		for s.HasInterest("a") {
			time.Sleep(100 * time.Millisecond)
		}
		require.InDelta(t, 7, time.Since(start).Seconds(), 1.2)
		require.EqualValues(t, 1, s.Stats().SlowConsumers)
	})
}
