package index

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleVersion is pinned, so that an upgrade of the library does not change files until this line does. This one has
// checksums in the footers of tables, and log records that tell damage from an end that was never synced.
const pebbleVersion = pebble.FormatTableFormatV6

// openFailuresMax is how often Pebble may fail to write while it opens until it is given up.
const openFailuresMax = 5

type opened struct {
	db  *pebble.DB
	err error
}

// openPebble opens the database under the lock. Pebble flushes what it replays, and when the disk does not take it, tries
// again without end; so it opens on a goroutine, which is left behind after a few failures. Should the disk recover, that
// goroutine closes what it has opened, and frees the lock.
func (x *Index) openPebble(o *Options) (*pebble.DB, error) {
	done := make(chan opened, 1)
	lock := x.lock
	go func() { done <- tryPebble(o, lock, x.health) }()
	select {
	case r := <-done:
		x.health.opened()
		return r.db, r.err
	case cause := <-x.health.stuck:
		x.lock = nil
		go func() {
			if r := <-done; r.db != nil {
				_ = r.db.Close() // nothing was written to it
			}
			_ = lock.Close() // nobody is left to tell
		}()
		return nil, fmt.Errorf("open pebble: %w (%w)", ErrFailed, cause)
	}
}

// tryPebble opens the database. Pebble panics on some damage that it meets while it replays; as nothing else runs yet, such
// a panic is an error like any other.
func tryPebble(o *Options, lock *pebble.Lock, h *health) (r opened) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case fatal:
			r = opened{err: fmt.Errorf("open pebble: %w", p.err)}
		default:
			r = opened{err: fmt.Errorf("%w (open pebble: panic: %v)", ErrDamaged, p)}
		}
	}()
	db, err := pebble.Open(o.Dir, pebbleOptions(o, lock, h))
	if err != nil {
		return opened{err: classify("open pebble", err)}
	}
	return opened{db: db}
}

// pebbleOptions: the log is kept although it is not synced, because after a kill of the process the kernel still writes it,
// and then the node replays a few entries in place of a memtable's worth. Bloom filters serve the few reads of single keys;
// look-ups of extents are seeks, whose cost is mostly that of inflating one block, hence small ones.
func pebbleOptions(o *Options, lock *pebble.Lock, h *health) *pebble.Options {
	files := o.FS
	if o.OnDiskFull != nil {
		files = vfs.OnDiskFull(files, o.OnDiskFull)
	}
	po := &pebble.Options{
		FS:                          watchFS{FS: files, health: h},
		Lock:                        lock,
		FormatMajorVersion:          pebbleVersion,
		CacheSize:                   o.CacheBytes,
		MemTableSize:                uint64(o.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		MaxOpenFiles:                o.MaxOpenFiles,
		L0CompactionThreshold:       2,
		L0StopWritesThreshold:       24,
		LBaseMaxBytes:               64 << 20,
		CompactionConcurrencyRange:  func() (int, int) { return 1, max(1, runtime.GOMAXPROCS(0)/2) },
		LoggerAndTracer:             nil,
		Logger:                      pebbleLogger{h},
		EventListener: &pebble.EventListener{
			BackgroundError: h.backgroundFailed,
			FlushEnd: func(i pebble.FlushInfo) {
				if i.Err == nil {
					h.failures.Store(0)
				}
			},
			DataCorruption:  func(i pebble.DataCorruptionInfo) { h.damaged(fmt.Errorf("%s: %w", i.Path, i.Details)) },
			DiskSlow:        func(i pebble.DiskSlowInfo) { h.log.Warn("index: disk is slow", "info", i.String()) },
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) { h.log.Warn("index: writes stall", "reason", i.Reason) },
		},
	}
	for i := range po.Levels {
		po.Levels[i].BlockSize = 8 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return po
}

// health remembers the first thing after which the index is not to be written any more.
type health struct {
	log      *slog.Logger
	onFatal  func(error)
	once     sync.Once    // of onFatal
	failures atomic.Int32 // of background work, since the last flush that went well
	stuck    chan error   // gets one error when opening fails too often

	mu      sync.Mutex
	opening bool  // guarded by mu
	err     error // guarded by mu; wraps ErrFailed or ErrDamaged
}

func newHealth(o *Options) *health {
	return &health{log: o.Logger, onFatal: o.OnFatal, stuck: make(chan error, 1), opening: true}
}

func (h *health) opened() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.opening = false
}

// backgroundFailed is called by Pebble after a failed flush or compaction, before it tries again at once. It waits here, a
// millisecond after the first failure in a row and a second after the tenth, so that a disk that is full costs neither a
// core nor a log of the same line. Pebble's mutex is held meanwhile, which only delays what waits for that flush.
func (h *health) backgroundFailed(err error) {
	n := h.failures.Add(1)
	h.mu.Lock()
	if h.opening && n >= openFailuresMax {
		h.opening = false
		h.stuck <- err
	}
	h.mu.Unlock()
	h.log.Warn("index: background work failed", "in_a_row", n, "err", err)
	time.Sleep(time.Millisecond << min(n-1, 10))
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// failed keeps the first ErrFailed, also over an ErrDamaged: after it Pebble must not be touched.
func (h *health) failed(cause error) error {
	h.mu.Lock()
	if !errors.Is(h.err, ErrFailed) {
		h.err = fmt.Errorf("%w (%w)", ErrFailed, cause)
	}
	err := h.err
	h.mu.Unlock()
	if h.onFatal != nil {
		h.once.Do(func() { h.onFatal(err) })
	}
	return err
}

func (h *health) damaged(cause error) {
	h.log.Error("index is damaged", "err", cause)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err == nil {
		h.err = fmt.Errorf("%w (%w)", ErrDamaged, cause)
	}
}

// fatal is what pebbleLogger panics with.
type fatal struct{ err error }

func (f fatal) Error() string { return f.err.Error() }

// guard runs a write. What Pebble answers with Fatalf or with a panic on this goroutine becomes ErrFailed: its state is
// unknown, and the caller must be able to say so before the process ends.
func (h *health) guard(write func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case fatal:
			err = r.err
		default:
			h.log.Error("index: pebble panicked", "panic", r, "stack", string(debug.Stack()))
			cause, ok := r.(error)
			if !ok {
				cause = fmt.Errorf("%v", r)
			}
			err = h.failed(fmt.Errorf("pebble panicked: %w", cause))
		}
	}()
	if err := write(); err != nil {
		return h.failed(err)
	}
	return nil
}

// pebbleLogger passes Pebble's log on. Fatalf must not return, and must not end the process without a word as the default
// does with os.Exit.
type pebbleLogger struct{ h *health }

func (l pebbleLogger) Infof(format string, args ...any) {
	l.h.log.Debug("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Errorf(format string, args ...any) {
	l.h.log.Warn("pebble: " + fmt.Sprintf(format, args...))
}

func (l pebbleLogger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%s: %w", format, cause)
			break
		}
	}
	l.h.log.Error("index: pebble cannot go on", "err", err)
	panic(fatal{l.h.failed(err)})
}
