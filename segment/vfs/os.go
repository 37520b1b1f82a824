//go:build linux || darwin

package vfs

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	filePerm = 0o640
	dirPerm  = 0o750

	// zeroFillBytes is the size of one write of Preallocate. One MiB is past the point where larger writes are faster.
	zeroFillBytes = 1 << 20
)

// OS is the operating system's file system. The zero value is ready to use.
type OS struct{}

var _ FS = OS{}

// Create implements FS.
func (OS) Create(name string) (File, error) {
	return openOS(name, os.O_CREATE|os.O_EXCL|os.O_RDWR)
}

// Open implements FS.
func (OS) Open(name string) (File, error) { return openOS(name, os.O_RDONLY) }

// OpenReadWrite implements FS.
func (OS) OpenReadWrite(name string) (File, error) { return openOS(name, os.O_RDWR) }

// MkdirAll implements FS.
func (OS) MkdirAll(dir string) error { return os.MkdirAll(dir, dirPerm) }

// Remove implements FS.
func (OS) Remove(name string) error { return os.Remove(name) }

// Rename implements FS.
func (OS) Rename(oldName, newName string) error { return os.Rename(oldName, newName) }

// List implements FS.
func (OS) List(dir string) (names []string, err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	// Readdirnames and not ReadDir: the latter may stat each file.
	names, err = d.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	return names, nil
}

// Stat implements FS.
func (OS) Stat(name string) (Info, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{Name: fi.Name(), SizeBytes: fi.Size(), IsDir: fi.IsDir()}, nil
}

// SyncDir implements FS.
func (OS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Lock implements FS with flock: it ends with the process however that ends, and excludes a second handle of the same
// process, which fcntl's locks do not.
func (OS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, filePerm)
	if err != nil {
		return nil, err
	}
	var errno error
	err = control(f, func(fd int) error {
		errno = ignoringEINTR(func() error { return unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) })
		return errno
	})
	if err == nil {
		return f, nil
	}
	if errors.Is(errno, unix.EWOULDBLOCK) {
		err = ErrLocked
	}
	return nil, errors.Join(&os.PathError{Op: "lock", Path: name, Err: err}, f.Close())
}

// Usage implements FS.
func (OS) Usage(dir string) (Usage, error) {
	var st unix.Statfs_t
	if err := ignoringEINTR(func() error { return unix.Statfs(dir, &st) }); err != nil {
		return Usage{}, &os.PathError{Op: "statfs", Path: dir, Err: err}
	}
	blockBytes := uint64(st.Bsize)
	return Usage{TotalBytes: clampBytes(st.Blocks, blockBytes), AvailableBytes: clampBytes(st.Bavail, blockBytes)}, nil
}

// clampBytes guards against the sizes that some network file systems report.
func clampBytes(blocks, blockBytes uint64) int64 {
	if blockBytes != 0 && blocks > math.MaxInt64/blockBytes {
		return math.MaxInt64
	}
	return int64(blocks * blockBytes)
}

type osFile struct {
	*os.File // Close, ReadAt, WriteAt, Sync, Name.

	// vecMu lets one WriteVecAt run at a time, so that vec needs no pool. Kernels serialize writes to one file as well.
	vecMu sync.Mutex
	vec   vecWriter
}

var _ File = (*osFile)(nil)

func openOS(name string, flags int) (File, error) {
	f, err := os.OpenFile(name, flags, filePerm)
	if err != nil {
		return nil, err
	}
	file := &osFile{File: f}
	if err := file.vec.init(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return file, nil
}

// WriteVecAt implements File.
func (f *osFile) WriteVecAt(bufs [][]byte, off int64) (int64, error) {
	f.vecMu.Lock()
	defer f.vecMu.Unlock()
	n, err := f.vec.writeAt(bufs, off)
	if err != nil {
		return n, &os.PathError{Op: "pwritev", Path: f.Name(), Err: err}
	}
	return n, nil
}

// Preallocate implements File.
func (f *osFile) Preallocate(sizeBytes int64) error {
	have, err := f.Size()
	if err != nil {
		return err
	}
	if have >= sizeBytes {
		return nil
	}
	reserved := false
	err = control(f.File, func(fd int) (err error) {
		reserved, err = reserve(fd, sizeBytes)
		return err
	})
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
	}
	if reserved {
		// Writing zeros as well would spare each append a change of metadata, and
		// doubles what is written: measured, it costs more (DESIGN.md, decisions).
		return nil
	}
	zeros := make([]byte, min(zeroFillBytes, sizeBytes-have))
	for off := have; off < sizeBytes; off += int64(len(zeros)) {
		zeros = zeros[:min(int64(len(zeros)), sizeBytes-off)]
		if _, err := f.WriteAt(zeros, off); err != nil {
			return fmt.Errorf("fill with zeros: %w", err)
		}
	}
	return nil
}

// SyncData implements File.
func (f *osFile) SyncData() error { return f.syncData() }

// FlushRange implements File.
func (f *osFile) FlushRange(off, n int64) error {
	if err := control(f.File, func(fd int) error { return flushRange(fd, off, n) }); err != nil {
		return &os.PathError{Op: "sync_file_range", Path: f.Name(), Err: err}
	}
	return nil
}

// Size implements File.
func (f *osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

// DropCache implements File.
func (f *osFile) DropCache() error {
	if err := control(f.File, dropCache); err != nil {
		return &os.PathError{Op: "fadvise", Path: f.Name(), Err: err}
	}
	return nil
}

// Map implements File.
func (f *osFile) Map(sizeBytes int64) (Mapping, error) {
	have, err := f.Size()
	if err != nil {
		return nil, err
	}
	if err := checkMap(f.Name(), sizeBytes, have); err != nil {
		return nil, err
	}
	m := &osMapping{name: f.Name()}
	err = control(f.File, func(fd int) (err error) {
		m.data, err = unix.Mmap(fd, 0, int(sizeBytes), unix.PROT_READ, unix.MAP_SHARED)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	return m, nil
}

type osMapping struct {
	name   string
	data   []byte
	closed atomic.Bool
}

// Bytes implements Mapping.
func (m *osMapping) Bytes() []byte {
	if m.closed.Load() {
		return nil
	}
	return m.data
}

// Populate implements Mapping.
func (m *osMapping) Populate(off, n int64) error {
	if m.closed.Load() {
		return &os.PathError{Op: "populate", Path: m.name, Err: os.ErrClosed}
	}
	if err := checkPopulate(m.name, off, n, int64(len(m.data))); err != nil || n == 0 {
		return err
	}
	// The call wants a page's start; the kernel rounds the end up itself.
	start := off - off%int64(os.Getpagesize())
	if err := populate(m.data[start : off+n]); err != nil {
		return &os.PathError{Op: "populate", Path: m.name, Err: fmt.Errorf("at %d, %d bytes: %w", off, n, err)}
	}
	return nil
}

// Close implements Mapping.
func (m *osMapping) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	if err := unix.Munmap(m.data); err != nil {
		return &os.PathError{Op: "munmap", Path: m.name, Err: err}
	}
	return nil
}

// control runs fn with the file's descriptor, which stays open meanwhile even if another goroutine closes the file.
func control(f *os.File, fn func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var fnErr error
	if err := conn.Control(func(fd uintptr) { fnErr = fn(int(fd)) }); err != nil {
		return os.ErrClosed // Control fails for no other reason, and says so by an error internal to os.
	}
	return fnErr
}

// ignoringEINTR repeats a call that a signal interrupted. The Go runtime sends signals to itself to preempt.
func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
