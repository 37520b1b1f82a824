package replication

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
)

// fsm is Raft's view of the machine. It implements raft.BatchingFSM; Raft calls it from one goroutine.
type fsm struct {
	group *Group

	entries   []Entry // scratch
	responses []any   // scratch, all nil; Raft reads them before the next call
	unsnapped uint64  // entries since the last snapshot was asked for

	applied atomic.Uint64 // last index of any type that was handed over
}

// ApplyBatch implements raft.BatchingFSM.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	f.entries = f.entries[:0]
	applied := f.group.o.Machine.Applied()
	for _, l := range logs {
		if l.Type != raft.LogCommand || l.Index <= applied {
			continue
		}
		e := Entry{Index: l.Index, Term: l.Term, Payload: l.Data}
		if !l.AppendedAt.IsZero() {
			e.Time = l.AppendedAt.UnixNano()
		}
		f.entries = append(f.entries, e)
	}
	if len(f.entries) > 0 {
		f.group.o.Machine.Apply(f.entries)
		f.group.metrics.applied.Add(float64(len(f.entries)))
		clear(f.entries)
	}
	f.applied.Store(logs[len(logs)-1].Index)
	if f.unsnapped += uint64(len(logs)); f.unsnapped >= f.group.o.SnapshotEntries {
		f.unsnapped = 0
		select {
		case f.group.snapshotDue <- struct{}{}:
		default:
		}
	}
	for len(f.responses) < len(logs) {
		f.responses = append(f.responses, nil)
	}
	return f.responses[:len(logs)]
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any { return f.ApplyBatch([]*raft.Log{l})[0] }

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	return &fsmSnapshot{log: f.group.o.Log, manifest: manifest{
		partition: f.group.o.Partition,
		applied:   f.group.o.Machine.Applied(),
	}}, nil
}

// Restore implements raft.FSM. Raft calls it with a snapshot that came from a leader. There is nothing in a manifest to
// restore from: either the log has what it covers, and the machine catches up from there, or the group cannot go on.
func (f *fsm) Restore(source io.ReadCloser) error {
	b, err := io.ReadAll(io.LimitReader(source, snapshotBytesMax))
	if err = errors.Join(err, source.Close()); err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	m, err := decodeManifest(b)
	if err != nil {
		return err
	}
	if err := f.group.satisfy(m); err != nil {
		f.group.fail(err)
		return err
	}
	return f.group.snapshots.complete(m.index, m.term)
}

// fsmSnapshot implements raft.FSMSnapshot.
type fsmSnapshot struct {
	log      Log
	manifest manifest
}

// Persist implements raft.FSMSnapshot. What the log has sealed is listed here and not in Snapshot, which holds up applying:
// the entries up to the snapshot's index are committed, so what is sealed of them stays as it is.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	own, ok := sink.(*snapshotSink)
	if !ok {
		return fmt.Errorf("take snapshot: a sink of type %T, want this package's", sink)
	}
	own.local = true
	m := &s.manifest
	m.index, m.term = own.snap.index, own.snap.term
	h, err := s.log.Header(m.index)
	if err != nil {
		return fmt.Errorf("take snapshot: read entry %d: %w", m.index, err)
	}
	m.chain, m.first = h.Chain, s.log.First()
	m.list(s.log.Segments())
	_, err = sink.Write(m.encode())
	return err
}

// Release implements raft.FSMSnapshot.
func (*fsmSnapshot) Release() {}
