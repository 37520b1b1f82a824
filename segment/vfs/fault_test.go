package vfs_test

import (
	"errors"
	"io/fs"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// everything calls each operation once, in the order of Ops, and joins the errors.
func everything(fsys vfs.FS) error {
	var errs []error
	note := func(err error) { errs = append(errs, err) }
	f, err := fsys.Create("/f")
	note(err)
	if err != nil {
		f, _ = fsys.Create("/f")
	}
	opened, err := fsys.Open("/f")
	note(err)
	if err == nil {
		note(opened.Close())
	}
	rw, err := fsys.OpenReadWrite("/f")
	note(err)
	if err == nil {
		note(rw.Close())
	}
	note(fsys.MkdirAll("/d"))
	_, err = fsys.List("/")
	note(err)
	_, err = fsys.Stat("/f")
	note(err)
	_, err = fsys.Usage("/")
	note(err)
	l, err := fsys.Lock("/L")
	note(err)
	if err == nil {
		note(l.Close())
	}
	_, err = f.WriteAt(make([]byte, 100), 0)
	note(err)
	_, err = f.WriteVecAt([][]byte{make([]byte, 100)}, 0)
	note(err)
	_, err = f.ReadAt(make([]byte, 1), 0)
	if err != nil {
		note(err)
	}
	note(f.Preallocate(8192))
	note(f.SyncData())
	note(f.Sync())
	_, err = f.Size()
	note(err)
	note(f.FlushRange(0, 1))
	note(f.DropCache())
	m, err := f.Map(1)
	note(err)
	if err == nil {
		note(m.Populate(0, 1))
		note(m.Close())
	}
	note(f.Close())
	note(fsys.Rename("/f", "/g"))
	note(fsys.SyncDir("/"))
	note(fsys.Remove("/g"))
	return errors.Join(errs...)
}

// TestFaultEveryOp: without rules each operation is passed on and counted; a rule for an operation fails it, with the
// operation and the file in the error; failing call number i, for every i, is seen each time.
func TestFaultEveryOp(t *testing.T) {
	clean := vfs.NewFault(vfs.NewMem())
	require.NoError(t, everything(clean))
	for _, op := range vfs.Ops() {
		require.Positive(t, clean.Count(op), op.String())
		t.Run(op.String(), func(t *testing.T) {
			f := vfs.NewFault(vfs.NewMem())
			rule := f.Inject(vfs.Rule{Op: op, Count: 1, Err: syscall.EDQUOT})
			err := everything(f)
			require.ErrorIs(t, err, syscall.EDQUOT)
			var pathErr *fs.PathError
			require.ErrorAs(t, err, &pathErr)
			require.Equal(t, op.String(), pathErr.Op)
			require.NotEmpty(t, pathErr.Path)
			require.Equal(t, 1, rule.Hits())
		})
	}
	total := clean.Total()
	require.GreaterOrEqual(t, total, len(vfs.Ops()))
	for i := range total {
		f := vfs.NewFault(vfs.NewMem())
		f.Inject(vfs.Rule{After: i, Count: 1})
		require.ErrorIs(t, everything(f), syscall.EIO, i)
	}
	clean.ResetCounts()
	require.Zero(t, clean.Total())
}

// TestFaultMatching: After, Count, the two kinds of Path, both names of a rename, removal.
func TestFaultMatching(t *testing.T) {
	m := vfs.NewMem()
	f := vfs.NewFault(m)
	require.NoError(t, f.MkdirAll("/p1"))
	seg, other := create(t, f, "/p1/1.seg"), create(t, f, "/p1/MANIFEST")

	rule := f.Inject(vfs.Rule{Op: vfs.OpSyncData, Path: "*.seg", After: 1, Count: 2})
	for i, fails := range []bool{false, true, true, false} {
		require.NoError(t, other.SyncData())
		require.NoError(t, seg.Sync())
		require.Equal(t, fails, seg.SyncData() != nil, i)
	}
	require.Equal(t, 2, rule.Hits())

	f.Clear()
	rule = f.Inject(vfs.Rule{Op: vfs.OpSyncData, Path: "p1/MANI"})
	for range 3 {
		require.ErrorIs(t, other.SyncData(), syscall.EIO)
		require.NoError(t, seg.SyncData())
	}
	rule.Remove()
	rule.Remove()
	require.NoError(t, other.SyncData())

	f.Inject(vfs.Rule{Op: vfs.OpRename, Path: "bad"})
	require.Error(t, f.Rename("/p1/1.seg", "/p1/1.bad"))
	require.NoError(t, f.Rename("/p1/1.seg", "/p1/2.seg"))
	require.Equal(t, []string{"2.seg", "MANIFEST"}, names(t, m, "/p1"))
}

// TestFaultOrder: of two rules for one call the first that decides wins, and hooks of both run.
func TestFaultOrder(t *testing.T) {
	f := vfs.NewFault(vfs.NewMem())
	ran := 0
	f.Inject(vfs.Rule{Hook: func() { ran++; f.Count(vfs.OpAny) }})
	f.Inject(vfs.Rule{Op: vfs.OpMkdirAll, Err: syscall.EROFS, Hook: func() { ran++ }})
	f.Inject(vfs.Rule{Op: vfs.OpMkdirAll, Skip: true, Hook: func() { ran++ }})
	require.ErrorIs(t, f.MkdirAll("/x"), syscall.EROFS)
	require.Equal(t, 3, ran)
}

// TestFaultShort: a torn write or read does its first bytes and then fails.
func TestFaultShort(t *testing.T) {
	m := vfs.NewMem()
	f := vfs.NewFault(m)
	file := create(t, f, "/f")
	f.Inject(vfs.Rule{Op: vfs.OpWriteAt, Err: syscall.EIO, Short: 3})
	f.Inject(vfs.Rule{Op: vfs.OpWriteVecAt, Err: syscall.ENOSPC, Short: 5})
	f.Inject(vfs.Rule{Op: vfs.OpReadAt, Err: syscall.EIO, Short: 2})

	n, err := file.WriteAt([]byte("abcdef"), 0)
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, 3, n)
	vecN, err := file.WriteVecAt([][]byte{[]byte("gh"), nil, []byte("ijklm")}, 3)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.EqualValues(t, 5, vecN)
	require.Equal(t, "abcghijk", string(contents(t, m, "/f")))
	buf := make([]byte, 4)
	n, err = file.ReadAt(buf, 0)
	require.ErrorIs(t, err, syscall.EIO)
	require.Equal(t, "ab", string(buf[:n]))
}

// TestFaultSkip: a skipped operation reports success and does nothing.
func TestFaultSkip(t *testing.T) {
	m := vfs.NewMem()
	f := vfs.NewFault(m)
	file := create(t, f, "/f")
	write(t, file, []byte("synced"), 0)
	require.NoError(t, file.SyncData())
	require.NoError(t, f.SyncDir("/"))

	f.Inject(vfs.Rule{Skip: true})
	create(t, f, "/g") // Has a result, so it can't be skipped.
	write(t, file, []byte("lost"), 0)
	n, err := file.WriteVecAt([][]byte{[]byte("lo"), []byte("st")}, 0)
	require.NoError(t, err)
	require.EqualValues(t, 4, n)
	require.NoError(t, f.Remove("/f"))
	require.Equal(t, "synced", string(contents(t, m, "/f")))
	f.Clear()

	for op, sync := range map[vfs.Op]func() error{
		vfs.OpSyncData: file.SyncData, vfs.OpSync: file.Sync, vfs.OpSyncDir: func() error { return f.SyncDir("/") },
	} {
		rule := f.Inject(vfs.Rule{Op: op, Skip: true})
		write(t, file, []byte("newer"), 0)
		require.NoError(t, sync())
		require.Equal(t, 1, rule.Hits())
		clone := m.CrashClone(vfs.CrashOptions{})
		require.Equal(t, "synced", string(contents(t, clone, "/f")), op.String())
		require.Equal(t, []string{"f"}, names(t, clone, "/"))
		rule.Remove()
	}
}

// TestFaultDelay: a delayed call takes that long by the clock, a held-up one does not hold up others.
func TestFaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := vfs.NewFault(vfs.NewMem())
		f.Inject(vfs.Rule{Op: vfs.OpSyncDir, Delay: time.Minute})
		start := time.Now()
		done := make(chan error)
		go func() { done <- f.SyncDir("/") }()
		synctest.Wait()
		require.NoError(t, f.MkdirAll("/x"))
		require.Zero(t, time.Since(start))
		require.NoError(t, <-done)
		require.Equal(t, time.Minute, time.Since(start))
	})
}
