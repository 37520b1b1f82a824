package nats_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	natsserver "github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats"
)

// script runs the commands of a file against one kind of server:
//
//	server [max_payload=N] [max_control_line=N] [max_connections=N] [max_subscriptions=N] [user=U pass=P] [token=T]
//	dial CLIENT
//	send CLIENT      each line goes out with CRLF, a trailing "\" keeps it off; Go escapes work
//	recv CLIENT      all that the client has got, up to the answer to a PING that this command sends
//	closed CLIENT    all that the client gets until the server closes
//
// INFO and the server's own PINGs are left out.
type script struct {
	t       *testing.T
	start   func(t testing.TB, args map[string]string) (addr string, stop func())
	addr    string
	stop    func()
	clients map[string]*rawClient
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	t.Helper()
	if d.Cmd == "server" {
		s.close()
		args := make(map[string]string)
		for _, a := range d.CmdArgs {
			args[a.Key] = a.Vals[0]
		}
		s.addr, s.stop = s.start(t, args)
		return ""
	}
	name := d.CmdArgs[0].Key
	switch d.Cmd {
	case "dial":
		s.clients[name] = dialRaw(t, s.addr)
		return ""
	case "send":
		var all strings.Builder
		for line := range strings.SplitSeq(d.Input, "\n") {
			end := "\r\n"
			if before, ok := strings.CutSuffix(line, `\`); ok {
				line, end = before, ""
			}
			text, err := strconv.Unquote(`"` + strings.ReplaceAll(line, `"`, `\"`) + `"`)
			require.NoError(t, err, d.Pos)
			all.WriteString(text + end)
		}
		s.clients[name].send(all.String())
		return ""
	case "recv":
		return show(s.clients[name].sync())
	case "closed":
		return show(s.clients[name].rest()) + "(closed)\n"
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (s *script) close() {
	for name, c := range s.clients {
		c.nc.Close()
		delete(s.clients, name)
	}
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
}

// sync sends a PING and reads up to its PONG. Scripts send no PINGs whose PONG
// they do not receive.
func (c *rawClient) sync() string {
	c.send("PING\r\n")
	var b strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err, "got %q", b.String()+line)
		if line == "PONG\r\n" {
			return b.String()
		}
		b.WriteString(line)
	}
}

func show(got string) string {
	var b strings.Builder
	for _, line := range strings.SplitAfter(got, "\n") {
		if line == "" || line == "PING\r\n" || strings.HasPrefix(line, "INFO {") {
			continue
		}
		fmt.Fprintln(&b, strings.Trim(strconv.Quote(strings.TrimSuffix(line, "\r\n")), `"`))
	}
	return b.String()
}

func number(t testing.TB, args map[string]string, key string) int {
	if args[key] == "" {
		return 0
	}
	n, err := strconv.Atoi(args[key])
	require.NoError(t, err)
	return n
}

func startOwn(t testing.TB, args map[string]string) (string, func()) {
	s, err := nats.Listen(nats.Options{
		Addr:                "127.0.0.1:0",
		PayloadBytesMax:     number(t, args, "max_payload"),
		ControlLineBytesMax: number(t, args, "max_control_line"),
		ConnectionsMax:      number(t, args, "max_connections"),
		SubscriptionsMax:    number(t, args, "max_subscriptions"),
		Username:            args["user"],
		Password:            args["pass"],
		Token:               args["token"],
		AuthTimeout:         100 * time.Millisecond,
	})
	require.NoError(t, err)
	s.Serve()
	return s.Addr(), func() { require.NoError(t, s.Close()) }
}

func startReal(t testing.TB, args map[string]string) (string, func()) {
	s, err := natsserver.NewServer(&natsserver.Options{
		Host:           "127.0.0.1",
		Port:           natsserver.RANDOM_PORT,
		NoSigs:         true,
		NoLog:          true,
		MaxPayload:     int32(number(t, args, "max_payload")),
		MaxControlLine: int32(number(t, args, "max_control_line")),
		MaxConn:        number(t, args, "max_connections"),
		MaxSubs:        number(t, args, "max_subscriptions"),
		Username:       args["user"],
		Password:       args["pass"],
		Authorization:  args["token"],
		AuthTimeout:    0.1,
	})
	require.NoError(t, err)
	s.Start()
	require.True(t, s.ReadyForConnections(waitMax))
	return s.Addr().String(), func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
}

// runScripts runs every file of a folder.
func runScripts(t *testing.T, folder string, start func(testing.TB, map[string]string) (string, func())) {
	datadriven.Walk(t, folder, func(t *testing.T, path string) {
		s := &script{t: t, start: start, clients: make(map[string]*rawClient)}
		defer s.close()
		datadriven.RunTest(t, path, s.run)
	})
}

func TestProtocol(t *testing.T) {
	// Aim: the protocol is nats-server's, to the byte. Method: raw scripts,
	// whose expectations TestProtocolOfNATSServer checks with a real one.
	runScripts(t, "testdata/protocol", startOwn)
}

func TestProtocolOfNATSServer(t *testing.T) {
	// Aim: what the scripts expect is what nats-server does. Method: run the
	// same files against an embedded one.
	runScripts(t, "testdata/protocol", startReal)
}

func TestProtocolDifferences(t *testing.T) {
	// Aim: where we differ from nats-server on purpose, it is as written in
	// PROTOCOL.md. Method: scripts for our server only.
	runScripts(t, "testdata/own", startOwn)
}
