package client

import "errors"

var (
	// ErrBadAck is returned when an acknowledgement is an error, is for a
	// message that has one already or was never sent, or cannot be read.
	ErrBadAck = errors.New("bad acknowledgement")

	// ErrBadRecord is returned when a delivered message is not the one that is
	// due: another content, another order, a repeat.
	ErrBadRecord = errors.New("bad record")

	// ErrLost is returned when messages were not acknowledged, stored or
	// delivered within the time allowed.
	ErrLost = errors.New("messages missing")

	// ErrProtocol is returned when a server sends what is not NATS protocol,
	// or -ERR.
	ErrProtocol = errors.New("protocol")

	// ErrUnknownJob is returned when a Job names a workload or a store that
	// does not exist.
	ErrUnknownJob = errors.New("unknown job")
)
