package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"sync"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/atomicfs"
)

// Index is the open store of a node. Its methods may be called from any goroutine.
type Index struct {
	db      *pebble.DB
	lock    *pebble.Lock // nil when Pebble was given up while it opened
	health  *health
	metrics *metrics
	gate    gate
}

// Open opens the index in o.Dir, or makes an empty one. It returns ErrLocked when another holds it, a *VersionError when it
// was written in another format, and ErrDamaged when it is not readable; after the last two the folder may be removed with
// Destroy. Other errors, such as a missing permission or a failing disk, say nothing about what is in the folder; after
// one of those that wraps ErrFailed the folder stays locked by this process until the disk takes writes again.
func Open(o Options) (*Index, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	lock, err := lockFolder(o.FS, o.Dir)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", o.Dir, err)
	}
	x := &Index{lock: lock, health: newHealth(&o)}
	if err := x.open(&o); err != nil {
		err = fmt.Errorf("open index %s: %w", o.Dir, err)
		if x.lock != nil {
			err = errors.Join(err, x.lock.Close())
		}
		return nil, err
	}
	return x, nil
}

func (x *Index) open(o *Options) error {
	if err := checkPebbleVersion(o); err != nil {
		return err
	}
	if err := checkManifest(o.FS, o.Dir); err != nil {
		return err
	}
	db, err := x.openPebble(o)
	if err != nil {
		return err
	}
	x.db = db
	if err := x.checkFormat(o.Dir); err != nil {
		return errors.Join(err, db.Close())
	}
	if x.metrics, err = newMetrics(o.Registerer, x); err != nil {
		return errors.Join(err, db.Close())
	}
	return nil
}

// lockFolder makes the folder and takes its lock. The lock is taken apart from opening, so that being locked out is never
// mistaken for damage.
func lockFolder(files vfs.FS, dir string) (*pebble.Lock, error) {
	if err := files.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make folder: %w", err)
	}
	lock, err := pebble.LockDirectory(dir, files)
	if err == nil {
		return lock, nil
	}
	// Opening the lock file fails with a PathError; a lock that is held shows as a bare errno, or as a text when this
	// process holds it.
	if path := (*fs.PathError)(nil); errors.As(err, &path) {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	errno := syscall.Errno(0)
	if errors.As(err, &errno) && errno != syscall.EAGAIN && errno != syscall.EACCES {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	return nil, fmt.Errorf("%w (%w)", ErrLocked, err)
}

// checkPebbleVersion refuses a folder that a newer Pebble wrote. Pebble's own error for that is a text only.
func checkPebbleVersion(o *Options) error {
	value, err := atomicfs.ReadMarker(o.FS, o.Dir, "format-version")
	if err != nil {
		return classify("read marker of format version", err)
	}
	if value == "" {
		return nil
	}
	got, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return fmt.Errorf("%w: marker of format version says %q", ErrDamaged, value)
	}
	if got > uint64(pebbleVersion) {
		return &VersionError{Dir: o.Dir, Layer: "pebble", Got: uint32(got), Want: uint32(pebbleVersion)}
	}
	return nil
}

// checkFormat compares the version of the keys, and gives one to a store that has none because it is new.
func (x *Index) checkFormat(dir string) error {
	key := []byte{tagNode}
	value, closer, err := x.db.Get(key)
	if err == nil {
		defer func() { _ = closer.Close() }()
		if len(value) != 4 {
			return fmt.Errorf("%w: format version has %d bytes, want 4", ErrDamaged, len(value))
		}
		if got := binary.LittleEndian.Uint32(value); got != formatVersion {
			return &VersionError{Dir: dir, Layer: "keys", Got: got, Want: formatVersion}
		}
		return nil
	}
	if !errors.Is(err, pebble.ErrNotFound) {
		return classify("read format version", err)
	}
	it, err := x.db.NewIter(nil)
	if err != nil {
		return classify("look for keys", err)
	}
	if it.First() {
		return errors.Join(fmt.Errorf("%w: it has keys but no format version", ErrDamaged), it.Close())
	}
	if err := it.Close(); err != nil {
		return classify("look for keys", err)
	}
	return x.health.guard(func() error {
		return x.db.Set(key, binary.LittleEndian.AppendUint32(nil, formatVersion), pebble.Sync)
	})
}

// Partition returns the part of the index that belongs to one partition of the node. It costs nothing; two of the same id
// are the same partition.
func (x *Index) Partition(id uint32) *Partition {
	return &Partition{x: x, id: id}
}

// Err returns nil, or ErrFailed or ErrDamaged, wrapped, once Pebble has met such a thing, also in the background. Commit
// refuses from then on.
func (x *Index) Err() error {
	return x.health.get()
}

// Sync makes all that was committed before survive a power cut, and returns then. Nothing needs it to be right; called now
// and then it bounds what is replayed after one.
func (x *Index) Sync() error {
	if !x.gate.enter() {
		return ErrClosed
	}
	defer x.gate.leave()
	if err := x.health.get(); err != nil {
		return err
	}
	return x.health.guard(func() error { return x.db.LogData(nil, pebble.Sync) })
}

// Close waits for calls under way, writes out what is in memory, and frees the folder. Callbacks of a read must not call
// it. Batches that are open can only be discarded after it. Once the index has failed, Pebble may hold locks for good, so
// Close leaves it as it is and returns ErrFailed; the process is to end.
func (x *Index) Close() error {
	if !x.gate.close() {
		return ErrClosed
	}
	x.metrics.unregister()
	if err := x.health.get(); errors.Is(err, ErrFailed) {
		return err
	}
	err := x.health.guard(x.db.Close)
	return errors.Join(err, x.lock.Close())
}

// Destroy removes the folder of an index, so that the next Open makes an empty one. It returns ErrLocked when the index is
// open. files may be nil for the operating system's.
func Destroy(files vfs.FS, dir string) error {
	if files == nil {
		files = vfs.Default
	}
	lock, err := lockFolder(files, dir)
	if err != nil {
		return fmt.Errorf("destroy index %s: %w", dir, err)
	}
	err = files.RemoveAll(dir)
	if err := errors.Join(err, lock.Close()); err != nil {
		return fmt.Errorf("destroy index %s: %w", dir, err)
	}
	return nil
}

// classify wraps an error of Pebble's. An errno says that the system could not do something, which is no proof of damage,
// save that a file which must be there is not; the rest of what Pebble complains about while opening or reading is damage.
func classify(verb string, err error) error {
	if err == nil {
		return nil
	}
	errno := syscall.Errno(0)
	system := errors.As(err, &errno) && errno != syscall.ENOENT || errors.Is(err, fs.ErrPermission)
	switch {
	case pebble.IsCorruptionError(err), errors.Is(err, fs.ErrNotExist), errors.Is(err, io.ErrUnexpectedEOF):
	case system, errors.Is(err, ErrFailed), errors.Is(err, ErrDamaged):
		return fmt.Errorf("%s: %w", verb, err)
	}
	return fmt.Errorf("%s: %w (%w)", verb, ErrDamaged, err)
}

// gate counts calls under way, so that Close can wait for them. A reader's callback may enter again.
type gate struct {
	mu     sync.Mutex
	calls  int           // guarded by mu
	closed bool          // guarded by mu
	idle   chan struct{} // guarded by mu; made by close when it must wait
}

func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.calls++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.calls--
	if g.calls == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// close says whether it was the first.
func (g *gate) close() bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.closed = true
	var idle chan struct{}
	if g.calls > 0 {
		idle = make(chan struct{})
		g.idle = idle
	}
	g.mu.Unlock()
	if idle != nil {
		<-idle
	}
	return true
}
