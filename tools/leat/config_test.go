package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/tools/node"
)

// settled gives what `leat serve` with a configuration file and flags comes to.
func settled(t *testing.T, text string, flags ...string) (*serveCommand, []string, error) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "leat.conf")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	s := &serveCommand{}
	c := s.command()
	require.NoError(t, c.ParseFlags(append(flags, "--config", name)))
	passedOver, err := s.settle(c)
	return s, passedOver, err
}

// Aim: files of the two servers, and one of Leat's own, mean what they say.
// Method: a file with every setting that has an effect, and one of each that is
// passed over.
func TestConfig(t *testing.T) {
	s, passedOver, err := settled(t, `
# as nats-server has it
SIZE = 2MB
host: 0.0.0.0, port: 4333
http_port: 8333
server_name: mill
max_payload: $SIZE; max_control_line: 2KB
max_pending: 32MB
max_connections: 100
max_subscriptions: 50
ping_interval: "20s"
ping_max: 3
write_deadline: 5
authorization { user: derek, password: T0pS3cr3t, timeout: 1.5 }
jetstream: enabled
cluster { name: c, listen: "127.0.0.1:6222" }
streaming {
  cluster_id: my-cluster
  store: file, dir: /tmp/nowhere
  hb_interval: 10s, hb_timeout: "2s", hb_fail_count: 2
  replace_durable: true
  store_limits { max_channels: 7, max_msgs: 10 }
}
leat { data: /var/lib/leat, node_id: n1, partitions: 8, segment_mib: 64, log_level: warn, log_format: json }
`)
	require.NoError(t, err)
	o := &s.options
	require.Equal(t, "0.0.0.0:4333", o.Listen)
	require.Equal(t, "127.0.0.1:8333", o.HTTP, "open to nobody who was not asked")
	require.Equal(t, node.Options{
		Dir: "/var/lib/leat", Listen: o.Listen, HTTP: o.HTTP, NodeID: "n1", ClusterID: "my-cluster", Partitions: 8,
		SegmentBytes: 64 << 20, NATS: o.NATS, STAN: o.STAN,
	}, *o)
	require.Equal(t, "mill", o.NATS.ServerName)
	require.Equal(t, []int{2 << 20, 2 << 10, 32 << 20, 100, 50, 3}, []int{
		o.NATS.PayloadBytesMax, o.NATS.ControlLineBytesMax, o.NATS.PendingBytesMax, o.NATS.ConnectionsMax,
		o.NATS.SubscriptionsMax, o.NATS.PingsOutMax,
	})
	require.Equal(t, []string{"derek", "T0pS3cr3t"}, []string{o.NATS.Username, o.NATS.Password})
	require.Equal(t, []time.Duration{20 * time.Second, 5 * time.Second, 1500 * time.Millisecond},
		[]time.Duration{o.NATS.PingInterval, o.NATS.WriteDeadline, o.NATS.AuthTimeout})
	require.Equal(t, []time.Duration{10 * time.Second, 2 * time.Second},
		[]time.Duration{o.STAN.HeartbeatInterval, o.STAN.HeartbeatTimeout})
	require.Equal(t, []int{2, 7}, []int{o.STAN.HeartbeatFailMax, o.STAN.ChannelsMax})
	require.True(t, o.STAN.ReplaceDurable)
	require.Equal(t, logSettings{"warn", "json"}, s.log)
	require.Equal(t, []string{"cluster", "jetstream", "streaming.dir", "streaming.store", "streaming.store_limits.max_msgs"}, passedOver)
}

// Aim: a flag has the last word, and what is neither in the file nor a flag has
// its default. Method: files that say otherwise, or nothing.
func TestConfigAndFlags(t *testing.T) {
	s, _, err := settled(t, `listen: "127.0.0.1:4333", streaming { store_limits { max_channels: 0 } }, leat { data: a, partitions: 8, segment_mib: 8 }`,
		"--data", "b", "--partitions", "2", "--segment-mib", "16", "--http", "")
	require.NoError(t, err)
	o := &s.options
	require.Equal(t, node.Options{
		Dir: "b", Listen: "127.0.0.1:4333", Partitions: 2, SegmentBytes: 16 << 20, STAN: o.STAN,
	}, *o)
	require.Equal(t, -1, o.STAN.ChannelsMax, "0 is no limit, as the streaming server has it")
	s, _, err = settled(t, "")
	require.NoError(t, err)
	require.Equal(t, []string{"./leat-data", "127.0.0.1:4222", "127.0.0.1:8222"}, []string{s.options.Dir, s.options.Listen, s.options.HTTP})
	s, _, err = settled(t, "port: 4333")
	require.NoError(t, err)
	require.Equal(t, ":4333", s.options.Listen, "to every host, as nats-server has it")
}

// Aim: a file that can't be meant is refused, with what and where, and so is one
// that would leave the node less protected than it says. Method: one of each.
func TestConfigRefused(t *testing.T) {
	for text, want := range map[string]string{
		"port: 4222\nnonsense: 1":                   "line 2: nonsense: leat knows no such setting",
		"leat {\n data: x\n nonsense: 1\n}":         "line 3: leat.nonsense",
		"tls { cert_file: a }":                      "who may come in",
		"accounts { A { users = [] } }":             "who may come in",
		"authorization { users = [ { user: a } ] }": "authorization.users",
		"port: x":                              "want a port",
		"port: 70000":                          "want a port",
		"listen: here":                         "missing port",
		"max_payload: -1":                      "want a number",
		"ping_interval: soon":                  "invalid duration",
		"debug: 3":                             "want true or false",
		"leat: 3":                              "want a block",
		"leat { segment_mib: 99999999999999 }": "1 to 1024",
		"leat { data: '' }":                    "--data: want a folder",
		"port: 4222 {":                         "leat.conf",
		"max_payload: $NOT_SET_ANYWHERE":       "NOT_SET_ANYWHERE",
		"streaming { hb_interval: \"-1s\" }":   "want a duration from 0 on",
		"server_name: true":                    "want text",
	} {
		_, _, err := settled(t, text)
		require.ErrorContains(t, err, want, text)
	}
	r := leat(t, nil, "serve", "--config", filepath.Join(t.TempDir(), "none"))
	require.Equal(t, 1, r.code)
	require.Contains(t, r.err, "no such file")
}

// Aim: the whole way, from the file to a node that asks for a password, and back
// to an orderly end. Method: the command with a context that is cut off.
func TestServeWithConfig(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "leat.conf")
	require.NoError(t, os.WriteFile(name, []byte(`
listen: "127.0.0.1:0", http: "127.0.0.1:0", mqtt { port: 1883 }
authorization { user: me, password: secret }
leat { data: "`+filepath.Join(dir, "data")+`", partitions: 1, segment_mib: 1 }`), 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	r := leatContext(ctx, nil, "serve", "--config", name)
	require.Equal(t, 0, r.code, r.err)
	for _, want := range []string{"msg=\"leat starts\"", "setting=mqtt", "the node is ready", "the node stops", "the node has stopped"} {
		require.Equal(t, 1, strings.Count(r.err, want), "%s in\n%s", want, r.err)
	}
	require.NoFileExists(t, "leat-data")
}
