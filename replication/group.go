package replication

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"leat.dev/leat/segment/vfs"
)

// soleAddress is the address of a sole voter, which nobody connects to.
const soleAddress = "local"

// A Group is the Raft group of one partition on this node. Its methods may be called from any goroutine, Propose from one
// at a time.
//
// Lock order: closing before completer.mu.
type Group struct {
	o         Options
	metrics   *metrics
	raft      *raft.Raft
	transport raft.Transport
	store     *logStore
	votes     *voteFile
	snapshots *snapshotStore
	fsm       *fsm
	queue     *completer

	payloadBytesMax int // never changes

	lead    atomic.Pointer[leadership] // nil while proposals are refused
	refusal atomic.Pointer[error]      // why the last write was refused; nil when it was not

	snapshotDue chan struct{}
	stopping    chan struct{} // closed by Close and by fail
	stopOnce    sync.Once
	loops       sync.WaitGroup // leadLoop, snapshotLoop

	failOnce sync.Once
	failed   atomic.Pointer[error]
	haltOnce sync.Once
	halted   chan struct{} // closed when a goroutine of Raft is parked
	started  chan struct{} // closed when raft is set, or will never be
	drained  chan struct{} // closed by Close when every proposal has its answer
	ended    chan struct{} // closed when a group that failed is shut down
	downOnce sync.Once

	closing sync.RWMutex
	closed  bool // guarded by closing
}

// Open starts the group: it brings the machine up to date with what is committed, and lets Raft run. Whether this node
// leads is told to the machine later.
func Open(o Options) (*Group, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	m, err := newMetrics(o.Registerer)
	if err != nil {
		return nil, fmt.Errorf("register metrics of replication: %w", err)
	}
	if err := vfs.MkdirAllSync(o.FS, o.Dir); err != nil {
		return nil, fmt.Errorf("open group of partition %d: %w", o.Partition, err)
	}
	// Names that the last run could not make sure of may be seen here and still be lost.
	if err := o.FS.SyncDir(o.Dir); err != nil {
		return nil, fmt.Errorf("open group of partition %d: %w", o.Partition, err)
	}
	o.Logger = o.Logger.With("partition", o.Partition)
	votes, err := openVoteFile(o.FS, o.Dir, o.Partition)
	if err != nil {
		return nil, fmt.Errorf("open group of partition %d: %w", o.Partition, err)
	}
	g := &Group{
		o: o, metrics: m, votes: votes, payloadBytesMax: o.Log.PayloadBytesMax(),
		snapshotDue: make(chan struct{}, 1), stopping: make(chan struct{}),
		halted: make(chan struct{}), started: make(chan struct{}), drained: make(chan struct{}), ended: make(chan struct{}),
	}
	if err := g.open(); err != nil {
		return nil, errors.Join(err, votes.close())
	}
	return g, nil
}

func (g *Group) open() error {
	snapshots, damaged, err := openSnapshots(g.o.FS, g.o.Dir, g.o.Partition)
	if err != nil {
		return fmt.Errorf("open group of partition %d: %w", g.o.Partition, err)
	}
	g.snapshots = snapshots
	r := &recovery{o: &g.o, log: g.o.Log, snapshots: snapshots, votes: g.votes, damaged: damaged}
	if err := r.bootstrap(); err != nil {
		return err
	}
	start, err := r.start()
	if err != nil {
		return err
	}
	if damaged != nil {
		g.o.Logger.Warn("a damaged snapshot is not needed and left alone", "error", damaged)
	}
	g.fsm = &fsm{group: g}
	g.fsm.applied.Store(start.index)
	g.store = &logStore{
		log: g.o.Log, halt: g.halt, fail: g.fail, refused: g.refused, wrote: g.wrote, committed: g.fsm.applied.Load,
		startCommit: start.index,
	}
	g.transport = g.o.Transport
	if g.transport == nil {
		g.transport = soleTransport()
	}
	g.queue = newCompleter(g.o.InFlightMax, g.metrics)
	if err := g.startRaft(start); err != nil {
		g.stop()
		g.queue.close()
		return fmt.Errorf("open group of partition %d: %w", g.o.Partition, err)
	}
	g.loops.Add(2)
	go g.leadLoop()
	go g.snapshotLoop()
	if g.o.Transport == nil {
		g.kick()
	}
	return nil
}

// soleTransport is one that can reach itself, for kick.
func soleTransport() raft.Transport {
	_, t := raft.NewInmemTransport(soleAddress)
	t.Connect(soleAddress, t)
	return t
}

// kick makes a sole voter a candidate at once, instead of after an election timeout. If it does not get through, the
// timeout does the same.
func (g *Group) kick() {
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(g.o.ServerID), Addr: []byte(soleAddress)}
	var resp raft.TimeoutNowResponse
	err := g.transport.TimeoutNow(raft.ServerID(g.o.ServerID), soleAddress, &raft.TimeoutNowRequest{RPCHeader: header}, &resp)
	if err != nil {
		g.o.Logger.Info("waiting for the election timeout", "error", err)
	}
}

func (g *Group) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(g.o.ServerID)
	c.HeartbeatTimeout = g.o.ElectionTimeout
	c.ElectionTimeout = g.o.ElectionTimeout
	c.LeaderLeaseTimeout = g.o.ElectionTimeout / 2
	c.CommitTimeout = g.o.ElectionTimeout / 4
	c.MaxAppendEntries = g.o.EntriesPerWriteMax
	c.BatchApplyCh = true
	c.ShutdownOnRemove = false
	c.TrailingLogs = 1 << 62
	c.SnapshotInterval = math.MaxInt64 / 4 // snapshotLoop decides; Raft draws from one to two intervals
	c.SnapshotThreshold = math.MaxUint64
	c.NoSnapshotRestoreOnStart = true
	c.RestoreCommittedLogs = true
	c.NoLegacyTelemetry = true
	c.Logger = newRaftLogger(g.o.Logger)
	return c
}

// startRaft runs NewRaft on a goroutine of its own: when an entry that it reads is damaged, it never returns.
func (g *Group) startRaft(start *snapshot) error {
	type result struct {
		raft *raft.Raft
		err  error
	}
	if start.index > 0 {
		g.snapshots.startAt(start)
		defer g.snapshots.startAt(nil)
	}
	results := make(chan result, 1)
	var abandoned atomic.Bool
	reap := func() {
		select {
		case res := <-results:
			if res.raft != nil {
				res.raft.Shutdown()
			}
		default:
		}
	}
	go func() {
		r, err := raft.NewRaft(g.config(), g.fsm, g.store, &stableStore{votes: g.votes, halt: g.halt}, g.snapshots, g.transport)
		results <- result{r, err}
		if abandoned.Load() {
			reap()
		}
	}()
	select {
	case res := <-results:
		g.raft = res.raft
		close(g.started)
		return res.err
	case <-g.halted:
		// Of the two that look for a late result, at least one sees it.
		abandoned.Store(true)
		reap()
		close(g.started)
		<-g.ended
		return g.failure()
	}
}

// refused is called by Raft's main goroutine after a write that changed nothing. Raft steps down now, and tries again after
// an election timeout.
func (g *Group) refused(err error) {
	g.lead.Store(nil)
	g.metrics.writesRefused.Inc()
	if g.refusal.Swap(&err) == nil {
		g.o.Logger.Error("the log takes no entries, proposals are refused until it does", "error", err)
	}
}

// wrote is called by Raft's main goroutine after a write that succeeded.
func (g *Group) wrote() {
	if g.refusal.Load() != nil {
		g.refusal.Store(nil)
		g.o.Logger.Info("the log takes entries again")
	}
}

// satisfy brings the machine to what a manifest covers, if the log has it. Raft's FSM goroutine calls it.
func (g *Group) satisfy(m *manifest) error {
	r := &recovery{o: &g.o, log: g.o.Log, snapshots: g.snapshots, votes: g.votes}
	if last, _ := g.o.Log.Last(); m.index > last || m.index < g.o.Log.First() {
		return fmt.Errorf("partition %d: %w: the leader's log begins behind %d, this one ends at %d", g.o.Partition,
			ErrNeedsBootstrap, m.index, last)
	}
	h, err := r.header(m.index)
	if err != nil {
		return err
	}
	if h.Term != m.term {
		// One that was never committed, of a leader that was cut off, for instance.
		return fmt.Errorf("partition %d: %w: entry %d is of term %d here and of %d at the leader", g.o.Partition,
			ErrNeedsBootstrap, m.index, h.Term, m.term)
	}
	if err := r.sameHistory(m, &h, "the leader's snapshot"); err != nil {
		return err
	}
	return r.replay(m.index)
}

// Snapshot takes a snapshot now: afterwards the log may be trimmed up to the index that Status gives. It is small and
// holds up nothing.
func (g *Group) Snapshot() error {
	if err := g.failure(); err != nil {
		return err
	}
	if g.snapshots.newest().index >= g.fsm.applied.Load() {
		return ErrNothingNew // Raft would take the same one again
	}
	err := g.raft.Snapshot().Error()
	switch {
	case err == nil:
		g.metrics.snapshots.Inc()
		return nil
	case errors.Is(err, raft.ErrNothingNewToSnapshot):
		return ErrNothingNew
	case errors.Is(err, raft.ErrRaftShutdown):
		return ErrClosed
	}
	return fmt.Errorf("take snapshot of partition %d: %w", g.o.Partition, err)
}

// Refusal says why the log takes no entries now: ErrNoSpace or ErrRefused; or nil. It does not wait.
func (g *Group) Refusal() error {
	if refusal := g.refusal.Load(); refusal != nil {
		return *refusal
	}
	return nil
}

// Status describes a group at some instant.
type Status struct {
	State    string // "follower", "candidate", "leader", "stopped"
	Term     uint64
	LeaderID string // "" when not known
	Leading  bool   // proposals are accepted here
	Full     bool   // Refusal is ErrNoSpace
	Refusal  error  // why the log takes no entries now: ErrNoSpace or ErrRefused; or nil
	First    uint64 // oldest entry of the log; Last+1 when there is none
	Last     uint64 // newest durable entry of the log
	Commit   uint64
	Applied  uint64 // last data entry that the machine has applied
	Snapshot uint64 // index of the newest snapshot
	Err      error  // why the group has stopped, or nil
}

// Status describes the group now.
func (g *Group) Status() Status {
	_, leader := g.raft.LeaderWithID()
	last, _ := g.o.Log.Last()
	s := Status{
		Term: g.raft.CurrentTerm(), LeaderID: string(leader), Leading: g.lead.Load() != nil,
		First: g.o.Log.First(), Last: last, Commit: g.raft.CommitIndex(), Applied: g.o.Machine.Applied(),
		Snapshot: g.snapshots.newest().index, Err: g.failure(),
	}
	s.Refusal = g.Refusal()
	s.Full = errors.Is(s.Refusal, ErrNoSpace)
	switch g.raft.State() {
	case raft.Follower:
		s.State = "follower"
	case raft.Candidate:
		s.State = "candidate"
	case raft.Leader:
		s.State = "leader"
	default:
		s.State = "stopped"
	}
	return s
}

func (g *Group) stop() { g.stopOnce.Do(func() { close(g.stopping) }) }

// Close ends the group, and returns when none of its goroutines is left: proposals made before get their answer first. The
// log stays open.
func (g *Group) Close() error {
	g.closing.Lock()
	if g.closed {
		g.closing.Unlock()
		return nil
	}
	g.closed = true
	g.closing.Unlock()
	g.stop()
	g.loops.Wait()
	g.queue.close()
	close(g.drained)
	g.shutdown()
	if g.failure() != nil {
		<-g.ended
	}
	g.store.close()
	return g.votes.close()
}
