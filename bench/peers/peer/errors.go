package peer

import "errors"

var (
	// ErrNotReady is returned when a server was started and did not serve
	// within the time allowed, or ended before it served.
	ErrNotReady = errors.New("server not ready")

	// ErrUnknownKind is returned when a Kind is none of the constants.
	ErrUnknownKind = errors.New("unknown kind of server")
)
