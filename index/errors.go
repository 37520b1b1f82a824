package index

import (
	"errors"
	"fmt"
)

var (
	// ErrLocked is returned when the folder is in use by another process, or by another Index of this one.
	ErrLocked = errors.New("index is in use by another process: stop that process, or use another data directory")

	// ErrDamaged is returned when something read from the folder cannot be what was written. The index holds nothing that
	// cannot be derived: close it, call Destroy, and rebuild.
	ErrDamaged = errors.New("index is damaged: remove its folder, it is rebuilt from the segments")

	// ErrFailed is returned when a write of Pebble's failed, by that Commit and every later one. What was committed before
	// stays readable. The process should end; on restart the index replays.
	ErrFailed = errors.New("index has failed to write and takes no more: see the cause, then restart the node")

	// ErrClosed is returned when the index was closed before the call.
	ErrClosed = errors.New("index is closed")

	// ErrLoadInterrupted is returned by Applied when a checkpoint was being loaded when the process ended. Call Reset, then
	// load again or replay.
	ErrLoadInterrupted = errors.New("loading of a checkpoint was interrupted: reset the partition and load again")

	// ErrNotEmpty is returned when a checkpoint is loaded into a partition that has keys. Call Reset first.
	ErrNotEmpty = errors.New("partition has keys already: reset it first")

	// ErrCheckpoint is returned when a checkpoint is cut short, damaged, of another partition or of another version. The
	// partition is empty after that.
	ErrCheckpoint = errors.New("checkpoint is not usable: take it anew")

	// ErrInvalid is returned when a value given to a batch breaks a limit or contradicts itself; nothing of the batch is
	// written.
	ErrInvalid = errors.New("invalid index entry")
)

// VersionError is returned when the folder was written in another version of the key layout. It is as rebuildable as a
// damaged one, but an operator who went back to an older program may want to know first.
type VersionError struct {
	Dir       string
	Layer     string // "keys", which is ours, or "pebble"
	Got, Want uint32
}

// Error implements error.
func (e *VersionError) Error() string {
	return fmt.Sprintf("index %s has version %d of the format of its %s, this program writes %d: use the program that "+
		"wrote it, or remove the folder to rebuild it", e.Dir, e.Got, e.Layer, e.Want)
}
