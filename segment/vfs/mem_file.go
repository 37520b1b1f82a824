package vfs

import (
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"
)

// memFile is a handle of a file of a MemFS.
type memFile struct {
	fs       *MemFS
	node     *memNode
	name     string
	writable bool
	closed   atomic.Bool
}

var _ File = (*memFile)(nil)

// begin holds off power cuts until the end of the operation.
func (f *memFile) begin(op string) (end func(), err error) {
	if f.closed.Load() {
		return nil, pathError(op, f.name, fs.ErrClosed)
	}
	f.fs.mu.RLock()
	return f.fs.mu.RUnlock, nil
}

// Close implements File.
func (f *memFile) Close() error {
	if f.closed.Swap(true) {
		return pathError("close", f.name, fs.ErrClosed)
	}
	f.fs.release(f.node)
	return nil
}

// Name implements File.
func (f *memFile) Name() string { return f.name }

// ReadAt implements File.
func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	end, err := f.begin("read")
	if err != nil {
		return 0, err
	}
	defer end()
	if off < 0 {
		return 0, pathError("read", f.name, syscall.EINVAL)
	}
	f.node.mu.RLock()
	defer f.node.mu.RUnlock()
	if len(p) == 0 {
		return 0, nil
	}
	if off >= int64(len(f.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// WriteAt implements File.
func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.WriteVecAt([][]byte{p}, off)
	return int(n), err
}

// WriteVecAt implements File.
func (f *memFile) WriteVecAt(bufs [][]byte, off int64) (int64, error) {
	end, err := f.begin("write")
	if err != nil {
		return 0, err
	}
	defer end()
	if !f.writable {
		return 0, pathError("write", f.name, syscall.EBADF)
	}
	n, err := f.node.write(f.fs, bufs, off)
	if err != nil {
		return n, pathError("write", f.name, err)
	}
	return n, nil
}

// Preallocate implements File.
func (f *memFile) Preallocate(sizeBytes int64) error {
	end, err := f.begin("fallocate")
	if err != nil {
		return err
	}
	defer end()
	if !f.writable {
		return pathError("fallocate", f.name, syscall.EBADF)
	}
	if err := f.node.preallocate(f.fs, sizeBytes); err != nil {
		return pathError("fallocate", f.name, err)
	}
	return nil
}

// SyncData implements File.
func (f *memFile) SyncData() error { return f.sync("fdatasync") }

// FlushRange implements File. What it leaves to chance on a disk, CrashClone leaves to chance here: it does nothing.
func (f *memFile) FlushRange(int64, int64) error {
	end, err := f.begin("sync_file_range")
	if err != nil {
		return err
	}
	end()
	return nil
}

// Sync implements File.
func (f *memFile) Sync() error { return f.sync("sync") }

func (f *memFile) sync(op string) error {
	end, err := f.begin(op)
	if err != nil {
		return err
	}
	defer end()
	f.node.sync()
	return nil
}

// loseDirty implements dirtyLoser.
func (f *memFile) loseDirty() {
	end, err := f.begin("sync")
	if err != nil {
		return
	}
	defer end()
	f.node.loseDirty()
}

// Size implements File.
func (f *memFile) Size() (int64, error) {
	end, err := f.begin("stat")
	if err != nil {
		return 0, err
	}
	defer end()
	return f.node.size(), nil
}

// DropCache implements File.
func (f *memFile) DropCache() error {
	end, err := f.begin("fadvise")
	if err != nil {
		return err
	}
	defer end()
	f.node.dropCache()
	return nil
}

// Map implements File. The mapping is a slice of the file's storage, not a copy: the race detector sees reads through
// it and writes to the file as accesses to the same bytes. That holds until the file outgrows its storage, which a
// preallocated file does not do below that size; from then on each write is copied to the mapping as well.
func (f *memFile) Map(sizeBytes int64) (Mapping, error) {
	if f.closed.Load() {
		return nil, pathError("mmap", f.name, fs.ErrClosed)
	}
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	f.node.mu.Lock()
	defer f.node.mu.Unlock()
	if err := checkMap(f.name, sizeBytes, int64(len(f.node.data))); err != nil {
		return nil, err
	}
	m := &memMapping{fs: f.fs, node: f.node, name: f.name, data: f.node.data[:sizeBytes:sizeBytes]}
	f.node.mappings[m] = struct{}{}
	f.node.handles++
	return m, nil
}

type memMapping struct {
	fs     *MemFS
	node   *memNode
	name   string
	data   []byte
	closed atomic.Bool
}

// Bytes implements Mapping.
func (m *memMapping) Bytes() []byte {
	if m.closed.Load() {
		return nil
	}
	return m.data
}

// Populate implements Mapping.
func (m *memMapping) Populate(off, n int64) error {
	if m.closed.Load() {
		return pathError("populate", m.name, fs.ErrClosed)
	}
	return checkPopulate(m.name, off, n, int64(len(m.data)))
}

// Close implements Mapping.
func (m *memMapping) Close() error {
	if m.closed.Swap(true) {
		return nil
	}
	m.node.mu.Lock()
	delete(m.node.mappings, m)
	m.node.mu.Unlock()
	m.fs.release(m.node)
	return nil
}
