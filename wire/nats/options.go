package nats

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ProtocolVersion is what INFO gives as the server's version unless Options say
// otherwise. Clients take the number as the feature level of the NATS protocol
// (nats.go refuses features to servers that are "too old" by it), so it is the
// version of nats-server whose protocol this package follows, not our own.
const ProtocolVersion = "2.15.2"

// Options configure a Server. The zero value is a server on 127.0.0.1:4222 that
// anyone who reaches it may use.
type Options struct {
	// Addr is the address to listen on. Default 127.0.0.1:4222; port 0 takes
	// a free one.
	Addr string
	// NoListen makes a server without a listener, which is reached through
	// InProcessConn only.
	NoListen bool

	// ServerName is shown in INFO. Default: ServerID.
	ServerName string
	// ServerID is unique among servers. Default: random.
	ServerID string
	// Version is shown in INFO. Default ProtocolVersion, which says why.
	Version string
	// GitCommit is shown in INFO if it is set.
	GitCommit string

	// PayloadBytesMax is the largest payload, headers included. Default 1 MiB,
	// at most 64 MiB.
	PayloadBytesMax int
	// ControlLineBytesMax is the longest line without its verb. Default 4096.
	ControlLineBytesMax int
	// ConnectionsMax limits connections. Default 65536.
	ConnectionsMax int
	// SubscriptionsMax limits the subscriptions of one connection. Default
	// 1,048,576: high enough for any honest client, but a limit.
	SubscriptionsMax int

	// PingInterval is how long a connection may be silent before it is
	// pinged. Default 2 minutes.
	PingInterval time.Duration
	// PingsOutMax is how many pings may be unanswered before the connection
	// is stale. Default 2.
	PingsOutMax int

	// WriteDeadline is how long one write to a client may take before the
	// client is cut off as a slow consumer. Default 10 s.
	WriteDeadline time.Duration
	// PendingBytesMax is how many bytes may wait for one client before it is
	// cut off as a slow consumer. Default 64 MiB; PROTOCOL.md says why.
	PendingBytesMax int
	// StallBytes is how many bytes may wait for a client that keeps reading
	// before those who publish to it are slowed down. Default: an eighth of
	// PendingBytesMax.
	StallBytes int

	// AuthTimeout is the time for CONNECT when it must authenticate. Default
	// 2 s.
	AuthTimeout time.Duration
	// Username and Password, or Token, are required of clients if set.
	Username, Password, Token string
	// TLSConfig makes TLS required of clients if set.
	TLSConfig *tls.Config
	// TLSTimeout is the time for the TLS handshake. Default 2 s.
	TLSTimeout time.Duration

	// Logger gets what an operator may want to know. Default: nothing is
	// logged.
	Logger *slog.Logger
	// Registerer gets the metrics. Default: none.
	Registerer prometheus.Registerer
}

const payloadBytesCeiling = 64 << 20

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	set(&o.Addr, "127.0.0.1:4222")
	set(&o.ServerID, newServerID())
	set(&o.ServerName, o.ServerID)
	set(&o.Version, ProtocolVersion)
	set(&o.PayloadBytesMax, 1<<20)
	set(&o.ControlLineBytesMax, 4096)
	set(&o.ConnectionsMax, 64<<10)
	set(&o.SubscriptionsMax, 1<<20)
	set(&o.PingInterval, 2*time.Minute)
	set(&o.PingsOutMax, 2)
	set(&o.WriteDeadline, 10*time.Second)
	set(&o.PendingBytesMax, 64<<20)
	set(&o.StallBytes, o.PendingBytesMax/8)
	set(&o.AuthTimeout, 2*time.Second)
	set(&o.TLSTimeout, 2*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// set gives *p a default.
func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Validate checks options that EnsureDefaults has filled in.
func (o *Options) Validate() error {
	switch {
	case strings.ContainsAny(o.ServerName, " \t\r\n"):
		return fmt.Errorf("nats options: server name %q must not contain white space", o.ServerName)
	case o.PayloadBytesMax < 0 || o.PayloadBytesMax > payloadBytesCeiling:
		return fmt.Errorf("nats options: maximum payload %d must be between 1 and %d bytes", o.PayloadBytesMax, payloadBytesCeiling)
	case o.ControlLineBytesMax < 64 || o.ControlLineBytesMax > 1<<20:
		return fmt.Errorf("nats options: maximum control line %d must be between 64 and %d bytes", o.ControlLineBytesMax, 1<<20)
	case o.PendingBytesMax < o.PayloadBytesMax:
		return fmt.Errorf("nats options: maximum pending %d must not be below the maximum payload %d", o.PendingBytesMax, o.PayloadBytesMax)
	case o.StallBytes < 0 || o.StallBytes > o.PendingBytesMax:
		return fmt.Errorf("nats options: stall threshold %d must be between 1 and the maximum pending %d", o.StallBytes, o.PendingBytesMax)
	case o.ConnectionsMax < 0 || o.SubscriptionsMax < 0 || o.PingsOutMax < 0:
		return errors.New("nats options: limits must not be negative")
	case o.PingInterval < 0 || o.WriteDeadline < 0 || o.AuthTimeout < 0 || o.TLSTimeout < 0:
		return errors.New("nats options: durations must not be negative")
	case o.Token != "" && o.Username != "":
		return errors.New("nats options: give a token or a username, not both")
	}
	return nil
}

func (o *Options) authRequired() bool { return o.Username != "" || o.Token != "" }
