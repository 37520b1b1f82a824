//go:build linux

package vfs_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"leat.dev/leat/segment/vfs"
)

// TestWriteVecAllocates: after a first call, WriteVecAt allocates nothing, also beyond what one system call takes.
func TestWriteVecAllocates(t *testing.T) {
	f := create(t, vfs.OS{}, filepath.Join(t.TempDir(), "f"))
	for _, count := range []int{2, 64, 1500} {
		bufs := make([][]byte, count)
		for i := range bufs {
			bufs[i] = fill(100, byte(i))
		}
		got := testing.AllocsPerRun(50, func() {
			if n, err := f.WriteVecAt(bufs, 0); err != nil || n != int64(100*count) {
				t.Errorf("got %d, %v", n, err)
			}
		})
		require.Zero(t, got, count)
	}
}

// TestWriteVecShort: a limit on the size of files makes the kernel write less than asked for in the middle of a buffer,
// and then fail. Run in a process of its own, as the limit holds for the whole process.
func TestWriteVecShort(t *testing.T) {
	const dirVar = "VFS_TEST_SHORT_DIR"
	dir := os.Getenv(dirVar)
	if dir == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestWriteVecShort$", "-test.v")
		cmd.Env = append(os.Environ(), dirVar+"="+t.TempDir())
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		require.Contains(t, string(out), "PASS: TestWriteVecShort")
		return
	}
	name := filepath.Join(dir, "f")
	f := create(t, vfs.OS{}, name)
	var before unix.Rlimit
	require.NoError(t, unix.Getrlimit(unix.RLIMIT_FSIZE, &before))
	limit := unix.Rlimit{Cur: 1000, Max: before.Max}
	require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &limit))
	defer func() { require.NoError(t, unix.Setrlimit(unix.RLIMIT_FSIZE, &before)) }()
	n, err := f.WriteVecAt([][]byte{fill(300, 'a'), fill(300, 'b'), fill(300, 'c'), fill(300, 'd')}, 50)
	require.ErrorIs(t, err, syscall.EFBIG)
	require.EqualValues(t, 950, n)
	want := append(make([]byte, 50), bytes.Join([][]byte{fill(300, 'a'), fill(300, 'b'), fill(300, 'c'), fill(50, 'd')}, nil)...)
	require.Equal(t, want, contents(t, vfs.OS{}, name))
	require.ErrorIs(t, f.Preallocate(5000), syscall.EFBIG)
}

// TestPopulateError: a page that can't be had is an error of Populate. The file is cut behind the mapping's back, which
// makes touching the page a SIGBUS.
func TestPopulateError(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f := create(t, vfs.OS{}, name)
	size := int64(8 * os.Getpagesize())
	require.NoError(t, f.Preallocate(size))
	m, err := f.Map(size)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	require.NoError(t, m.Populate(0, size))
	if err := unix.Madvise(m.Bytes(), unix.MADV_POPULATE_READ); err != nil {
		t.Skip("the kernel has no MADV_POPULATE_READ")
	}
	require.NoError(t, os.Truncate(name, size/2))
	require.NoError(t, m.Populate(0, size/2))
	err = m.Populate(size/2+5, 10)
	require.ErrorIs(t, err, syscall.EFAULT)
	require.ErrorContains(t, err, name)
}

// TestPreallocateAllocates: the blocks are there on disk, not only the size.
func TestPreallocateAllocates(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	f := create(t, vfs.OS{}, name)
	require.NoError(t, f.Preallocate(2<<20))
	require.NoError(t, f.Sync())
	var st unix.Stat_t
	require.NoError(t, unix.Stat(name, &st))
	require.GreaterOrEqual(t, st.Blocks*512, int64(2<<20))
}

// TestLockExcludesProcesses: a lock held here is seen by another process, through the flock program's exit code.
func TestLockExcludesProcesses(t *testing.T) {
	flock, err := exec.LookPath("flock")
	if err != nil {
		t.Skip("no flock program")
	}
	name := filepath.Join(t.TempDir(), "LOCK")
	l, err := vfs.OS{}.Lock(name)
	require.NoError(t, err)
	require.Error(t, exec.Command(flock, "-n", name, "true").Run())
	require.NoError(t, l.Close())
	require.NoError(t, exec.Command(flock, "-n", name, "true").Run())
}
