package peer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A Kind is a server in one configuration.
type Kind string

// The kinds. All but Core store on disk.
const (
	Leat            Kind = "leat"             // leat serve, defaults: an ack means fdatasync returned
	JetStreamLazy   Kind = "jetstream-lazy"   // nats-server, file storage, default sync_interval (2 minutes)
	JetStreamAlways Kind = "jetstream-always" // the same with sync_interval: always
	Streaming       Kind = "nats-streaming"   // nats-streaming-server, file store, defaults
	Core            Kind = "nats-server"      // nats-server without JetStream
	Bare            Kind = "bare-server"      // package bare of this program: a sync for each publish, and nothing else
)

// ClusterID is the STAN cluster id of every server here that has one; it is
// the default of stan-bench, stan-pub and stan-sub.
const ClusterID = "test-cluster"

// Program is the name of the binary that a kind runs, of those that are
// installed.
func (k Kind) Program() string {
	switch k {
	case Leat:
		return "leat"
	case Streaming:
		return "nats-streaming-server"
	default:
		return "nats-server"
	}
}

// command returns the arguments for a kind and writes what configuration it
// needs into dir.
func (k Kind) command(dir string, port, httpPort int) ([]string, error) {
	data := filepath.Join(dir, "data")
	addr := "127.0.0.1:" + strconv.Itoa(port)
	switch k {
	case Leat:
		return []string{
			"serve", "--data", data, "--listen", addr,
			"--http", "127.0.0.1:" + strconv.Itoa(httpPort), "--cluster-id", ClusterID,
		}, nil
	case Streaming:
		return []string{
			"-store", "FILE", "-dir", data, "-a", "127.0.0.1", "-p", strconv.Itoa(port), "-cid", ClusterID,
		}, nil
	case Bare:
		return []string{"bare", "--listen", addr, "--data", data}, nil
	case Core:
		return []string{"-a", "127.0.0.1", "-p", strconv.Itoa(port)}, nil
	case JetStreamLazy, JetStreamAlways:
		config := filepath.Join(dir, "nats.conf")
		return []string{"-c", config}, os.WriteFile(config, jetStreamConfig(k, data, addr), 0o600)
	default:
		return nil, fmt.Errorf("%w: %q", ErrUnknownKind, k)
	}
}

// jetStreamConfig is nats-server's configuration: as shipped, but for the one
// setting that a kind is about.
func jetStreamConfig(k Kind, data, addr string) []byte {
	sync := ""
	if k == JetStreamAlways {
		sync = "\n  sync_interval: always"
	}
	return fmt.Appendf(nil, "listen: %q\njetstream {\n  store_dir: %q%s\n}\n", addr, data, sync)
}

// ready returns nil once a server does what a kind is for.
func (k Kind) ready(ctx context.Context, url string, stan bool) error {
	nc, err := nats.Connect(url, nats.Timeout(time.Second), nats.NoReconnect())
	if err != nil {
		return err
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	switch {
	case k == JetStreamLazy || k == JetStreamAlways:
		js, err := jetstream.New(nc)
		if err != nil {
			return err
		}
		_, err = js.AccountInfo(ctx)
		return err
	case k == Streaming || (k == Leat && stan):
		// An empty connect request is refused, by a server that is up.
		_, err := nc.RequestWithContext(ctx, "_STAN.discover."+ClusterID, nil)
		if errors.Is(err, nats.ErrNoResponders) {
			return fmt.Errorf("nobody answers for STAN cluster %q: %w", ClusterID, err)
		}
		return err
	default:
		return nc.FlushWithContext(ctx)
	}
}
