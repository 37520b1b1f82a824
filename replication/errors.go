package replication

import "errors"

var (
	// ErrNotLeader is returned when this node does not lead the group, or not any more. The entry was surely not written.
	ErrNotLeader = errors.New("replication: not the leader")
	// ErrNoSpace is returned when the disk is full. The entry was surely not written. The group leads again by itself when
	// there is room.
	ErrNoSpace = errors.New("replication: no space for the log")
	// ErrRefused is returned when the log could not take an entry for another reason and is as it was. The entry was surely
	// not written. The group tries again by itself, as after ErrNoSpace.
	ErrRefused = errors.New("replication: the log refused the entry")
	// ErrOutcomeUnknown is returned when the group cannot tell whether an entry was written. It may be applied later.
	ErrOutcomeUnknown = errors.New("replication: outcome unknown")
	// ErrClosed is returned when the group is closed. The entry was surely not written.
	ErrClosed = errors.New("replication: group is closed")
	// ErrStopped is returned, with the cause wrapped, when the group has stopped for good: its log or its vote file
	// failed, or an entry is damaged. Entries proposed after that were not written. What is in the log can be read on.
	ErrStopped = errors.New("replication: group has stopped")
	// ErrLogLost is returned when the log ends before what was applied, or is empty where there was one. The node must
	// not go on: restore the partition's folder, or replace the node in its cluster.
	ErrLogLost = errors.New("replication: entries are missing at the end of the log")
	// ErrNeedsBootstrap is returned when the machine lacks entries that the log does not hold any more.
	ErrNeedsBootstrap = errors.New("replication: entries before the log's first are needed")
	// ErrForked is returned when the log has another history than a snapshot says: entries at the same place differ. One
	// of the two is not of this partition's life; the node must not go on with either.
	ErrForked = errors.New("replication: log and snapshot have different histories")
	// ErrVoteLost is returned when the vote file is missing or damaged where there must be one. A voter that forgot its
	// vote could vote twice.
	ErrVoteLost = errors.New("replication: term and vote are lost")
	// ErrDamaged is returned when an entry of the log or a file under raft/ cannot be read or fails its checks.
	ErrDamaged = errors.New("replication: damaged")
	// ErrTooLarge is returned when a payload is larger than an entry can be. The entry was not written.
	ErrTooLarge = errors.New("replication: payload is too large for an entry")
	// ErrNothingNew is returned when a snapshot is asked for and nothing was applied since the last one.
	ErrNothingNew = errors.New("replication: nothing new to snapshot")

	// errStaleTerm is what Raft gets for proposals of an earlier term; the proposer gets ErrNotLeader.
	errStaleTerm = errors.New("replication: proposal of an earlier term")
)
