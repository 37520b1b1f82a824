package vfs

import "errors"

var (
	// ErrLocked is returned when Lock finds the file locked through another handle, in this process or in another.
	ErrLocked = errors.New("locked by another process or handle")

	// ErrBeyondEnd is returned when a mapping would reach beyond the end of its file, or a populated range beyond the
	// end of its mapping. Touching such bytes would be a SIGBUS.
	ErrBeyondEnd = errors.New("range reaches beyond the end")
)
