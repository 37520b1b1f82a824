package vfs

import "io"

// dirtyLoser is a file that can do what a kernel does to dirty pages when an fsync fails.
type dirtyLoser interface{ loseDirty() }

// do runs an operation that returns only an error.
func (f *Fault) do(op Op, path, path2 string, fn func() error) error {
	v := f.check(op, path, path2)
	if v.err != nil || v.skip {
		return v.err
	}
	return fn()
}

func (f *Fault) open(op Op, name string, fn func(string) (File, error)) (File, error) {
	if v := f.check(op, name, ""); v.err != nil {
		return nil, v.err
	}
	inner, err := fn(name)
	if err != nil {
		return nil, err
	}
	return &faultFile{fault: f, inner: inner}, nil
}

// Create implements FS.
func (f *Fault) Create(name string) (File, error) { return f.open(OpCreate, name, f.inner.Create) }

// Open implements FS.
func (f *Fault) Open(name string) (File, error) { return f.open(OpOpen, name, f.inner.Open) }

// OpenReadWrite implements FS.
func (f *Fault) OpenReadWrite(name string) (File, error) {
	return f.open(OpOpenReadWrite, name, f.inner.OpenReadWrite)
}

// MkdirAll implements FS.
func (f *Fault) MkdirAll(dir string) error {
	return f.do(OpMkdirAll, dir, "", func() error { return f.inner.MkdirAll(dir) })
}

// Remove implements FS.
func (f *Fault) Remove(name string) error {
	return f.do(OpRemove, name, "", func() error { return f.inner.Remove(name) })
}

// Rename implements FS.
func (f *Fault) Rename(oldName, newName string) error {
	return f.do(OpRename, oldName, newName, func() error { return f.inner.Rename(oldName, newName) })
}

// List implements FS.
func (f *Fault) List(dir string) ([]string, error) {
	if v := f.check(OpList, dir, ""); v.err != nil {
		return nil, v.err
	}
	return f.inner.List(dir)
}

// Stat implements FS.
func (f *Fault) Stat(name string) (Info, error) {
	if v := f.check(OpStat, name, ""); v.err != nil {
		return Info{}, v.err
	}
	return f.inner.Stat(name)
}

// SyncDir implements FS.
func (f *Fault) SyncDir(dir string) error {
	return f.do(OpSyncDir, dir, "", func() error { return f.inner.SyncDir(dir) })
}

// Lock implements FS.
func (f *Fault) Lock(name string) (io.Closer, error) {
	if v := f.check(OpLock, name, ""); v.err != nil {
		return nil, v.err
	}
	inner, err := f.inner.Lock(name)
	if err != nil {
		return nil, err
	}
	return &faultLock{fault: f, inner: inner, name: name}, nil
}

// Usage implements FS.
func (f *Fault) Usage(dir string) (Usage, error) {
	if v := f.check(OpUsage, dir, ""); v.err != nil {
		return Usage{}, v.err
	}
	return f.inner.Usage(dir)
}

// faultLock, faultFile and faultMapping close what they wrap even where a rule fails or skips the closing: a test of
// an error must not leak descriptors.
type faultLock struct {
	fault *Fault
	inner io.Closer
	name  string
}

// Close gives the lock up.
func (l *faultLock) Close() error {
	v := l.fault.check(OpUnlock, l.name, "")
	if err := l.inner.Close(); err != nil {
		return err
	}
	return v.err
}

type faultFile struct {
	fault *Fault
	inner File
}

var _ File = (*faultFile)(nil)

// Name implements File.
func (f *faultFile) Name() string { return f.inner.Name() }

// Close implements File.
func (f *faultFile) Close() error {
	v := f.fault.check(OpClose, f.Name(), "")
	if err := f.inner.Close(); err != nil {
		return err
	}
	return v.err
}

// ReadAt implements File.
func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	v := f.fault.check(OpReadAt, f.Name(), "")
	if v.err == nil {
		return f.inner.ReadAt(p, off)
	}
	n, err := f.inner.ReadAt(p[:min(v.short, len(p))], off)
	if err != nil {
		return n, err
	}
	return n, v.err
}

// WriteAt implements File.
func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	v := f.fault.check(OpWriteAt, f.Name(), "")
	switch {
	case v.skip:
		return len(p), nil
	case v.err == nil:
		return f.inner.WriteAt(p, off)
	}
	n, err := f.inner.WriteAt(p[:min(v.short, len(p))], off)
	if err != nil {
		return n, err
	}
	return n, v.err
}

// WriteVecAt implements File.
func (f *faultFile) WriteVecAt(bufs [][]byte, off int64) (int64, error) {
	v := f.fault.check(OpWriteVecAt, f.Name(), "")
	switch {
	case v.skip:
		var total int64
		for _, buf := range bufs {
			total += int64(len(buf))
		}
		return total, nil
	case v.err == nil:
		return f.inner.WriteVecAt(bufs, off)
	}
	var cut [][]byte
	for left := v.short; left > 0 && len(bufs) > 0; bufs = bufs[1:] {
		buf := bufs[0][:min(left, len(bufs[0]))]
		cut = append(cut, buf)
		left -= len(buf)
	}
	n, err := f.inner.WriteVecAt(cut, off)
	if err != nil {
		return n, err
	}
	return n, v.err
}

// Preallocate implements File.
func (f *faultFile) Preallocate(sizeBytes int64) error {
	return f.fault.do(OpPreallocate, f.Name(), "", func() error { return f.inner.Preallocate(sizeBytes) })
}

// SyncData implements File.
func (f *faultFile) SyncData() error { return f.sync(OpSyncData, f.inner.SyncData) }

// FlushRange implements File.
func (f *faultFile) FlushRange(off, n int64) error {
	return f.fault.do(OpFlushRange, f.Name(), "", func() error { return f.inner.FlushRange(off, n) })
}

// Sync implements File.
func (f *faultFile) Sync() error { return f.sync(OpSync, f.inner.Sync) }

func (f *faultFile) sync(op Op, fn func() error) error {
	v := f.fault.check(op, f.Name(), "")
	if v.err == nil && !v.skip {
		return fn()
	}
	if inner, ok := f.inner.(dirtyLoser); ok && v.loseDirty {
		inner.loseDirty()
	}
	return v.err
}

// Size implements File.
func (f *faultFile) Size() (int64, error) {
	if v := f.fault.check(OpSize, f.Name(), ""); v.err != nil {
		return 0, v.err
	}
	return f.inner.Size()
}

// DropCache implements File.
func (f *faultFile) DropCache() error {
	return f.fault.do(OpDropCache, f.Name(), "", f.inner.DropCache)
}

// Map implements File.
func (f *faultFile) Map(sizeBytes int64) (Mapping, error) {
	if v := f.fault.check(OpMap, f.Name(), ""); v.err != nil {
		return nil, v.err
	}
	inner, err := f.inner.Map(sizeBytes)
	if err != nil {
		return nil, err
	}
	return &faultMapping{fault: f.fault, inner: inner, name: f.Name()}, nil
}

type faultMapping struct {
	fault *Fault
	inner Mapping
	name  string
}

// Bytes implements Mapping. It is not an operation: nothing is called that could fail.
func (m *faultMapping) Bytes() []byte { return m.inner.Bytes() }

// Populate implements Mapping.
func (m *faultMapping) Populate(off, n int64) error {
	return m.fault.do(OpPopulate, m.name, "", func() error { return m.inner.Populate(off, n) })
}

// Close implements Mapping.
func (m *faultMapping) Close() error {
	v := m.fault.check(OpUnmap, m.name, "")
	if err := m.inner.Close(); err != nil {
		return err
	}
	return v.err
}
