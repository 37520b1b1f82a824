package cursor

import "errors"

var (
	// ErrVersion is returned when the bytes were written by a version of the
	// format that this program does not know.
	ErrVersion = errors.New("unknown cursor format version")

	// ErrMalformed is returned when the bytes are no cursor, or no delta of
	// one: cut short, too long, or contradicting the invariants.
	ErrMalformed = errors.New("malformed cursor")
)
