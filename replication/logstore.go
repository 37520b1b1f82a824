package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// logStore is Raft's view of the log. It implements raft.CommitTrackingLogStore, and does not implement
// raft.MonotonicLogStore, after whose snapshots Raft deletes the whole log: gaps are refused all the same.
//
// termGuard. A proposer computes offsets from the state that its entry will find. That holds as long as all its earlier
// proposals of the same leadership are in the log. Raft does not care: a proposal that waits in its queue while the node
// loses the leadership and wins it again goes into the log of the new term, behind proposals that were refused. So each
// proposal carries the term that it was made in, as Log.Extensions, and StoreLogs refuses a write with another one. On a
// follower the two are always equal, since its leader has checked.
type logStore struct {
	log     Log
	halt    func(error) // stops the group; the caller is parked
	fail    func(error) // stops the group after a failed write
	refused func(error) // a write was refused, the log is as it was
	wrote   func()      // a write succeeded
	// committed is an index up to which entries are known to be committed.
	committed func() uint64

	// Used by Raft's main goroutine only.
	staged  uint64
	entries []LogEntry
	latched error
	cut     bool // a suffix was deleted and nothing written since

	startCommit uint64 // set before Raft starts

	// mu keeps Close from returning while a goroutine that Raft does not wait for reads the log.
	mu     sync.RWMutex
	closed atomic.Bool // set with mu held
}

// FirstIndex implements raft.LogStore.
func (s *logStore) FirstIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed.Load() {
		return 0, raft.ErrRaftShutdown
	}
	first, _ := s.bounds()
	return first, nil
}

// LastIndex implements raft.LogStore.
func (s *logStore) LastIndex() (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed.Load() {
		return 0, raft.ErrRaftShutdown
	}
	_, last := s.bounds()
	return last, nil
}

// bounds are those of the log as Raft wants them: both 0 when it is empty.
func (s *logStore) bounds() (first, last uint64) {
	// First is read before Last: retention may raise the one and appends the other, so what is between them is there.
	first = s.log.First()
	last, _ = s.log.Last()
	if first > last {
		return 0, 0
	}
	return first, last
}

// GetLog implements raft.LogStore. Outside of the log it returns raft.ErrLogNotFound itself, which Raft compares, but for
// the entry before the first; see edge. Any other failure does not return.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	err := s.get(index, l)
	if err == nil || err == raft.ErrLogNotFound || err == raft.ErrRaftShutdown { //nolint:errorlint // Raft compares, too.
		return err
	}
	s.halt(err)
	return err
}

func (s *logStore) get(index uint64, l *raft.Log) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed.Load() {
		return raft.ErrRaftShutdown
	}
	if !s.has(index) {
		return s.edge(index, l)
	}
	// Raft never says when it is done with the data, so it gets memory of its own.
	e, _, err := s.log.Entry(index, nil)
	if err == nil {
		return toRaft(&e, l)
	}
	if !s.has(index) {
		// Retention was faster.
		return raft.ErrLogNotFound
	}
	return fmt.Errorf("%w: read entry %d: %w", ErrDamaged, index, err)
}

// edge answers for the entry before the first one. A leader looks its term up for a follower whose log ends there, and would
// send a snapshot to one that lacks nothing of what the leader has. Index and term are all that is left of the entry, which
// is enough for that. When retention moves the front while a leader collects entries, it may meet the answer as an entry to
// send. So it is marked, and no log takes it. For entry 1 there is none: Raft asks for nothing before it sends that.
func (s *logStore) edge(index uint64, l *raft.Log) error {
	base := s.log.Base()
	if index < 2 || index != base.Index {
		return raft.ErrLogNotFound
	}
	*l = raft.Log{Index: base.Index, Term: base.Term, Type: raft.LogNoop, Extensions: []byte(edgeMark)}
	return nil
}

func (s *logStore) has(index uint64) bool {
	first, last := s.bounds()
	return first != 0 && index >= first && index <= last
}

func toRaft(e *LogEntry, l *raft.Log) error {
	*l = raft.Log{Index: e.Index, Term: e.Term, Data: e.Payload}
	if e.Time != 0 {
		l.AppendedAt = time.Unix(0, e.Time)
	}
	switch e.Type {
	case record.FrameData:
		l.Type = raft.LogCommand
	case record.FrameNoop:
		l.Type = raft.LogNoop
	case record.FrameBarrier:
		l.Type = raft.LogBarrier
	case record.FrameConfiguration:
		l.Type = raft.LogConfiguration
	default:
		return fmt.Errorf("%w: entry %d has type %v", ErrDamaged, e.Index, e.Type)
	}
	return nil
}

func fromRaft(l *raft.Log) (LogEntry, error) {
	e := LogEntry{Index: l.Index, Term: l.Term, Payload: l.Data}
	if !l.AppendedAt.IsZero() {
		e.Time = l.AppendedAt.UnixNano()
	}
	switch l.Type {
	case raft.LogCommand:
		e.Type = record.FrameData
	case raft.LogNoop:
		e.Type = record.FrameNoop
	case raft.LogBarrier:
		e.Type = record.FrameBarrier
	case raft.LogConfiguration:
		e.Type = record.FrameConfiguration
	default:
		return LogEntry{}, fmt.Errorf("store entry %d: type %v is of an older protocol", l.Index, l.Type)
	}
	return e, nil
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore: all or none, and durable on return. After an error which leaves that open, every later
// change gets the same error.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if s.latched != nil {
		return s.latched
	}
	if s.closed.Load() {
		return raft.ErrRaftShutdown
	}
	if len(logs) == 0 {
		return nil
	}
	if err := s.take(logs); err != nil {
		return err
	}
	err := s.log.Append(s.entries)
	clear(s.entries) // do not keep payloads alive
	switch {
	case err == nil:
		s.cut = false
		s.wrote()
		return nil
	case errors.Is(err, segment.ErrPoisoned), errors.Is(err, segment.ErrOrder), errors.Is(err, segment.ErrClosed):
		return s.latch(fmt.Errorf("store entries from %d on: %w", logs[0].Index, err))
	case s.cut:
		// Raft still thinks that the entries just deleted are there, since it learns of the end of the log only from a
		// write that succeeds. It would refuse its leader for ever; a restart sets it right.
		return s.latch(fmt.Errorf("store entries from %d on, in place of deleted ones: %w", logs[0].Index, err))
	case errors.Is(err, segment.ErrNoSpace):
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	default:
		err = fmt.Errorf("%w: %w", ErrRefused, err)
	}
	s.refused(err)
	return err
}

// take checks entries and translates them.
func (s *logStore) take(logs []*raft.Log) error {
	last, _ := s.log.Last()
	s.entries = s.entries[:0]
	for i, l := range logs {
		if want := last + 1 + uint64(i); l.Index != want {
			return s.latch(fmt.Errorf("store entries: index %d, want %d: the log must not have gaps", l.Index, want))
		}
		if l.Type == raft.LogCommand && !sameTerm(l) {
			return errStaleTerm
		}
		if string(l.Extensions) == edgeMark {
			err := fmt.Errorf("store entry %d: its leader has only index and term of it left", l.Index)
			if s.cut {
				return s.latch(err) // as in StoreLogs
			}
			return err // the leader will find out that it has not got the entry
		}
		e, err := fromRaft(l)
		if err != nil {
			return s.latch(err)
		}
		e.CommitHint = s.staged
		s.entries = append(s.entries, e)
	}
	return nil
}

func (s *logStore) latch(err error) error {
	s.latched = err
	s.fail(err)
	return err
}

const (
	termBytes = 8
	edgeMark  = "edge" // as Log.Extensions; see edge
)

// sameTerm tells whether a proposal, if it says which term it was made in, is in that term.
func sameTerm(l *raft.Log) bool {
	return len(l.Extensions) != termBytes || binary.LittleEndian.Uint64(l.Extensions) == l.Term
}

// DeleteRange implements raft.LogStore. A range that reaches to the end of the log is cut off, unless some of it is known
// to be committed: then the protocol is broken somewhere, and the group stops. Any other range is the front of the log.
// Retention is the owner's, so nothing is done; Raft does not ask for it, since TrailingLogs is beyond any index.
func (s *logStore) DeleteRange(minIndex, maxIndex uint64) error {
	if s.latched != nil {
		return s.latched
	}
	first, last := s.bounds()
	if minIndex > maxIndex || minIndex > last || maxIndex < last || last == 0 {
		return nil
	}
	if committed := s.committed(); minIndex <= committed {
		return s.latch(fmt.Errorf("delete entries from %d on: those up to %d are committed", minIndex, committed))
	}
	if err := s.log.TruncateSuffix(max(minIndex, first)); err != nil {
		// Raft goes on as if they were gone.
		return s.latch(fmt.Errorf("delete entries from %d on: %w", minIndex, err))
	}
	s.cut = true
	return nil
}

// StageCommitIndex implements raft.CommitTrackingLogStore: the index goes into the headers of the next write.
func (s *logStore) StageCommitIndex(index uint64) error {
	s.staged = index
	return nil
}

// GetCommitIndex implements raft.CommitTrackingLogStore. What is known to be committed was applied before Raft exists, so
// there is nothing to restore above where Raft starts from; a higher index makes v1.8.0 hang.
func (s *logStore) GetCommitIndex() (uint64, error) { return s.startCommit, nil }

// close makes every later call fail and waits for those under way. Raft's main goroutine has ended, or is parked.
func (s *logStore) close() {
	s.mu.Lock()
	s.closed.Store(true)
	s.mu.Unlock()
}
