package vfs

import (
	"io"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// MemFS is a file system in memory, for tests. It behaves as OS does, with the exception of directories: they can't be
// moved to another directory (EXDEV). Paths with and without a leading slash are the same.
//
// It remembers what was synced; see CrashClone.
type MemFS struct {
	// mu makes a power cut hit all files at one instant. Reading and writing the data of files holds it shared;
	// whatever changes the tree, and CrashClone, holds it exclusively. Lock order: mu, then memNode.mu.
	mu   sync.RWMutex
	root *memNode

	capacityBytes atomic.Int64 // 0: no limit.
	usedBytes     atomic.Int64
}

var _ FS = (*MemFS)(nil)

// NewMem returns an empty file system without a limit of capacity. Its root directory exists.
func NewMem() *MemFS {
	m := &MemFS{root: newDir()}
	m.root.links = 1
	return m
}

// SetCapacity limits the bytes that files may hold together, counted in blocks of 4 KiB; zero is no limit. Growth
// beyond it fails with ENOSPC. It may be less than what is in use. A removed file counts until its last handle and
// mapping are closed.
func (m *MemFS) SetCapacity(capacityBytes int64) { m.capacityBytes.Store(capacityBytes) }

// Usage implements FS. It tells what is left of the capacity, and 1 EiB of capacity where there is no limit.
func (m *MemFS) Usage(dir string) (Usage, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.lookup("statfs", dir); err != nil {
		return Usage{}, err
	}
	total := m.capacityBytes.Load()
	if total == 0 {
		total = 1 << 60
	}
	return Usage{TotalBytes: total, AvailableBytes: max(0, total-m.usedBytes.Load())}, nil
}

// charge takes bytes from the capacity.
func (m *MemFS) charge(n int64) error {
	for {
		used, limit := m.usedBytes.Load(), m.capacityBytes.Load()
		if limit == 0 {
			limit = math.MaxInt64
		}
		if n > limit-used {
			return syscall.ENOSPC
		}
		if m.usedBytes.CompareAndSwap(used, used+n) {
			return nil
		}
	}
}

// Create implements FS.
func (m *MemFS) Create(name string) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	if dir.entries[base] != nil {
		return nil, pathError("open", name, syscall.EEXIST)
	}
	node := newFile()
	dir.link(base, node)
	return m.open(name, node, true), nil
}

// Open implements FS.
func (m *MemFS) Open(name string) (File, error) { return m.openExisting(name, false) }

// OpenReadWrite implements FS.
func (m *MemFS) OpenReadWrite(name string) (File, error) { return m.openExisting(name, true) }

func (m *MemFS) openExisting(name string, writable bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookup("open", name)
	if err != nil {
		return nil, err
	}
	if node.isDir() {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return m.open(name, node, writable), nil
}

func (m *MemFS) open(name string, node *memNode, writable bool) *memFile {
	node.handles++
	return &memFile{fs: m, node: node, name: name, writable: writable}
}

// release ends a handle or a mapping.
func (m *MemFS) release(node *memNode) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node.handles--
	m.reclaim(node)
}

// reclaim gives the space of a file back that nothing in the present tree refers to. Its bytes stay: a power cut may
// bring them back.
func (m *MemFS) reclaim(node *memNode) {
	if node.links == 0 && node.handles == 0 {
		m.usedBytes.Add(-node.chargedBytes)
		node.chargedBytes = 0
	}
}

// MkdirAll implements FS.
func (m *MemFS) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir := m.root
	for _, part := range splitPath(name) {
		next := dir.entries[part]
		if next == nil {
			next = newDir()
			dir.link(part, next)
		}
		if !next.isDir() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		dir = next
	}
	return nil
}

// Remove implements FS.
func (m *MemFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("remove", name)
	if err != nil {
		return err
	}
	node := dir.entries[base]
	if node == nil {
		return pathError("remove", name, syscall.ENOENT)
	}
	if len(node.entries) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	dir.unlink(base, node)
	m.reclaim(node)
	return nil
}

// Rename implements FS.
func (m *MemFS) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, oldBase, err := m.parent("rename", oldName)
	if err != nil {
		return err
	}
	to, newBase, err := m.parent("rename", newName)
	if err != nil {
		return err
	}
	node, replaced := from.entries[oldBase], to.entries[newBase]
	switch {
	case node == nil:
		return pathError("rename", oldName, syscall.ENOENT)
	case node == replaced:
		return nil
	case replaced != nil && replaced.isDir():
		return pathError("rename", newName, syscall.EEXIST)
	case replaced != nil && node.isDir():
		return pathError("rename", newName, syscall.ENOTDIR)
	case node.isDir() && from != to:
		return pathError("rename", newName, syscall.EXDEV)
	}
	from.move(oldBase, to, newBase)
	if replaced != nil {
		m.reclaim(replaced)
	}
	return nil
}

// List implements FS.
func (m *MemFS) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.lookupDir("open", dir)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(node.entries)), nil
}

// Stat implements FS.
func (m *MemFS) Stat(name string) (Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.lookup("stat", name)
	if err != nil {
		return Info{}, err
	}
	return Info{Name: filepath.Base(name), SizeBytes: node.size(), IsDir: node.isDir()}, nil
}

// SyncDir implements FS.
func (m *MemFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.lookupDir("open", dir)
	if err != nil {
		return err
	}
	node.syncEntries()
	return nil
}

// Lock implements FS.
func (m *MemFS) Lock(name string) (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent("open", name)
	if err != nil {
		return nil, err
	}
	node := dir.entries[base]
	switch {
	case node == nil:
		node = newFile()
		dir.link(base, node)
	case node.isDir():
		return nil, pathError("open", name, syscall.EISDIR)
	case node.locked:
		return nil, pathError("lock", name, ErrLocked)
	}
	node.locked = true
	node.handles++
	return &memLock{fs: m, node: node, name: name}, nil
}

type memLock struct {
	fs     *MemFS
	node   *memNode
	name   string
	closed atomic.Bool
}

// Close gives the lock up.
func (l *memLock) Close() error {
	if l.closed.Swap(true) {
		return pathError("close", l.name, fs.ErrClosed)
	}
	l.fs.mu.Lock()
	l.node.locked = false
	l.fs.mu.Unlock()
	l.fs.release(l.node)
	return nil
}

// lookup finds a node. The caller holds mu.
func (m *MemFS) lookup(op, name string) (*memNode, error) {
	node := m.root
	for _, part := range splitPath(name) {
		if !node.isDir() {
			return nil, pathError(op, name, syscall.ENOTDIR)
		}
		if node = node.entries[part]; node == nil {
			return nil, pathError(op, name, syscall.ENOENT)
		}
	}
	return node, nil
}

func (m *MemFS) lookupDir(op, name string) (*memNode, error) {
	node, err := m.lookup(op, name)
	if err == nil && !node.isDir() {
		err = pathError(op, name, syscall.ENOTDIR)
	}
	return node, err
}

// parent finds the directory that name is in or would be in. The caller holds mu.
func (m *MemFS) parent(op, name string) (dir *memNode, base string, err error) {
	parts := splitPath(name)
	if len(parts) == 0 {
		return nil, "", pathError(op, name, syscall.EBUSY)
	}
	dir = m.root
	for _, part := range parts[:len(parts)-1] {
		if dir = dir.entries[part]; dir == nil {
			return nil, "", pathError(op, name, syscall.ENOENT)
		}
		if !dir.isDir() {
			return nil, "", pathError(op, name, syscall.ENOTDIR)
		}
	}
	return dir, parts[len(parts)-1], nil
}

// splitPath gives the elements of a path from the root; none for the root itself.
func splitPath(name string) []string {
	name = strings.Trim(filepath.ToSlash(filepath.Clean("/"+name)), "/")
	if name == "" {
		return nil
	}
	return strings.Split(name, "/")
}

func pathError(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}
