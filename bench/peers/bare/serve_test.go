package bare_test

import (
	"context"
	"net"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/bench/peers/bare"
)

// Aim: nats.go's requests are acknowledged once each, in order, and counted;
// what is not understood ends the connection. Method: the real client, and a bare
// connection.
func TestServe(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- bare.Serve(ctx, addr, t.TempDir()) }()
	var nc *nats.Conn
	require.Eventually(t, func() bool {
		nc, err = nats.Connect("nats://" + addr)
		return err == nil
	}, 10*time.Second, 10*time.Millisecond)
	defer nc.Close()
	for i := range 100 {
		m, err := nc.Request("orders.new", make([]byte, i), 5*time.Second)
		require.NoError(t, err)
		require.Equal(t, `{"stream":"bare","seq":`+strconv.Itoa(i+1)+`}`, string(m.Data))
	}
	m, err := nc.Request(bare.CountSubject, nil, 5*time.Second)
	require.NoError(t, err)
	require.Equal(t, "100", string(m.Data))

	raw, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer raw.Close()
	_, err = raw.Write([]byte("HPUB a 12 12\r\n"))
	require.NoError(t, err)
	require.NoError(t, raw.SetReadDeadline(time.Now().Add(5*time.Second)))
	buf := make([]byte, 4096)
	for err == nil {
		_, err = raw.Read(buf)
	}
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded, "the connection goes on")
	cancel()
	require.NoError(t, <-done)
}
