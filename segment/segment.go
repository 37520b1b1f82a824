package segment

import (
	"fmt"
	"path/filepath"
	"sort"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// State is what a segment is to its log.
type State uint8

// The states of a segment, in the order in which it goes through them.
const (
	StatePrepared State = iota // made, empty, not in use
	StateActive                // appended to
	StateFull                  // appended to no more, not sealed yet
	StateSealed                // with a footer, listed with its hash
	StateRetired               // dropped; the file goes with the last lease
)

// String returns the name that the inspector prints.
func (s State) String() string {
	switch s {
	case StatePrepared:
		return "prepared"
	case StateActive:
		return "active"
	case StateFull:
		return "full"
	case StateSealed:
		return "sealed"
	case StateRetired:
		return "retired"
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// segment is one file of a log.
type segment struct {
	id        record.SegmentID
	path      string
	fileBytes uint32

	// Guarded by Log.mu; those from prev to records are set before the segment
	// gets into the list, and changed by appends and truncations.
	state   State
	bound   Bound
	leases  int
	prev    Tip // the entry before the first
	last    Tip
	end     uint32 // what readers may see ends here
	records uint64
	index   *memIndex // nil when foot serves
	foot    *footer   // nil until the sealed segment is loaded

	// file is open while the segment is prepared, active or full. It belongs to
	// the appender, then to the sealer.
	file vfs.File
	// mapping is set before the first lease is given and closed when none is
	// left. Guarded by Log.mu.
	mapping vfs.Mapping
	usedAt  uint64 // Log.clock when last acquired

	// As listed in the manifest, of a sealed segment. Guarded by Log.mu.
	sealedHash uint64
	sealedCRC  uint32

	// loading lets one goroutine load the segment; it waits without Log.mu.
	loading chan struct{}
}

func (l *Log) newSegment(id record.SegmentID, fileBytes uint32) *segment {
	return &segment{id: id, path: filepath.Join(l.o.Dir, segmentName(id)), fileBytes: fileBytes}
}

// first is the index of the first entry, if there is one.
func (s *segment) first() uint64 { return s.prev.Index + 1 }

// position is where an entry's frame begins. The caller knows that it is there,
// and holds Log.mu or knows the segment to be past change.
func (s *segment) position(index uint64) uint32 {
	i := int(index - s.first())
	if s.index != nil {
		return s.index.positions[i]
	}
	return s.foot.position(i)
}

// entries is how many positions there are.
func (s *segment) entries() int { return int(s.last.Index - s.prev.Index) }

// entryAt finds the entry whose frame holds the byte at pos.
func (s *segment) entryAt(pos uint32) uint64 {
	n := s.entries()
	i := sort.Search(n, func(i int) bool { return s.position(s.first()+uint64(i)) > pos })
	return s.prev.Index + uint64(i)
}

// refs lists a channel's batches.
func (s *segment) refs(ch record.ChannelID) refList {
	if s.index == nil {
		return s.foot.channel(ch)
	}
	if c := s.index.channels[ch]; c != nil {
		return refList{mem: c.refs}
	}
	return refList{}
}

func (s *segment) info() Info {
	i := Info{
		ID: s.id, Path: s.path, State: s.state, Bound: s.bound,
		First: s.first(), Last: s.last.Index, LastTerm: s.last.Term, Chain: s.last.Chain,
		Bytes: int64(s.end), FileBytes: int64(s.fileBytes), Records: s.records,
	}
	if s.state == StateSealed {
		i.Hash = s.sealedHash
	}
	return i
}

// corrupt makes the error for damage in the segment.
func (l *Log) corrupt(s *segment, pos uint32, index uint64, err error) error {
	l.metrics.corruptions.Inc()
	return &CorruptionError{
		File: s.path, Partition: l.o.Partition, Segment: s.id, Position: int64(pos), Index: index, Tail: TailCorrupt, Err: err,
	}
}

// Info describes a segment.
type Info struct {
	ID          record.SegmentID
	Path        string
	State       State
	Bound       Bound
	First, Last uint64 // Raft indexes; Last is First−1 when there is no entry
	LastTerm    uint64 // of the entry Last
	Chain       uint64 // over all entries of the log up to Last; equal on every replica
	Hash        uint64 // of this file up to its footer, once it is sealed; 0 before
	Bytes       int64  // up to the end of the last entry
	FileBytes   int64
	Records     uint64
}

// Extent is what a segment holds of one channel.
type Extent struct {
	First, Last      record.Offset
	TimeMin, TimeMax int64
	Records          uint64
	Batches          uint64
	Bytes            uint64 // of the batches as they lie in the file
}
