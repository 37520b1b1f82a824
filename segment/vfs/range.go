package vfs

import (
	"fmt"
	"io/fs"
	"syscall"
)

// checkMap is what every file system asks of the arguments of Map: mapping nothing is refused by kernels, and mapping
// beyond the end is accepted by them and kills the process later.
func checkMap(name string, sizeBytes, fileBytes int64) error {
	switch {
	case sizeBytes <= 0:
		return &fs.PathError{Op: "mmap", Path: name, Err: syscall.EINVAL}
	case sizeBytes > fileBytes:
		err := fmt.Errorf("map %d bytes of %d: %w", sizeBytes, fileBytes, ErrBeyondEnd)
		return &fs.PathError{Op: "mmap", Path: name, Err: err}
	}
	return nil
}

// checkPopulate is what every file system asks of the arguments of Populate.
func checkPopulate(name string, off, n, mappedBytes int64) error {
	if off < 0 || n < 0 || off > mappedBytes || n > mappedBytes-off {
		err := fmt.Errorf("at %d, %d bytes of %d mapped: %w", off, n, mappedBytes, ErrBeyondEnd)
		return &fs.PathError{Op: "populate", Path: name, Err: err}
	}
	return nil
}
