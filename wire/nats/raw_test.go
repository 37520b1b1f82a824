package nats_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rawClient speaks the protocol by hand. It has read INFO.
type rawClient struct {
	t    testing.TB
	nc   net.Conn
	r    *bufio.Reader
	info string
}

func dialRaw(t testing.TB, addr string) *rawClient {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { nc.Close() })
	c := &rawClient{t: t, nc: nc, r: bufio.NewReader(nc)}
	c.deadline()
	c.info, err = c.r.ReadString('\n')
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(c.info, "INFO {"), c.info)
	return c
}

func (c *rawClient) deadline() { c.nc.SetDeadline(time.Now().Add(waitMax)) }

func (c *rawClient) send(s string) {
	c.t.Helper()
	c.deadline()
	_, err := io.WriteString(c.nc, s)
	require.NoError(c.t, err)
}

// expect reads exactly what is wanted.
func (c *rawClient) expect(want string) {
	c.t.Helper()
	c.deadline()
	got := make([]byte, len(want))
	n, err := io.ReadFull(c.r, got)
	require.NoError(c.t, err, "got %q", got[:n])
	require.Equal(c.t, want, string(got))
}

// rest reads until the server closes.
func (c *rawClient) rest() string {
	c.t.Helper()
	c.deadline()
	got, err := io.ReadAll(c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		require.NoError(c.t, err, "the server did not close; got %q", got)
	}
	return string(got)
}
