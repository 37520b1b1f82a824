package record

import "errors"

var (
	// ErrShort is returned when the bytes end before the structure does. More
	// bytes may make it whole.
	ErrShort = errors.New("record: bytes end early")
	// ErrFormat is returned when a field holds what no writer puts there.
	ErrFormat = errors.New("record: malformed")
	// ErrChecksum is returned when a checksum does not match.
	ErrChecksum = errors.New("record: checksum mismatch")
	// ErrTooLarge is returned when a length is over its limit.
	ErrTooLarge = errors.New("record: over the size limit")
)
