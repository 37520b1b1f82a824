package index_test

import (
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
)

// fullDisk fails writes to, and creation of, files with this extension while it is on.
func fullDisk(ext string) *errorfs.Toggle {
	return &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
		write := op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpFileSync ||
			op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFilePreallocate
		if write && filepath.Ext(op.Path) == ext {
			return &fs.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	})}
}

// TestFullDiskUnderTables lets flushes fail for a while: commits go on, nothing is lost, and the flush is made up for.
func TestFullDiskUnderTables(t *testing.T) {
	full := fullDisk(".sst")
	x := open(t, errorfs.Wrap(vfs.NewMem(), full))
	p := x.Partition(1)
	full.On()
	for i := range uint64(120) { // one memtable and a half: enough that one must be flushed
		require.NoError(t, entry(p, i+1, 10_000))
	}
	full.Off()
	for i := range uint64(600) {
		require.NoError(t, entry(p, 121+i, 10_000))
	}
	require.Equal(t, uint64(720), checkEntries(t, p))
	require.NoError(t, x.Err())
}

// TestOnDiskFull checks that the hook is called, and that when it makes room nobody else notices.
func TestOnDiskFull(t *testing.T) {
	full := fullDisk(".log")
	var called atomic.Int32
	o := options(errorfs.Wrap(vfs.NewMem(), full))
	o.OnDiskFull = func() {
		called.Add(1)
		full.Off()
	}
	x, err := index.Open(o)
	require.NoError(t, err)
	full.On()
	for i := range uint64(200) {
		require.NoError(t, entry(x.Partition(1), i+1, 1000))
	}
	require.NoError(t, x.Sync())
	require.Positive(t, called.Load())
	require.NoError(t, x.Err())
	require.NoError(t, x.Close())
}
