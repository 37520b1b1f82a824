package nats_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats"
)

func TestOptionsValidate(t *testing.T) {
	// Aim: defaults are valid, nonsense is refused with its name. Method: one
	// bad field each.
	var opts nats.Options
	opts.EnsureDefaults()
	require.NoError(t, opts.Validate())
	for want, change := range map[string]func(*nats.Options){
		"server name":          func(o *nats.Options) { o.ServerName = "a b" },
		"maximum payload":      func(o *nats.Options) { o.PayloadBytesMax = 65 << 20 },
		"maximum control line": func(o *nats.Options) { o.ControlLineBytesMax = 10 },
		"maximum pending":      func(o *nats.Options) { o.PendingBytesMax = 1000 },
		"stall":                func(o *nats.Options) { o.StallBytes = 1 << 30 },
		"limits":               func(o *nats.Options) { o.ConnectionsMax = -1 },
		"durations":            func(o *nats.Options) { o.PingInterval = -1 },
		"token or a username":  func(o *nats.Options) { o.Token, o.Username = "a", "b" },
	} {
		bad := opts
		change(&bad)
		require.ErrorContains(t, bad.Validate(), want)
		_, err := nats.Listen(bad)
		require.ErrorContains(t, err, want)
	}
}

func TestInfo(t *testing.T) {
	// Aim: INFO has what clients look at, and no JetStream. Method: read it
	// raw, before and after CONNECT, and compare field order with use.
	s := serve(t, nats.Options{ServerName: "node1", ServerID: "NID", GitCommit: "abc"})
	c := dialRaw(t, s.Addr())
	var info map[string]any
	parse := func(line string) {
		t.Helper()
		info = nil
		require.True(t, strings.HasSuffix(line, "} \r\n"))
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(line, "INFO ")), &info))
	}
	parse(c.info)
	host, port, err := net.SplitHostPort(s.Addr())
	require.NoError(t, err)
	require.Equal(t, host, info["host"])
	require.Equal(t, json.Number(port).String(), json.Number(strings.TrimSuffix(jsonText(t, info["port"]), ".0")).String())
	require.Equal(t, "NID", info["server_id"])
	require.Equal(t, "NID", s.ID())
	require.Equal(t, "node1", info["server_name"])
	require.Equal(t, nats.ProtocolVersion, info["version"])
	require.Equal(t, "abc", info["git_commit"])
	require.Equal(t, true, info["headers"])
	require.EqualValues(t, 1, info["proto"])
	require.EqualValues(t, 1<<20, info["max_payload"])
	require.EqualValues(t, 1, info["client_id"])
	require.Equal(t, "127.0.0.1", info["client_ip"])
	for _, not := range []string{"jetstream", "auth_required", "tls_required", "connect_info"} {
		require.NotContains(t, info, not)
	}
	c.send("CONNECT {\"verbose\":false,\"protocol\":1}\r\nPING\r\n")
	c.expect("PONG\r\n")
	line, err := c.r.ReadString('\n')
	require.NoError(t, err)
	parse(line)
	require.Equal(t, true, info["connect_info"])
	require.Equal(t, "$G", info["remote_account"])
}

func jsonText(t *testing.T, v any) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return string(b)
}

func TestTLS(t *testing.T) {
	// Aim: with a TLS configuration clients come over TLS, others do not.
	// Method: nats.go with and without the certificate, and large messages.
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	s := serve(t, nats.Options{
		Username: "u", Password: "p", TLSTimeout: 100 * time.Millisecond,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}},
	})
	nc := dial(t, s, natsgo.Secure(&tls.Config{RootCAs: pool}), natsgo.UserInfo("u", "p"))
	sub, err := nc.SubscribeSync("x")
	require.NoError(t, err)
	body := make([]byte, 500_000)
	for range 5 {
		require.NoError(t, nc.Publish("x", body))
	}
	for range 5 {
		require.Len(t, next(t, sub).Data, len(body))
	}
	_, err = natsgo.Connect(s.ClientURL(), natsgo.UserInfo("u", "p"))
	require.Error(t, err)
	_, err = natsgo.Connect(s.ClientURL(), natsgo.Secure(&tls.Config{RootCAs: pool}), natsgo.UserInfo("u", "wrong"))
	require.ErrorIs(t, err, natsgo.ErrAuthorization)
	raw := dialRaw(t, s.Addr())
	raw.send("CONNECT {}\r\n")
	raw.rest()
}

func TestMetrics(t *testing.T) {
	// Aim: metrics are registered, move, and are gone after Close. Method:
	// gather them.
	reg := prometheus.NewRegistry()
	s, err := nats.Listen(nats.Options{Addr: "127.0.0.1:0", Registerer: reg})
	require.NoError(t, err)
	s.Serve()
	nc := dial(t, s)
	require.NoError(t, nc.Publish("x", []byte("123")))
	require.NoError(t, nc.Flush())
	_, err = nats.Listen(nats.Options{Addr: "127.0.0.1:0", Registerer: reg})
	require.ErrorContains(t, err, "register metrics")
	got := make(map[string]float64)
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	require.Equal(t, 1.0, got["leat_nats_connections"])
	require.Equal(t, 1.0, got["leat_nats_in_msgs_total"])
	require.Equal(t, 3.0, got["leat_nats_in_bytes_total"])
	nc.Close()
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	families, err = reg.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
}
