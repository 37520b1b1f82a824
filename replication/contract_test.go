package replication_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// stores are the LogStores that keep one contract: the library's own, as the reference, and ours.
func stores(t *testing.T) map[string]func() raft.LogStore {
	noFailure := replication.LogStoreHooks{
		Fail: func(err error) { require.NoError(t, err) }, Halt: func(err error) { require.NoError(t, err) },
	}
	return map[string]func() raft.LogStore{
		"inmem":    func() raft.LogStore { return raft.NewInmemStore() },
		"segments": func() raft.LogStore { return segmentStore(t, noFailure) },
		"fakelog":  func() raft.LogStore { return replication.NewLogStore(newFakeLog(), noFailure) },
	}
}

func raftLogs(from, to, term uint64) []*raft.Log {
	var logs []*raft.Log
	for i := from; i <= to; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: term, Type: raft.LogNoop, Data: []byte(fmt.Sprint("noop ", i, " of ", term))})
	}
	return logs
}

func bounds(t *testing.T, s raft.LogStore) [2]uint64 {
	t.Helper()
	first, err := s.FirstIndex()
	require.NoError(t, err)
	last, err := s.LastIndex()
	require.NoError(t, err)
	return [2]uint64{first, last}
}

func requireLog(t *testing.T, s raft.LogStore, want *raft.Log) {
	t.Helper()
	var got raft.Log
	require.NoError(t, s.GetLog(want.Index, &got))
	require.Equal(t, want.Index, got.Index)
	require.Equal(t, want.Term, got.Term)
	require.Equal(t, want.Type, got.Type)
	require.Equal(t, string(want.Data), string(got.Data))
	require.Equal(t, want.AppendedAt.UnixNano(), got.AppendedAt.UnixNano())
}

// requireNotFound checks for the very error that Raft compares with ==.
func requireNotFound(t *testing.T, s raft.LogStore, index uint64) {
	t.Helper()
	var l raft.Log
	require.Same(t, raft.ErrLogNotFound, s.GetLog(index, &l), "index %d: Raft compares by identity", index)
}

// Aim: our LogStore behaves as Raft expects. Method: the same steps on the library's own store and on ours.
func TestLogStoreContract(t *testing.T) {
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := open()
			require.Equal(t, [2]uint64{0, 0}, bounds(t, s))
			requireNotFound(t, s, 0)
			requireNotFound(t, s, 1)

			require.NoError(t, s.StoreLog(raftLogs(1, 1, 1)[0]))
			require.NoError(t, s.StoreLogs(raftLogs(2, 10, 1)))
			require.Equal(t, [2]uint64{1, 10}, bounds(t, s))
			for _, l := range raftLogs(1, 10, 1) {
				requireLog(t, s, l)
			}
			requireNotFound(t, s, 0)
			requireNotFound(t, s, 11)

			require.NoError(t, s.DeleteRange(8, 10))
			require.Equal(t, [2]uint64{1, 7}, bounds(t, s))
			requireNotFound(t, s, 8)
			require.NoError(t, s.StoreLogs(raftLogs(8, 12, 2)))
			requireLog(t, s, raftLogs(7, 7, 1)[0])
			requireLog(t, s, raftLogs(8, 8, 2)[0])
			require.Equal(t, [2]uint64{1, 12}, bounds(t, s))

			require.NoError(t, s.DeleteRange(1, 12))
			require.NoError(t, s.StoreLogs(raftLogs(1, 3, 3)))
			requireLog(t, s, raftLogs(3, 3, 3)[0])
		})
	}
}

// Aim: of the entry before the log's first, index and term are told, as a follower that ends there needs no more; but never of
// entry 1, which Raft would take for the entry itself and send; and no log takes what was told for an entry. Method: logs with
// a front that was dropped, the last one without an entry left; what they tell is given to another log.
func TestEntryBeforeTheFirst(t *testing.T) {
	for _, first := range []uint64{2, 3, 8, 11} {
		l := newFakeLog()
		s := replication.NewLogStore(l, replication.LogStoreHooks{Halt: func(err error) { require.NoError(t, err) }})
		require.NoError(t, s.StoreLogs(raftLogs(1, 10, 4)))
		l.trim(first)
		requireNotFound(t, s, 0)
		for i := uint64(1); i < first; i++ {
			if i != first-1 || i == 1 {
				requireNotFound(t, s, i)
				continue
			}
			requireLog(t, s, &raft.Log{Index: i, Term: 4, Type: raft.LogNoop})

			told, to := new(raft.Log), replication.NewLogStore(newFakeLog(), replication.LogStoreHooks{})
			require.NoError(t, s.GetLog(i, told))
			require.NoError(t, to.StoreLogs(raftLogs(1, i-1, 4)))
			require.Error(t, to.StoreLog(told))
			require.Equal(t, [2]uint64{1, i - 1}, bounds(t, to))
			require.NoError(t, to.StoreLogs(raftLogs(i, i, 4)), "refused, and not for good")
		}
	}
}

// Aim: every type of entry, its time and its data come back. Method: store and get each on both stores.
func TestLogStoreTypes(t *testing.T) {
	at := time.Unix(1_700_000_000, 123_456_789)
	for name, open := range stores(t) {
		t.Run(name, func(t *testing.T) {
			s := open()
			for i, typ := range []raft.LogType{raft.LogCommand, raft.LogNoop, raft.LogBarrier, raft.LogConfiguration} {
				l := &raft.Log{Index: uint64(i + 1), Term: 7, Type: typ, Data: dataPayload(i), AppendedAt: at}
				require.NoError(t, s.StoreLog(l))
				requireLog(t, s, l)
			}
		})
	}
}

// Aim: GetLog gives memory of its own. Method: overwrite what it returned, and get again.
func TestGetLogCopies(t *testing.T) {
	s := replication.NewLogStore(newFakeLog(), replication.LogStoreHooks{})
	want := raftLogs(1, 1, 1)[0]
	require.NoError(t, s.StoreLog(want))
	var l raft.Log
	require.NoError(t, s.GetLog(1, &l))
	clear(l.Data)
	requireLog(t, s, want)
}

// Aim: a gap or an overlap is refused, nothing of that write is stored, and the error stays. Method: each kind of gap on a
// store of its own.
func TestLogStoreRefusesGaps(t *testing.T) {
	for name, logs := range map[string][]*raft.Log{
		"ahead":   raftLogs(5, 6, 1),
		"overlap": raftLogs(3, 4, 1),
		"inside":  append(raftLogs(4, 4, 1), raftLogs(6, 6, 1)...),
	} {
		t.Run(name, func(t *testing.T) {
			var failed error
			s := replication.NewLogStore(newFakeLog(), replication.LogStoreHooks{Fail: func(err error) { failed = err }})
			require.NoError(t, s.StoreLogs(raftLogs(1, 3, 1)))
			err := s.StoreLogs(logs)
			require.ErrorContains(t, err, "gaps")
			require.Equal(t, err, failed)
			require.Equal(t, [2]uint64{1, 3}, bounds(t, s))
			require.Equal(t, err, s.StoreLogs(raftLogs(4, 4, 1)), "latched")
			require.Equal(t, err, s.DeleteRange(3, 3), "latched")
		})
	}
}

// Aim: a failed write is final, and a full disk is not. Method: both faults on the log below.
func TestLogStoreLatches(t *testing.T) {
	l := newFakeLog()
	var failed error
	s := replication.NewLogStore(l, replication.LogStoreHooks{Fail: func(err error) { failed = err }})
	require.NoError(t, s.StoreLogs(raftLogs(1, 3, 1)))

	l.set(func(l *fakeLog) { l.full = true })
	require.ErrorIs(t, s.StoreLogs(raftLogs(4, 5, 1)), replication.ErrNoSpace)
	require.NoError(t, failed)
	l.set(func(l *fakeLog) { l.full = false })
	require.NoError(t, s.StoreLogs(raftLogs(4, 5, 1)))

	l.set(func(l *fakeLog) { l.broken = true })
	require.ErrorIs(t, s.StoreLogs(raftLogs(6, 6, 1)), errBroken)
	require.ErrorIs(t, failed, errBroken)
	l.set(func(l *fakeLog) { l.broken, l.poisoned = false, nil })
	require.ErrorIs(t, s.StoreLogs(raftLogs(6, 6, 1)), errBroken, "even if the log would take it")
	require.Equal(t, [2]uint64{1, 5}, bounds(t, s))
	requireLog(t, s, raftLogs(5, 5, 1)[0])
}

// Aim: Raft cannot delete the front of the log, nor cut what is committed. Method: the ranges that compaction, an installed
// snapshot and a conflict would ask for.
func TestDeleteRange(t *testing.T) {
	l := newFakeLog()
	var failed error
	s := replication.NewLogStore(l, replication.LogStoreHooks{Committed: 5, Fail: func(err error) { failed = err }})
	require.NoError(t, s.StoreLogs(raftLogs(1, 10, 1)))
	for _, prefix := range [][2]uint64{{1, 1}, {1, 9}, {3, 7}, {11, 20}, {5, 4}} {
		require.NoError(t, s.DeleteRange(prefix[0], prefix[1]))
		require.Equal(t, [2]uint64{1, 10}, bounds(t, s))
	}
	require.NoError(t, s.DeleteRange(9, 10))
	require.Equal(t, [2]uint64{1, 8}, bounds(t, s))
	require.NoError(t, s.DeleteRange(6, 20), "beyond the end")
	require.Equal(t, [2]uint64{1, 5}, bounds(t, s))
	require.ErrorContains(t, s.DeleteRange(5, 5), "committed")
	require.Error(t, failed)
	require.Equal(t, [2]uint64{1, 5}, bounds(t, s))
}

// Aim: the library treats our store as one that tracks commits and is not monotonic. Method: the type assertions that it
// makes.
func TestLogStoreKind(t *testing.T) {
	s := replication.NewLogStore(newFakeLog(), replication.LogStoreHooks{Start: 42})
	_, monotonic := s.(raft.MonotonicLogStore)
	require.False(t, monotonic, "Raft would delete the whole log after a snapshot was installed")
	tracking, ok := s.(raft.CommitTrackingLogStore)
	require.True(t, ok)
	commit, err := tracking.GetCommitIndex()
	require.NoError(t, err)
	require.EqualValues(t, 42, commit)
}

// Aim: a staged commit index is stored with the next write and not before it. Method: look into the log below.
func TestStageCommitIndex(t *testing.T) {
	l := newFakeLog()
	s := replication.NewLogStore(l, replication.LogStoreHooks{}).(raft.CommitTrackingLogStore)
	require.NoError(t, s.StoreLogs(raftLogs(1, 2, 1)))
	require.NoError(t, s.StageCommitIndex(2))
	require.Equal(t, 1, l.appends)
	require.NoError(t, s.StoreLogs(raftLogs(3, 3, 1)))
	var hints []uint64
	for _, e := range l.copyEntries() {
		hints = append(hints, e.CommitHint)
	}
	require.Equal(t, []uint64{0, 0, 2}, hints)
}

// Aim: an unreadable entry is never an error to Raft, while an entry that retention took is one that does not exist.
// Method: halt panics here, where in a group it would park the caller.
func TestUnreadableEntry(t *testing.T) {
	l := newFakeLog()
	s := replication.NewLogStore(l, replication.LogStoreHooks{Halt: func(err error) { panic(err) }})
	require.NoError(t, s.StoreLogs(raftLogs(1, 5, 1)))
	l.set(func(l *fakeLog) { l.rotten[3] = true })
	func() {
		defer func() {
			err, _ := recover().(error)
			require.ErrorIs(t, err, replication.ErrDamaged)
			require.ErrorIs(t, err, errCorrupt)
		}()
		_ = s.GetLog(3, new(raft.Log))
		t.Error("GetLog returned")
	}()
	l.set(func(l *fakeLog) { l.entries[1].Type = record.FrameSyncMarker })
	require.Panics(t, func() { _ = s.GetLog(2, new(raft.Log)) }, "an entry of no type that Raft knows")
	l.trim(4)
	requireNotFound(t, s, 2)
	requireLog(t, s, raftLogs(4, 4, 1)[0])
}

// Aim: entries that a log cannot hold are refused. Method: a type of an old protocol.
func TestOldTypes(t *testing.T) {
	s := replication.NewLogStore(newFakeLog(), replication.LogStoreHooks{Fail: func(error) {}})
	err := s.StoreLog(&raft.Log{Index: 1, Term: 1, Type: raft.LogAddPeerDeprecated})
	require.Error(t, err)
	require.NotErrorIs(t, err, replication.ErrNoSpace)
}

// Aim: a write that is refused right after a suffix was deleted ends the group, since Raft's idea of the end of the log is
// wrong then. Method: delete, and a full disk; once more with a write in between.
func TestRefusalAfterCut(t *testing.T) {
	l := newFakeLog()
	var failed error
	s := replication.NewLogStore(l, replication.LogStoreHooks{Fail: func(err error) { failed = err }})
	require.NoError(t, s.StoreLogs(raftLogs(1, 5, 1)))
	require.NoError(t, s.DeleteRange(4, 5))
	require.NoError(t, s.StoreLogs(raftLogs(4, 5, 2)))
	l.set(func(l *fakeLog) { l.full = true })
	require.ErrorIs(t, s.StoreLogs(raftLogs(6, 6, 2)), replication.ErrNoSpace)
	require.NoError(t, failed)
	require.NoError(t, s.DeleteRange(5, 5))
	require.ErrorIs(t, s.StoreLogs(raftLogs(5, 5, 3)), segment.ErrNoSpace)
	require.ErrorIs(t, failed, segment.ErrNoSpace)
}
