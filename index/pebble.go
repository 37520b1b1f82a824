package index

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// pebbleVersion is pinned, so that an upgrade of the library does not change files until this line does. This one has
// checksums in the footers of tables, and log records that tell damage from an end that was never synced.
const pebbleVersion = pebble.FormatTableFormatV6

// openPebble opens the database under a lock that is held. Pebble panics on some damage that it meets while it replays; as
// nothing else runs yet, such a panic is an error like any other.
func openPebble(o *Options, lock *pebble.Lock, h *health) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w (open pebble: %v)", ErrDamaged, r)
		}
	}()
	db, err = pebble.Open(o.Dir, pebbleOptions(o, lock, h))
	if err != nil {
		return nil, classify("open pebble", err)
	}
	return db, nil
}

// pebbleOptions: the log is kept although it is not synced, because after a kill of the process the kernel still writes it,
// and then the node replays a few entries in place of a memtable's worth. Bloom filters serve the few reads of single keys;
// look-ups of extents are seeks.
func pebbleOptions(o *Options, lock *pebble.Lock, h *health) *pebble.Options {
	files := o.FS
	if o.OnDiskFull != nil {
		files = vfs.OnDiskFull(files, o.OnDiskFull)
	}
	po := &pebble.Options{
		FS:                          files,
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
			BackgroundError: func(err error) { h.log.Warn("index: background work failed", "err", err) },
			DataCorruption:  func(i pebble.DataCorruptionInfo) { h.damaged(fmt.Errorf("%s: %w", i.Path, i.Details)) },
			DiskSlow:        func(i pebble.DiskSlowInfo) { h.log.Warn("index: disk is slow", "info", i.String()) },
			WriteStallBegin: func(i pebble.WriteStallBeginInfo) { h.log.Warn("index: writes stall", "reason", i.Reason) },
		},
	}
	for i := range po.Levels {
		po.Levels[i].BlockSize = 32 << 10
		po.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return po
}

// health remembers the first thing after which the index is not to be written any more.
type health struct {
	log     *slog.Logger
	onFatal func(error)
	once    sync.Once // of onFatal

	mu  sync.Mutex
	err error // guarded by mu; wraps ErrFailed or ErrDamaged
}

func (h *health) get() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}

// failed keeps ErrFailed over ErrDamaged: after it Pebble must not be touched.
func (h *health) failed(cause error) error {
	err := fmt.Errorf("%w (%w)", ErrFailed, cause)
	h.mu.Lock()
	h.err = err
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
			err = h.failed(fmt.Errorf("pebble panicked: %v", r))
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
