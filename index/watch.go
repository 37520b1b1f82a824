package index

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// watchFS tells health of a failed write of Pebble's log or manifest before Pebble gets to see it. Pebble finds out about a
// failed log at its next rotation, where it panics with its mutex in a state that the runtime may not survive. Told here,
// Commit refuses first, and the cause is logged and handed to OnFatal even when Pebble does end the process.
type watchFS struct {
	vfs.FS
	health *health
}

func (w watchFS) watch(name string, f vfs.File, err error) (vfs.File, error) {
	base := filepath.Base(name)
	if filepath.Ext(base) != ".log" && !strings.HasPrefix(base, "MANIFEST-") {
		return f, err
	}
	if err != nil {
		return f, w.health.told("create", name, err)
	}
	return watchFile{File: f, name: name, health: w.health}, nil
}

func (w watchFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.Create(name, category)
	return w.watch(name, f, err)
}

func (w watchFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := w.FS.ReuseForWrite(from, to, category)
	return w.watch(to, f, err)
}

// watchFile is a log or a manifest that is being written.
type watchFile struct {
	vfs.File
	name   string
	health *health
}

func (w watchFile) Write(b []byte) (int, error) {
	n, err := w.File.Write(b)
	return n, w.health.told("write", w.name, err)
}

func (w watchFile) Preallocate(offset, length int64) error {
	return w.health.told("preallocate", w.name, w.File.Preallocate(offset, length))
}

func (w watchFile) Sync() error { return w.health.told("sync", w.name, w.File.Sync()) }

func (w watchFile) SyncData() error { return w.health.told("sync", w.name, w.File.SyncData()) }

func (w watchFile) SyncTo(length int64) (bool, error) {
	full, err := w.File.SyncTo(length)
	return full, w.health.told("sync", w.name, err)
}

// told returns err as it is.
func (h *health) told(verb, name string, err error) error {
	if err != nil && h.get() == nil {
		h.log.Error("index: write failed", "verb", verb, "file", name, "err", err)
		_ = h.failed(fmt.Errorf("%s %s: %w", verb, name, err)) // Commit returns it
	}
	return err
}
