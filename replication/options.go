package replication

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"

	"leat.dev/leat/segment/vfs"
)

// Options of a Group. The zero value with Dir, FS, Log and Machine set makes a group of one voter.
type Options struct {
	// Partition is the number of the partition. It is in the names of the files in Dir and in the files.
	Partition uint32
	// ServerID names this node in the group's configuration, for ever. Default "node".
	ServerID string
	// Dir is the folder for vote file and snapshots of all partitions. It is created if need be. Required.
	Dir string
	// FS is where Dir is. Required.
	FS vfs.FS
	// Log is the partition's log. The group does not close it. Required.
	Log Log
	// Machine is the partition's state machine. Required.
	Machine Machine

	// Transport connects the group to its peers. It must be a raft.WithPreVote, without which pre-vote is silently off, and a
	// raft.WithClose that lets no call through afterwards: that is what silences a Raft whose goroutines cannot be ended.
	// The group closes it. Default: none, for a group of one voter.
	Transport raft.Transport
	// Servers is the configuration that a node without any state starts with. It must be the same on all of them.
	// Default: this node alone. Only with a Transport.
	Servers []raft.Server

	// OnStop is called once, from a goroutine of its own, when the group has stopped for good without Close: with what is
	// ErrStopped and the cause. It may not call Close. Default: nothing, the error is logged.
	OnStop func(error)

	// EntriesPerWriteMax bounds how many proposals go into one write and sync of the log. Default 256 for a sole voter and 16
	// with a Transport, where it is also the size of a message to a follower; range 1 to 1,024.
	EntriesPerWriteMax int
	// InFlightMax bounds the proposals that are not done. Propose waits when it is reached. Default 1,024, range 1 to
	// 65,536.
	InFlightMax int
	// SnapshotEntries is after how many applied entries a snapshot is taken, at most one a second. Default 8,192, range 1
	// to 1<<30. More makes the scan of headers at start longer.
	SnapshotEntries uint64
	// SnapshotInterval is after what time one is taken if anything was applied. Default 2 min, range 1 s to 24 h.
	SnapshotInterval time.Duration
	// ElectionTimeout is how long a follower waits for its leader, and a candidate for votes. Also, after ErrNoSpace, how
	// long a sole voter waits before it tries to write again. Default 1 s, range 10 ms to 1 min.
	ElectionTimeout time.Duration

	// Logger takes the group's log. Default: none.
	Logger *slog.Logger
	// Registerer takes the group's metrics; wrap it with the partition as label. Default: none.
	Registerer prometheus.Registerer
}

// Limits and defaults of Options.
const (
	entriesPerWriteDefault        = 256
	entriesPerWriteDefaultCluster = 16
	entriesPerWriteLimit          = 1024
	inFlightDefault               = 1024
	inFlightLimit                 = 65536
	snapshotEntriesDefault        = 8192
	snapshotEntriesLimit          = 1 << 30
	snapshotIntervalDefault       = 2 * time.Minute
	electionTimeoutDefault        = time.Second
)

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.ServerID == "" {
		o.ServerID = "node"
	}
	if o.EntriesPerWriteMax == 0 {
		o.EntriesPerWriteMax = entriesPerWriteDefault
		if o.Transport != nil {
			o.EntriesPerWriteMax = entriesPerWriteDefaultCluster
		}
	}
	if o.InFlightMax == 0 {
		o.InFlightMax = inFlightDefault
	}
	if o.SnapshotEntries == 0 {
		o.SnapshotEntries = snapshotEntriesDefault
	}
	if o.SnapshotInterval == 0 {
		o.SnapshotInterval = snapshotIntervalDefault
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = electionTimeoutDefault
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate returns the first thing that is wrong.
func (o *Options) Validate() error {
	if o.Transport != nil {
		if _, ok := o.Transport.(raft.WithPreVote); !ok {
			return errors.New("replication options: Transport is no raft.WithPreVote")
		}
		if _, ok := o.Transport.(raft.WithClose); !ok {
			return errors.New("replication options: Transport is no raft.WithClose")
		}
	}
	switch {
	case o.Dir == "":
		return errors.New("replication options: Dir is not set")
	case o.FS == nil:
		return errors.New("replication options: FS is not set")
	case o.Log == nil:
		return errors.New("replication options: Log is not set")
	case o.Machine == nil:
		return errors.New("replication options: Machine is not set")
	case len(o.ServerID) > candidateBytesMax:
		return fmt.Errorf("replication options: ServerID has %d bytes, the limit is %d", len(o.ServerID), candidateBytesMax)
	case o.Transport == nil && len(o.Servers) > 0:
		return errors.New("replication options: Servers is set, Transport is not")
	case o.EntriesPerWriteMax < 1 || o.EntriesPerWriteMax > entriesPerWriteLimit:
		return fmt.Errorf("replication options: EntriesPerWriteMax is %d, want 1 to %d", o.EntriesPerWriteMax, entriesPerWriteLimit)
	case o.InFlightMax < 1 || o.InFlightMax > inFlightLimit:
		return fmt.Errorf("replication options: InFlightMax is %d, want 1 to %d", o.InFlightMax, inFlightLimit)
	case o.SnapshotEntries > snapshotEntriesLimit:
		return fmt.Errorf("replication options: SnapshotEntries is %d, want 1 to %d", o.SnapshotEntries, snapshotEntriesLimit)
	case o.SnapshotInterval < time.Second || o.SnapshotInterval > 24*time.Hour:
		return fmt.Errorf("replication options: SnapshotInterval is %v, want 1 s to 24 h", o.SnapshotInterval)
	case o.ElectionTimeout < 10*time.Millisecond || o.ElectionTimeout > time.Minute:
		return fmt.Errorf("replication options: ElectionTimeout is %v, want 10 ms to 1 min", o.ElectionTimeout)
	}
	return nil
}
