package index

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
)

// Options of an Index. The zero value, with Dir set, is fit for use.
type Options struct {
	// Dir is the folder. It is created if need be. Required.
	Dir string

	// FS is where Dir is, for tests that crash. Default: the file system of the operating system.
	FS vfs.FS

	// CacheBytes is the size of the block cache. Default 64 MiB, range 1 MiB to 64 GiB. More helps when extents of cold
	// channels are looked up all the time.
	CacheBytes int64

	// MemTableBytes is the size of a memtable, of which up to four exist. Default 32 MiB, range 1 MiB to 1 GiB. Less when
	// memory is short; a larger one flushes less often, which also means a longer log to read at start.
	MemTableBytes int64

	// MaxOpenFiles is what Pebble may keep open, to be counted in the node's budget of file descriptors. Default 500, range
	// 64 to 100,000.
	MaxOpenFiles int

	// OnDiskFull is called when a write met a full disk, before that write is tried once more; it is the place to give up a
	// ballast file. All writes wait for it. Default: none.
	OnDiskFull func()

	// OnFatal is called once, from any goroutine, when Pebble cannot go on; see "A full or failing disk". It must not call
	// the Index. Default: none.
	OnFatal func(error)

	// Logger gets Pebble's own log at debug level, and its errors at warning level. Default: discards.
	Logger *slog.Logger

	// Registerer gets the metrics, until Close. Default: none.
	Registerer prometheus.Registerer
}

// EnsureDefaults fills in what is not set.
func (o *Options) EnsureDefaults() {
	if o.FS == nil {
		o.FS = vfs.Default
	}
	if o.CacheBytes == 0 {
		o.CacheBytes = 64 << 20
	}
	if o.MemTableBytes == 0 {
		o.MemTableBytes = 32 << 20
	}
	if o.MaxOpenFiles == 0 {
		o.MaxOpenFiles = 500
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	}
}

// Validate says which option is out of range.
func (o *Options) Validate() error {
	switch {
	case o.Dir == "":
		return errors.New("index options: Dir is required")
	case o.CacheBytes < 1<<20 || o.CacheBytes > 64<<30:
		return fmt.Errorf("index options: CacheBytes is %d, want 1 MiB to 64 GiB", o.CacheBytes)
	case o.MemTableBytes < 1<<20 || o.MemTableBytes > 1<<30:
		return fmt.Errorf("index options: MemTableBytes is %d, want 1 MiB to 1 GiB", o.MemTableBytes)
	case o.MaxOpenFiles < 64 || o.MaxOpenFiles > 100_000:
		return fmt.Errorf("index options: MaxOpenFiles is %d, want 64 to 100000", o.MaxOpenFiles)
	}
	return nil
}
