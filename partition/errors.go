package partition

import (
	"errors"
	"fmt"
)

var (
	// ErrNoChannel is returned when a channel is named that does not exist.
	ErrNoChannel = errors.New("channel not found")
	// ErrChannelExists is returned when a channel to be created exists already
	// with other settings.
	ErrChannelExists = errors.New("channel exists already")
	// ErrChannelName is returned when a name cannot be a channel's: see
	// ValidateName.
	ErrChannelName = errors.New("invalid channel name")
	// ErrConfig is returned when a channel's settings are out of range or
	// contradict each other.
	ErrConfig = errors.New("invalid channel settings")
	// ErrSubjectTaken is returned when a subject to be bound overlaps one that
	// is bound to another channel.
	ErrSubjectTaken = errors.New("subject overlaps another channel's")
	// ErrTooLarge is returned when something to be stored is over a limit of the
	// format, or does not fit into a segment of this log: nothing was written.
	ErrTooLarge = errors.New("too large")
	// ErrNotLeader is returned when this node does not lead the partition, so
	// that nothing was written.
	ErrNotLeader = errors.New("partition has no leader here")
	// ErrUnknownOutcome is returned when it is not known whether a change was
	// written. It may still take effect.
	ErrUnknownOutcome = errors.New("outcome unknown: it may have been written")
	// ErrNoSpace is returned when the disk is full: nothing was written, and
	// publishing works again when there is room.
	ErrNoSpace = errors.New("no space left on the disk")
	// ErrClosed is returned after Close, and when the partition has stopped
	// writing for good: see Partition.Fail.
	ErrClosed = errors.New("partition is closed")
	// ErrNoCursor is returned when a cursor is named that does not exist.
	ErrNoCursor = errors.New("cursor not found")
	// ErrCorrupt is returned when stored records cannot be read back.
	ErrCorrupt = errors.New("stored records are damaged")
)

// A ChannelError adds the channel to an error.
type ChannelError struct {
	Channel string
	Err     error
}

// Error implements error.
func (e *ChannelError) Error() string { return fmt.Sprintf("channel %q: %v", e.Channel, e.Err) }

// Unwrap gives the error without the channel.
func (e *ChannelError) Unwrap() error { return e.Err }

func channelError(name string, err error) error {
	if err == nil {
		return nil
	}
	return &ChannelError{Channel: name, Err: err}
}
