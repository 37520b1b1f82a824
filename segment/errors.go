package segment

import (
	"errors"
	"fmt"

	"leat.dev/leat/segment/record"
)

var (
	// ErrPoisoned is returned, with the first failure wrapped, by every change
	// after a write or a sync has failed. What was under way then has an unknown
	// outcome. Close the log, look after the disk, open it again.
	ErrPoisoned = errors.New("segment: log is poisoned by an earlier failure")
	// ErrClosed is returned by changes and look-ups after Close.
	ErrClosed = errors.New("segment: log is closed")
	// ErrNotFound is returned when an index lies outside of First to Last.
	ErrNotFound = errors.New("segment: no such entry")
	// ErrGone is returned when a segment was dropped, or never was.
	ErrGone = errors.New("segment: segment is gone")
	// ErrNoSpace is returned when there is no room for the next segment. Nothing
	// was written and the log is not poisoned: try again when there is room.
	ErrNoSpace = errors.New("segment: no space for the next segment")
	// ErrOrder is returned when entries do not continue the log.
	ErrOrder = errors.New("segment: entry does not continue the log")
	// ErrTooLarge is returned when an entry does not fit into a segment.
	ErrTooLarge = errors.New("segment: entry does not fit into a segment")
	// ErrEntry is returned when an entry is not one that a log can hold.
	ErrEntry = errors.New("segment: malformed entry")
	// ErrForeign is returned when a folder belongs to another partition or
	// another cluster.
	ErrForeign = errors.New("segment: folder belongs to another log")
	// ErrCorrupt is wrapped by every CorruptionError.
	ErrCorrupt = errors.New("segment: corrupt")
)

// CorruptionError says that bytes are not what was written there. Nothing was
// changed. It wraps ErrCorrupt and, where there is one, the cause.
type CorruptionError struct {
	File      string
	Partition uint32
	Segment   record.SegmentID // 0: the manifest
	Position  int64            // in the file, bytes
	Index     uint64           // of the entry that is damaged or missing; 0 unknown
	// Tail is TailUncertain when the damage may be that of an append that was
	// never acknowledged; see Options.CutUncertain.
	Tail TailState
	Err  error
}

// Error names the file and the place.
func (e *CorruptionError) Error() string {
	s := fmt.Sprintf("segment: %s: damaged at byte %d (partition %d, segment %d", e.File, e.Position, e.Partition, e.Segment)
	if e.Index != 0 {
		s += fmt.Sprintf(", entry %d", e.Index)
	}
	s += fmt.Sprintf("): %v", e.Err)
	if e.Tail == TailUncertain {
		return s + "; it may never have been acknowledged: restore the file, or open with leave to cut an uncertain tail"
	}
	return s + "; nothing was changed: restore the file from a copy or a replica"
}

// Unwrap makes errors.Is find ErrCorrupt and the cause.
func (e *CorruptionError) Unwrap() []error { return []error{ErrCorrupt, e.Err} }

// VersionError says that a file was written by another version of the format.
type VersionError struct {
	File      string
	Got, Want uint32
}

// Error names the file and both versions.
func (e *VersionError) Error() string {
	return fmt.Sprintf("segment: %s: format version %d, this program reads version %d", e.File, e.Got, e.Want)
}
