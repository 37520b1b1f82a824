package index_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

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

// TestFailedLog lets writes of Pebble's log fail without end: commits turn to ErrFailed, the cause is told once, what was
// committed reads on, and Close returns. It runs in a process of its own, because Pebble is left as it is after that and
// keeps its goroutines.
func TestFailedLog(t *testing.T) {
	const child = "LEAT_INDEX_TEST_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestFailedLog$", "-test.timeout=20s")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "all checks passed")
		return
	}
	full := fullDisk(".log")
	var told atomic.Int32
	o := options(errorfs.Wrap(vfs.NewMem(), full))
	o.OnFatal = func(error) { told.Add(1) }
	x, err := index.Open(o)
	require.NoError(t, err)
	p := x.Partition(1)
	full.On()
	i := uint64(0)
	for range 100 { // fills blocks of the log, and stays short of a rotation
		i++
		if err = entry(p, i, 1000); err != nil {
			i--
			break
		}
	}
	require.Eventually(t, func() bool { return x.Err() != nil }, 5*time.Second, time.Millisecond)
	err = entry(p, i+1, 10)
	require.ErrorIs(t, err, index.ErrFailed)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorIs(t, p.Reset(), index.ErrFailed)
	require.ErrorIs(t, x.Sync(), index.ErrFailed)
	require.ErrorIs(t, x.Err(), index.ErrFailed)
	require.Equal(t, int32(1), told.Load())
	require.Equal(t, i, checkEntries(t, p))
	require.ErrorIs(t, x.Close(), index.ErrFailed)
	fmt.Println("all checks passed")
	os.Exit(0)
}
