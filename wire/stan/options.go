package stan

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire"
)

// DefaultClusterID is what clients ask for unless they were told otherwise.
const DefaultClusterID = "test-cluster"

// Options says what the front-end serves. Bus and Store are needed.
type Options struct {
	Bus   wire.Bus
	Store *partition.Set

	// ClusterID is part of every subject; letters, digits, '-' and '_'.
	// Default DefaultClusterID.
	ClusterID string
	// DiscoverPrefix begins the subject of connect requests. Default
	// "_STAN.discover".
	DiscoverPrefix string

	// HeartbeatInterval is how often a client is asked whether it lives;
	// HeartbeatTimeout how long it has to answer; it is closed when it did not
	// more than HeartbeatFailMax times in a row. Defaults 30 s, 10 s and 10,
	// those of the streaming server.
	HeartbeatInterval time.Duration
	HeartbeatTimeout  time.Duration
	HeartbeatFailMax  int

	// ChannelsMax limits channels that publishes and subscriptions may make;
	// those that exist are served all the same. Default 100, the streaming
	// server's; negative is no limit.
	ChannelsMax int
	// SubscriptionsMax limits a channel's subscriptions, durables that are
	// offline included. Default 1,000; negative is no limit.
	SubscriptionsMax int
	// ReplaceDurable lets a durable subscription take the place of one of the
	// same name that is online, instead of being refused.
	ReplaceDurable bool

	// ProbeTimeout is how long an older client of the same ID has to show that
	// it lives when a new one connects. Default 500 ms.
	ProbeTimeout time.Duration

	Logger *slog.Logger
	Now    func() time.Time
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	set(&o.ClusterID, DefaultClusterID)
	set(&o.DiscoverPrefix, "_STAN.discover")
	set(&o.HeartbeatInterval, 30*time.Second)
	set(&o.HeartbeatTimeout, 10*time.Second)
	set(&o.HeartbeatFailMax, 10)
	set(&o.ChannelsMax, 100)
	set(&o.SubscriptionsMax, 1000)
	set(&o.ProbeTimeout, 500*time.Millisecond)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

func set[T comparable](p *T, value T) {
	var zero T
	if *p == zero {
		*p = value
	}
}

// Validate says what is missing or out of range.
func (o *Options) Validate() error {
	switch {
	case o.Bus == nil || o.Store == nil:
		return errors.New("stan: Options need a Bus and a Store")
	case !validClientID([]byte(o.ClusterID)):
		return fmt.Errorf("stan: cluster ID %q: want letters, digits, '-' and '_' only", o.ClusterID)
	case partition.ValidateName(o.DiscoverPrefix) != nil:
		return fmt.Errorf("stan: discover prefix %q is no NATS subject", o.DiscoverPrefix)
	case o.HeartbeatInterval < 0 || o.HeartbeatTimeout < 0 || o.HeartbeatFailMax < 0 || o.ProbeTimeout < 0:
		return errors.New("stan: heartbeat settings must not be negative")
	}
	return nil
}
