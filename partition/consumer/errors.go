package consumer

import "errors"

var (
	// ErrClosed is returned when the consumer is closed.
	ErrClosed = errors.New("consumer is closed")

	// ErrOptions is returned when options are missing or out of range.
	ErrOptions = errors.New("invalid consumer options")
)
