package node

import (
	"fmt"
	"path/filepath"
	"syscall"

	"leat.dev/leat/segment/vfs"
)

// reserveFS refuses to preallocate files when little of the disk would be left.
//
// Pebble cannot go on after its log met a full disk, and what grows the disk in
// earnest is segments. So those stop first, and publishes are refused with
// "no space", while the index, snapshots and manifests, which are small, still
// have room. Other programs can fill the disk all the same.
type reserveFS struct {
	vfs.FS
	reserveBytes int64
	share        int64 // the reserve is at most this part of the disk, as in 1/16; 0: any
}

// Create implements vfs.FS.
func (f *reserveFS) Create(name string) (vfs.File, error) {
	file, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return &reserveFile{File: file, fs: f}, nil
}

type reserveFile struct {
	vfs.File
	fs *reserveFS
}

// Preallocate implements vfs.File.
func (f *reserveFile) Preallocate(sizeBytes int64) error {
	u, err := f.fs.Usage(filepath.Dir(f.Name()))
	if err != nil {
		return fmt.Errorf("look how full the disk is: %w", err)
	}
	reserve := f.fs.reserveBytes
	if f.fs.share > 0 {
		reserve = min(reserve, u.TotalBytes/f.fs.share)
	}
	if left := u.AvailableBytes - sizeBytes; left < reserve {
		return fmt.Errorf("preallocate %s: %d bytes would leave %d of the disk, and %d are kept free: %w",
			f.Name(), sizeBytes, max(left, 0), reserve, syscall.ENOSPC)
	}
	return f.File.Preallocate(sizeBytes)
}
