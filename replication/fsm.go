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
	return &fsmSnapshot{manifest: manifest{
		partition: f.group.o.Partition,
		applied:   f.group.o.Machine.Applied(),
		first:     f.group.o.Log.First(),
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
type fsmSnapshot struct{ manifest manifest }

// Persist implements raft.FSMSnapshot.
func (s *fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if own, ok := sink.(*snapshotSink); ok {
		own.local = true
		s.manifest.index, s.manifest.term = own.snap.index, own.snap.term
	}
	_, err := sink.Write(s.manifest.encode())
	return err
}

// Release implements raft.FSMSnapshot.
func (*fsmSnapshot) Release() {}
