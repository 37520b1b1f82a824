package vfs_test

import (
	"bytes"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/segment/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fill makes a recognisable pattern.
func fill(n int, b byte) []byte { return bytes.Repeat([]byte{b}, n) }

func create(t *testing.T, fsys vfs.FS, name string) vfs.File {
	t.Helper()
	f, err := fsys.Create(name)
	require.NoError(t, err)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func write(t *testing.T, f vfs.File, data []byte, off int64) {
	t.Helper()
	n, err := f.WriteAt(data, off)
	require.NoError(t, err)
	require.Equal(t, len(data), n)
}

func contents(t *testing.T, fsys vfs.FS, name string) []byte {
	t.Helper()
	data, err := vfs.ReadFile(fsys, name)
	require.NoError(t, err)
	return data
}

func names(t *testing.T, fsys vfs.FS, dir string) []string {
	t.Helper()
	list, err := fsys.List(dir)
	require.NoError(t, err)
	return list
}

// TestConformance: OS, MemFS and a Fault without rules must not be told apart. Each case runs on all of them, in a
// directory of its own.
func TestConformance(t *testing.T) {
	systems := map[string]func(t *testing.T) (vfs.FS, string){
		"os":    func(t *testing.T) (vfs.FS, string) { return vfs.OS{}, t.TempDir() },
		"mem":   func(t *testing.T) (vfs.FS, string) { return memIn(t, "/d"), "/d" },
		"fault": func(t *testing.T) (vfs.FS, string) { return vfs.NewFault(memIn(t, "/d")), "/d" },
		"clone": func(t *testing.T) (vfs.FS, string) {
			return memIn(t, "/d").CrashClone(vfs.CrashOptions{UnsyncedShare: 1}), "/d"
		},
	}
	cases := map[string]func(t *testing.T, fsys vfs.FS, dir string){
		"names":       conformNames,
		"rename":      conformRename,
		"directories": conformDirectories,
		"read write":  conformReadWrite,
		"read only":   conformReadOnly,
		"vector":      conformVector,
		"preallocate": conformPreallocate,
		"mapping":     conformMapping,
		"map ends":    conformMapEnds,
		"unlinked":    conformUnlinked,
		"closed":      conformClosed,
		"lock":        conformLock,
		"usage":       conformUsage,
		"atomic":      conformAtomic,
		"mkdir sync":  conformMkdirSync,
	}
	for system, open := range systems {
		for name, run := range cases {
			t.Run(system+"/"+name, func(t *testing.T) {
				fsys, dir := open(t)
				run(t, fsys, dir)
			})
		}
	}
}

func memIn(t *testing.T, dir string) *vfs.MemFS {
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll(dir))
	return m
}

func conformNames(t *testing.T, fsys vfs.FS, dir string) {
	b, a := filepath.Join(dir, "b"), filepath.Join(dir, "a")
	f := create(t, fsys, b)
	require.Equal(t, b, f.Name())
	create(t, fsys, a)
	_, err := fsys.Create(a)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, a)
	require.Equal(t, []string{"a", "b"}, names(t, fsys, dir))

	write(t, f, []byte("12345"), 0)
	info, err := fsys.Stat(b)
	require.NoError(t, err)
	require.Equal(t, vfs.Info{Name: "b", SizeBytes: 5}, info)

	require.NoError(t, fsys.Remove(a))
	require.Equal(t, []string{"b"}, names(t, fsys, dir))
	missing := map[string]error{"remove": fsys.Remove(a), "rename": fsys.Rename(a, b)}
	_, missing["open"] = fsys.Open(a)
	_, missing["open-rw"] = fsys.OpenReadWrite(a)
	_, missing["stat"] = fsys.Stat(a)
	_, missing["list"] = fsys.List(a)
	_, missing["usage"] = fsys.Usage(a)
	_, missing["create below"] = fsys.Create(filepath.Join(a, "x"))
	_, missing["lock below"] = fsys.Lock(filepath.Join(a, "x"))
	missing["sync"] = fsys.SyncDir(a)
	for op, err := range missing {
		require.ErrorIs(t, err, fs.ErrNotExist, op)
	}
	_, err = fsys.Open(filepath.Join(b, "x"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = fsys.Create(filepath.Join(b, "x"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
	_, err = fsys.List(b)
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

func conformRename(t *testing.T, fsys vfs.FS, dir string) {
	a, b, sub := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "sub")
	write(t, create(t, fsys, a), []byte("from a"), 0)
	write(t, create(t, fsys, b), []byte("from b"), 0)
	require.NoError(t, fsys.Rename(a, a))
	require.NoError(t, fsys.Rename(a, b))
	require.Equal(t, []string{"b"}, names(t, fsys, dir))
	require.Equal(t, "from a", string(contents(t, fsys, b)))

	require.NoError(t, fsys.MkdirAll(sub))
	require.NoError(t, fsys.Rename(b, filepath.Join(sub, "c")))
	require.Equal(t, []string{"sub"}, names(t, fsys, dir))
	require.Equal(t, "from a", string(contents(t, fsys, filepath.Join(sub, "c"))))

	require.NoError(t, fsys.Rename(sub, filepath.Join(dir, "moved")))
	require.Equal(t, "from a", string(contents(t, fsys, filepath.Join(dir, "moved", "c"))))
	create(t, fsys, a)
	require.ErrorIs(t, fsys.Rename(a, filepath.Join(dir, "moved")), fs.ErrExist)
	require.ErrorIs(t, fsys.Rename(filepath.Join(dir, "moved"), a), syscall.ENOTDIR)
}

func conformDirectories(t *testing.T, fsys vfs.FS, dir string) {
	deep := filepath.Join(dir, "x", "y", "z")
	require.NoError(t, fsys.MkdirAll(deep))
	require.NoError(t, fsys.MkdirAll(deep))
	info, err := fsys.Stat(deep)
	require.NoError(t, err)
	require.True(t, info.IsDir)
	require.Equal(t, "z", info.Name)
	require.ErrorIs(t, fsys.Remove(filepath.Dir(deep)), syscall.ENOTEMPTY)
	require.NoError(t, fsys.SyncDir(deep))
	require.NoError(t, fsys.Remove(deep))
	require.Empty(t, names(t, fsys, filepath.Dir(deep)))
	create(t, fsys, deep)
	require.ErrorIs(t, fsys.MkdirAll(filepath.Join(deep, "w")), syscall.ENOTDIR)
}

func conformReadWrite(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name)
	write(t, f, []byte("hello"), 5000)
	write(t, f, []byte("HE"), 5000)
	size, err := f.Size()
	require.NoError(t, err)
	require.EqualValues(t, 5005, size)
	require.Equal(t, append(make([]byte, 5000), "HEllo"...), contents(t, fsys, name))

	buf := make([]byte, 10)
	n, err := f.ReadAt(buf, 5001)
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, "Ello", string(buf[:n]))
	n, err = f.ReadAt(buf[:4], 5001)
	require.NoError(t, err)
	require.Equal(t, 4, n)
	_, err = f.ReadAt(buf, 6000)
	require.ErrorIs(t, err, io.EOF)
	_, err = f.ReadAt(buf, -1)
	require.Error(t, err)
	_, err = f.WriteAt(buf, -1)
	require.Error(t, err)

	require.NoError(t, f.SyncData())
	require.NoError(t, f.Sync())
	require.NoError(t, f.DropCache())
	again, err := fsys.OpenReadWrite(name)
	require.NoError(t, err)
	write(t, again, []byte("x"), 0)
	require.NoError(t, again.Close())
	require.Equal(t, byte('x'), contents(t, fsys, name)[0])
}

func conformReadOnly(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	write(t, create(t, fsys, name), []byte("kept"), 0)
	f, err := fsys.Open(name)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	_, err = f.WriteAt([]byte("lost"), 0)
	require.ErrorIs(t, err, syscall.EBADF)
	_, err = f.WriteVecAt([][]byte{[]byte("lost")}, 0)
	require.ErrorIs(t, err, syscall.EBADF)
	require.ErrorIs(t, f.Preallocate(100), syscall.EBADF)
	require.Equal(t, "kept", string(contents(t, fsys, name)))
}

// conformVector goes past the 1,024 buffers that one call takes, with empty ones among them.
func conformVector(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name)
	var bufs [][]byte
	var want []byte
	for i := range 3000 {
		buf := fill(i%7, byte(i))
		bufs = append(bufs, buf)
		want = append(want, buf...)
	}
	n, err := f.WriteVecAt(bufs, 3)
	require.NoError(t, err)
	require.EqualValues(t, len(want), n)
	require.Equal(t, append(make([]byte, 3), want...), contents(t, fsys, name))
	require.Len(t, bufs[6], 6, "the caller's buffers are as they were")

	for _, none := range [][][]byte{nil, {}, {nil, {}}} {
		n, err := f.WriteVecAt(none, 0)
		require.NoError(t, err)
		require.Zero(t, n)
	}
	_, err = f.WriteVecAt([][]byte{{1}}, -1)
	require.ErrorIs(t, err, syscall.EINVAL)
	require.ErrorContains(t, err, name)
}

func conformPreallocate(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name)
	write(t, f, []byte("head"), 0)
	const size = 3<<20 + 777
	require.NoError(t, f.Preallocate(size))
	require.NoError(t, f.Preallocate(size))
	require.NoError(t, f.Preallocate(10))
	got := contents(t, fsys, name)
	require.True(t, bytes.Equal(append([]byte("head"), make([]byte, size-4)...), got))
}

// conformMapping: a mapping shows writes made after it, survives the file's handle, and shows writes also when the
// file has grown since.
func conformMapping(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name)
	require.NoError(t, f.Preallocate(20000))
	m, err := f.Map(20000)
	require.NoError(t, err)
	require.Len(t, m.Bytes(), 20000)
	write(t, f, []byte("written"), 9000)
	require.NoError(t, m.Populate(8999, 100))
	require.NoError(t, m.Populate(20000, 0))
	require.Equal(t, "written", string(m.Bytes()[9000:9007]))

	write(t, f, fill(100000, 'g'), 15000)
	write(t, f, []byte("late"), 100)
	require.Equal(t, "late", string(m.Bytes()[100:104]))
	require.Equal(t, fill(5000, 'g'), m.Bytes()[15000:])

	require.NoError(t, f.Close())
	require.Equal(t, "written", string(m.Bytes()[9000:9007]))
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	require.Nil(t, m.Bytes())
	require.ErrorIs(t, m.Populate(0, 1), fs.ErrClosed)
}

func conformMapEnds(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"))
	write(t, f, fill(100, 1), 0)
	_, err := f.Map(101)
	require.ErrorIs(t, err, vfs.ErrBeyondEnd)
	for _, size := range []int64{0, -1} {
		_, err = f.Map(size)
		require.ErrorIs(t, err, syscall.EINVAL)
	}
	m, err := f.Map(50)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	for _, r := range [][2]int64{{-1, 1}, {0, -1}, {0, 51}, {51, 0}, {50, 1}, {1, 1<<63 - 1}} {
		require.ErrorIs(t, m.Populate(r[0], r[1]), vfs.ErrBeyondEnd, r)
	}
}

func conformUnlinked(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "f")
	f := create(t, fsys, name)
	write(t, f, []byte("old file"), 0)
	m, err := f.Map(8)
	require.NoError(t, err)
	require.NoError(t, fsys.Remove(name))
	write(t, create(t, fsys, name), []byte("new"), 0)
	buf := make([]byte, 8)
	_, err = f.ReadAt(buf, 0)
	require.NoError(t, err)
	require.Equal(t, "old file", string(buf))
	require.NoError(t, f.Close())
	require.Equal(t, "old file", string(m.Bytes()))
	require.NoError(t, m.Close())
	require.Equal(t, "new", string(contents(t, fsys, name)))
}

func conformClosed(t *testing.T, fsys vfs.FS, dir string) {
	f := create(t, fsys, filepath.Join(dir, "f"))
	write(t, f, []byte("x"), 0)
	require.NoError(t, f.Close())
	errs := map[string]error{
		"close": f.Close(), "sync": f.Sync(), "sync-data": f.SyncData(), "preallocate": f.Preallocate(9),
		"drop": f.DropCache(),
	}
	_, errs["read"] = f.ReadAt(make([]byte, 1), 0)
	_, errs["write"] = f.WriteAt(make([]byte, 1), 0)
	_, errs["vec"] = f.WriteVecAt([][]byte{{1}}, 0)
	_, errs["size"] = f.Size()
	_, errs["map"] = f.Map(1)
	for op, err := range errs {
		require.ErrorIs(t, err, fs.ErrClosed, op)
	}
}

func conformLock(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "LOCK")
	l, err := fsys.Lock(name)
	require.NoError(t, err)
	_, err = fsys.Lock(name)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.ErrorContains(t, err, name)
	require.NoError(t, l.Close())
	require.ErrorIs(t, l.Close(), fs.ErrClosed)
	l, err = fsys.Lock(name)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Equal(t, []string{"LOCK"}, names(t, fsys, dir))
}

func conformUsage(t *testing.T, fsys vfs.FS, dir string) {
	u, err := fsys.Usage(dir)
	require.NoError(t, err)
	require.Positive(t, u.TotalBytes)
	require.Positive(t, u.AvailableBytes)
	require.LessOrEqual(t, u.AvailableBytes, u.TotalBytes)
}

func conformAtomic(t *testing.T, fsys vfs.FS, dir string) {
	name := filepath.Join(dir, "MANIFEST")
	create(t, fsys, name+".tmp") // Left over by a crash.
	for _, want := range []string{"one", strings.Repeat("long ", 5000), ""} {
		require.NoError(t, vfs.WriteFileAtomic(fsys, name, []byte(want)))
		require.Equal(t, want, string(contents(t, fsys, name)))
		require.Equal(t, []string{"MANIFEST"}, names(t, fsys, dir))
	}
	_, err := vfs.ReadFile(fsys, filepath.Join(dir, "none"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	err = vfs.WriteFileAtomic(fsys, filepath.Join(dir, "no", "where"), nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func conformMkdirSync(t *testing.T, fsys vfs.FS, dir string) {
	deep := filepath.Join(dir, "p", "q")
	require.NoError(t, vfs.MkdirAllSync(fsys, deep))
	require.NoError(t, vfs.MkdirAllSync(fsys, deep))
	require.Equal(t, []string{"q"}, names(t, fsys, filepath.Dir(deep)))
}
