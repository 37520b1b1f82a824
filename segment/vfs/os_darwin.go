package vfs

import "os"

// vecWriter writes the buffers one by one: darwin is for development, and its old versions have no pwritev.
type vecWriter struct{ f *os.File }

func (v *vecWriter) init(f *os.File) error {
	v.f = f
	return nil
}

func (v *vecWriter) writeAt(bufs [][]byte, off int64) (written int64, err error) {
	for _, buf := range bufs {
		n, err := v.f.WriteAt(buf, off+written)
		written += int64(n)
		if err != nil {
			return written, err
		}
	}
	return written, nil
}

// reserve leaves the allocation of blocks to the writing of zeros.
func reserve(int, int64) (done bool, err error) { return false, nil }

// syncData is Sync, which os does by F_FULLFSYNC: a plain fsync leaves the data in the drive's cache.
func (f *osFile) syncData() error { return f.Sync() }

// flushRange has no counterpart here.
func flushRange(int, int64, int64) error { return nil }

// dropCache has no counterpart here that works on a file that others may have cached.
func dropCache(int) error { return nil }

// populate has no counterpart here.
func populate([]byte) error { return nil }
