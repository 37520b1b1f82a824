package vfs

import (
	"errors"
	"io"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// iovMax is the number of buffers that the kernel takes in one pwritev (UIO_MAXIOV).
const iovMax = 1024

// vecWriter does pwritev without allocating: its vector is reused, and the function that RawConn.Control wants is made
// once, not at every call. x/sys's Pwritev allocates a vector for more than eight buffers.
type vecWriter struct {
	conn syscall.RawConn
	call func(fd uintptr) // v.pwritev, bound once.

	iovs  []unix.Iovec
	off   int64
	n     int
	errno syscall.Errno
}

func (v *vecWriter) init(f *os.File) (err error) {
	v.conn, err = f.SyscallConn()
	v.call = v.pwritev
	return err
}

func (v *vecWriter) pwritev(fd uintptr) {
	// The offset goes in two halves of a long each; on the 64-bit machines that we build for the low one holds it all.
	n, _, errno := unix.Syscall6(unix.SYS_PWRITEV, fd, uintptr(unsafe.Pointer(&v.iovs[0])), uintptr(len(v.iovs)),
		uintptr(v.off), 0, 0)
	v.n, v.errno = int(n), errno
}

// writeAt goes on after short writes and from one full vector to the next.
func (v *vecWriter) writeAt(bufs [][]byte, off int64) (written int64, err error) {
	// The vector must not keep the caller's buffers alive.
	defer func() { clear(v.iovs[:cap(v.iovs)]) }()
	skip := 0 // How much of bufs[0] is written.
	for {
		v.fill(bufs, skip)
		if len(v.iovs) == 0 {
			return written, nil
		}
		v.off = off + written
		if err := v.conn.Control(v.call); err != nil {
			return written, os.ErrClosed // As in control.
		}
		switch {
		case v.errno == unix.EINTR:
			continue
		case v.errno != 0:
			return written, v.errno
		case v.n == 0:
			return written, io.ErrShortWrite
		}
		written += int64(v.n)
		for left := v.n; left > 0; {
			rest := len(bufs[0]) - skip
			if left < rest {
				skip += left
				break
			}
			left -= rest
			bufs, skip = bufs[1:], 0
		}
	}
}

// fill makes the vector of the next call.
func (v *vecWriter) fill(bufs [][]byte, skip int) {
	v.iovs = v.iovs[:0]
	for _, buf := range bufs {
		buf, skip = buf[skip:], 0
		if len(buf) == 0 {
			continue
		}
		if len(v.iovs) == iovMax {
			return
		}
		iov := unix.Iovec{Base: &buf[0]}
		iov.SetLen(len(buf))
		v.iovs = append(v.iovs, iov)
	}
}

// reserve allocates blocks, which read as zeros until they are written, and tells whether it did. Not every file system
// can.
func reserve(fd int, sizeBytes int64) (done bool, err error) {
	err = ignoringEINTR(func() error { return unix.Fallocate(fd, 0, 0, sizeBytes) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return false, nil
	}
	return err == nil, err
}

func (f *osFile) syncData() error {
	err := control(f.File, func(fd int) error {
		return ignoringEINTR(func() error { return unix.Fdatasync(fd) })
	})
	if err != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
	}
	return nil
}

func flushRange(fd int, off, n int64) error {
	const flags = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	err := ignoringEINTR(func() error { return unix.SyncFileRange(fd, off, n, flags) })
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

func dropCache(fd int) error {
	return ignoringEINTR(func() error { return unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED) })
}

// populate faults the pages in by a system call. The kernel answers EFAULT where a touch would be a SIGBUS, and EINVAL
// if it does not know the call.
func populate(pages []byte) error {
	err := ignoringEINTR(func() error { return unix.Madvise(pages, unix.MADV_POPULATE_READ) })
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}
