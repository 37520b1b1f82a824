package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/admin"
	"leat.dev/leat/wire/api"
	"leat.dev/leat/wire/nats"
	"leat.dev/leat/wire/stan"
)

// Defaults of Options.
const (
	DefaultClusterID = "test-cluster" // the one that NATS Streaming clients expect
	// DefaultPartitions: see "Partitions" in DESIGN.md's decisions.
	DefaultPartitions = 4
	// DefaultDiskReserveBytes holds two memtables of the index and what else is
	// small.
	DefaultDiskReserveBytes = 64 << 20
	diskReserveShare        = 16
)

// Options says what node to run. The zero value with Dir set is a useful one.
type Options struct {
	// Dir is the data directory; it is made when missing.
	Dir string
	// Listen is the address for NATS and NATS Streaming clients,
	// "127.0.0.1:4222" by default. "-" serves no network.
	Listen string
	// HTTP is the address of the admin pages; "" serves none.
	HTTP string
	// NodeID, ClusterID and Partitions are fixed when the directory is made. A
	// value that is not zero must be the directory's.
	NodeID     string
	ClusterID  string
	Partitions int
	// SegmentBytes is the size of new segments; package segment has the default.
	SegmentBytes int64
	// FlushDelay is how far the index may lag behind; package partition has the
	// default.
	FlushDelay time.Duration
	// DiskReserveBytes is what new segments leave free on the disk, so that a
	// full one refuses publishes before it stops the index. By default 64 MiB, or
	// a sixteenth of the disk where that is less. Negative leaves nothing.
	DiskReserveBytes int64
	// AcceptDataLoss lets a start cut the end of a log when it can't be told
	// whether what is damaged there was acknowledged. Without it the start is
	// refused. It is for an operator who has decided; what was cut is logged.
	AcceptDataLoss bool
	// NATS is passed on to the router; Addr and what the node knows better are
	// set here.
	NATS nats.Options
	// STAN is passed on to the NATS Streaming front-end; what the node knows
	// better is set here.
	STAN stan.Options

	// Version is what the node says it is.
	Version string
	Logger  *slog.Logger
	// Files and IndexFiles replace the operating system's file system in tests.
	Files      vfs.FS
	IndexFiles pebblevfs.FS
	// Now is the clock, ns since 1970.
	Now func() int64
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.Listen == "" {
		o.Listen = "127.0.0.1:4222"
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Files == nil {
		o.Files = vfs.OS{}
	}
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.Version == "" {
		o.Version = "dev"
	}
}

// Validate says what is missing or out of range.
func (o *Options) Validate() error {
	switch {
	case o.Dir == "":
		return errors.New("node: Options need a Dir")
	case !validID(o.ClusterID, clusterIDBytesMax, ""):
		// Before it is written into a fresh directory for good.
		return fmt.Errorf("node: cluster ID %q: want at most %d letters, digits, '-' and '_'", o.ClusterID, clusterIDBytesMax)
	case !validID(o.NodeID, nodeIDBytesMax, ".:"):
		return fmt.Errorf("node: node ID %q: want at most %d letters, digits, '-', '_', '.' and ':'", o.NodeID, nodeIDBytesMax)
	case o.SegmentBytes != 0 && (o.SegmentBytes < segment.SegmentBytesMin || o.SegmentBytes > segment.SegmentBytesMax || o.SegmentBytes%4096 != 0):
		return fmt.Errorf("node: segments of %d bytes, want a multiple of 4096 from %d to %d",
			o.SegmentBytes, segment.SegmentBytesMin, segment.SegmentBytesMax)
	case o.Partitions < 0 || o.Partitions > partitionsMax:
		return fmt.Errorf("node: %d partitions, want 1 to %d", o.Partitions, partitionsMax)
	}
	return nil
}

// Limits of what NODE says for good.
const (
	clusterIDBytesMax = segment.ClusterIDBytesMax
	nodeIDBytesMax    = 64
)

// validID tells whether an ID is left open, or can be part of subjects and file
// headers.
func validID(id string, bytesMax int, more string) bool {
	for i := range len(id) {
		c := id[i]
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') && c != '-' && c != '_' && strings.IndexByte(more, c) < 0 {
			return false
		}
	}
	return len(id) <= bytesMax
}

// Node is a running storage node. Its methods may be called at once.
type Node struct {
	opts    Options
	storage *storage
	metrics *prometheus.Registry
	router  *nats.Server
	http    net.Listener // admin's, from before there is one; nil: none
	api     *api.Frontend
	stan    *stan.Frontend
	admin   *admin.Server
}

// Open starts a node: when it returns, every acknowledged record can be read,
// publishes are taken, and clients are served.
func Open(o Options) (n *Node, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	n = &Node{opts: o, metrics: prometheus.NewRegistry()}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
			n = nil
		}
	}()
	// The ports first: that another node runs is a clearer answer than that its
	// directory is locked, and no directory is made for a node that can't be.
	if err := n.listen(); err != nil {
		return n, err
	}
	if n.storage, err = openStorage(&o, n.metrics); err != nil {
		return n, err
	}
	if err := n.storage.awaitLeading(10 * time.Second); err != nil {
		return n, err
	}
	if err := n.serve(); err != nil {
		return n, err
	}
	o.Logger.Info("the node is ready", "listen", n.Addr(), "http", n.HTTPAddr(), "data", o.Dir,
		"node", n.Identity().NodeID, "cluster", n.Identity().ClusterID, "partitions", n.Identity().Partitions)
	return n, nil
}

func (n *Node) listen() error {
	ro := n.opts.NATS
	ro.Addr, ro.NoListen = n.opts.Listen, n.opts.Listen == "-"
	ro.Logger, ro.Registerer = n.opts.Logger, n.metrics
	router, err := nats.Listen(ro)
	if err != nil {
		return fmt.Errorf("listen for clients: %w", err)
	}
	n.router = router
	if n.opts.HTTP != "" {
		n.http, err = admin.Listen(n.opts.HTTP)
	}
	return err
}

func (n *Node) serve() (err error) {
	id := n.storage.identity
	if n.api, err = api.Open(api.Options{
		Bus: n.router, Store: n.storage.set, Logger: n.opts.Logger,
		Node: api.NodeInfo{NodeID: id.NodeID, ClusterID: id.ClusterID, Version: n.opts.Version, Partitions: id.Partitions},
	}); err != nil {
		return err
	}
	so := n.opts.STAN
	so.Bus, so.Store, so.ClusterID, so.Logger = n.router, n.storage.set, id.ClusterID, n.opts.Logger
	if n.stan, err = stan.Open(so); err != nil {
		return err
	}
	if n.http != nil {
		if n.admin, err = admin.Serve(admin.Options{
			Listener: n.http, Health: n.storage.health, Pages: n.pages(), Gatherer: n.metrics, Logger: n.opts.Logger,
		}); err != nil {
			return err
		}
	}
	n.router.Serve()
	return nil
}

// closeGrace is how long Close lets publishes that wait be stored. What waits
// longer is refused.
const closeGrace = 2 * time.Second

// Close stops the node: clients are cut off after what is queued for them is
// written, what was acknowledged is on disk.
func (n *Node) Close() error {
	var errs []error
	switch {
	case n.admin != nil:
		errs = append(errs, n.admin.Close())
	case n.http != nil:
		errs = append(errs, n.http.Close())
	}
	if n.storage != nil {
		// The front-ends wait for what was given to the partitions, which on a
		// slow disk is a lot.
		impatience := time.AfterFunc(closeGrace, n.storage.refuse)
		defer impatience.Stop()
	}
	if n.stan != nil {
		n.stan.Close()
	}
	if n.api != nil {
		n.api.Close()
	}
	if n.storage != nil {
		// Before the router: it answers appends that a reading connection
		// waits for.
		errs = append(errs, n.storage.close())
	}
	if n.router != nil {
		errs = append(errs, n.router.Close())
	}
	return errors.Join(errs...)
}

// Addr is the address that clients are served on.
func (n *Node) Addr() string { return n.router.Addr() }

// HTTPAddr is the address of the admin pages, "" when there are none.
func (n *Node) HTTPAddr() string {
	if n.admin == nil {
		return ""
	}
	return n.admin.Addr().String()
}

// Identity is who the node is.
func (n *Node) Identity() Identity { return n.storage.identity }

// Store is what the node stores.
func (n *Node) Store() *partition.Set { return n.storage.set }

// Router is the node's NATS server.
func (n *Node) Router() *nats.Server { return n.router }
