package node

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// Aim: a data directory that is not this node's, or says nothing readable about
// whose it is, is refused with a reason and left as it is. Method: make one with
// records in it, close; for each case change NODE or the options, and require the
// error, and every byte of the directory as before; in the end the node opens
// with all records.
func TestForeignDirectory(t *testing.T) {
	d, h := newDisk(), newHistory()
	st, err := d.storage()
	require.NoError(t, err)
	h.fill(t, st, 2)
	require.NoError(t, st.close())
	name := filepath.Join("data", "NODE")
	good, err := vfs.ReadFile(d.files, name)
	require.NoError(t, err)
	before := contents(t, d.files, "data")

	for _, c := range []struct {
		name string
		file func() []byte // what NODE holds; nil: none
		set  func(*Options)
		want string
	}{
		{"of a later format", func() []byte {
			data, err := (&Identity{Format: formatVersion + 1, NodeID: "n1", ClusterID: "test", Partitions: 2}).encode()
			require.NoError(t, err)
			return data
		}, nil, "use the version of leat that wrote it"},
		{"of another node", nil, func(o *Options) { o.NodeID = "n2" }, `belongs to node "n1", not to "n2"`},
		{"of another cluster", nil, func(o *Options) { o.ClusterID = "prod" }, `belongs to cluster "test", not to "prod"`},
		{"with another number of partitions", nil, func(o *Options) { o.Partitions = 3 }, "has 2 partitions, not 3"},
		{"with a flipped bit", func() []byte { return append([]byte{good[0] ^ 4}, good[1:]...) }, nil, "damaged or was edited"},
		{"edited", func() []byte { return []byte(strings.Replace(string(good), `"n1"`, `"n2"`, 1)) }, nil, "damaged or was edited"},
		{"cut short", func() []byte { return good[:len(good)/2] }, nil, "damaged or was edited"},
		{"empty", func() []byte { return []byte{} }, nil, "damaged or was edited"},
		{"missing", func() []byte { return nil }, nil, "no file NODE"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.file != nil {
				require.NoError(t, d.files.Remove(name))
				if data := c.file(); data != nil {
					require.NoError(t, vfs.WriteFileAtomic(d.files, name, data))
				}
			}
			o := d.options()
			if c.set != nil {
				c.set(&o)
			}
			_, err := Open(o)
			require.True(t, errors.Is(err, ErrForeign) || errors.Is(err, ErrVersion), err)
			require.ErrorContains(t, err, "data")
			require.ErrorContains(t, err, c.want)
			if c.file != nil && c.file() != nil {
				require.NoError(t, d.files.Remove(name))
			}
			if c.file != nil {
				require.NoError(t, vfs.WriteFileAtomic(d.files, name, good))
			}
			require.Equal(t, before, contents(t, d.files, "data"))
		})
	}
	st, err = d.storage()
	require.NoError(t, err)
	require.True(t, h.check(t, st, "after all refusals"))
	require.NoError(t, st.close())
}

// contents are all files below dir by name.
func contents(t *testing.T, files *vfs.MemFS, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, name := range walk(t, files, dir) {
		data, err := vfs.ReadFile(files, name)
		require.NoError(t, err)
		all[name] = string(data)
	}
	return all
}

// walk lists all files below dir.
func walk(t *testing.T, files *vfs.MemFS, dir string) (all []string) {
	t.Helper()
	names, err := files.List(dir)
	require.NoError(t, err)
	for _, n := range names {
		path := filepath.Join(dir, n)
		info, err := files.Stat(path)
		require.NoError(t, err)
		if info.IsDir {
			all = append(all, walk(t, files, path)...)
		} else {
			all = append(all, path)
		}
	}
	return all
}

// Aim: a node that cannot start says why and leaves no lock, port or goroutine
// behind. Method: take away one thing that it needs after the other; after each
// failure the same directory opens (goleak looks at goroutines).
func TestStartFails(t *testing.T) {
	d := newDisk()
	o := d.options()
	n, err := Open(o)
	require.NoError(t, err)
	taken := n.Addr()
	_, err = Open(o)
	require.ErrorIs(t, err, vfs.ErrLocked)
	require.ErrorContains(t, err, "in use by another process")
	other := newDisk()
	oo := other.options()
	oo.Listen = taken
	_, err = Open(oo)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, taken)
	require.NoError(t, n.Close())

	var lc net.ListenConfig
	busy, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, busy.Close()) }()
	bad := o
	bad.HTTP = busy.Addr().String()
	fresh := newDisk()
	bad.Files, bad.IndexFiles = fresh.fault, fresh.index
	_, err = Open(bad)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.ErrorContains(t, err, busy.Addr().String())
	require.Zero(t, fresh.fault.Total(), "a directory was made for a node that can't be")
	bad.HTTP = "no address"
	_, err = Open(bad)
	require.Error(t, err)

	// Every operation of a start fails in turn: there is an error or a node, and
	// nothing stays behind.
	d.fault.ResetCounts()
	n, err = Open(o)
	require.NoError(t, err)
	total := d.fault.Total()
	require.NoError(t, n.Close())
	refused := 0
	for i := range total {
		rule := d.fault.Inject(vfs.Rule{After: i, Count: 1, Err: syscall.EACCES})
		n, err := Open(o)
		rule.Remove()
		if err == nil {
			_ = n.Close() // what the failure poisoned is told again
			continue
		}
		refused++
		require.ErrorIs(t, err, syscall.EACCES, "operation %d", i)
	}
	t.Logf("%d of %d failures refuse the start", refused, total)
	n, err = Open(o)
	require.NoError(t, err)
	require.NoError(t, n.Close())
}

// Aim: a directory that cannot be one is refused by name. Method: the operating
// system's file system: a file in its place, below a file, and one that must not
// be written.
func TestUnusableDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	for dir, want := range map[string]error{
		file:                         syscall.ENOTDIR,
		filepath.Join(file, "below"): syscall.ENOTDIR,
		"/proc/leat":                 fs.ErrNotExist, // nothing can be made there, not even by root
	} {
		_, err := Open(Options{Dir: dir, Listen: "127.0.0.1:0"})
		require.Error(t, err)
		require.ErrorContains(t, err, filepath.Base(dir))
		require.True(t, errors.Is(err, want) || errors.Is(err, fs.ErrPermission), "%v", err)
	}
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(data))
	if os.Getuid() == 0 {
		t.Log("permissions do not bind root, so a directory without them is not tried")
		return
	}
	closed := filepath.Join(t.TempDir(), "closed")
	require.NoError(t, os.Mkdir(closed, 0o500))
	_, err = Open(Options{Dir: closed, Listen: "127.0.0.1:0"})
	require.ErrorIs(t, err, fs.ErrPermission)
}

// Aim: options that a node cannot keep for good leave no directory behind that
// says so. Method: open with each; nothing must be made, so that the right ones
// open then.
func TestOptionsBeforeDirectory(t *testing.T) {
	d := newDisk()
	for name, set := range map[string]func(*Options){
		"cluster ID with a space": func(o *Options) { o.ClusterID = "my cluster" },
		"cluster ID with a dot":   func(o *Options) { o.ClusterID = "my.cluster" },
		"cluster ID too long":     func(o *Options) { o.ClusterID = strings.Repeat("x", 65) },
		"node ID with a newline":  func(o *Options) { o.NodeID = "a\nb" },
		"node ID too long":        func(o *Options) { o.NodeID = strings.Repeat("x", 65) },
		"too many partitions":     func(o *Options) { o.Partitions = 257 },
		"segments too small":      func(o *Options) { o.SegmentBytes = 4096 },
		"odd segments":            func(o *Options) { o.SegmentBytes = 1<<20 + 1 },
		"no directory":            func(o *Options) { o.Dir = "" },
	} {
		o := d.options()
		set(&o)
		_, err := Open(o)
		require.ErrorContains(t, err, "node: ", name)
		names, err := d.files.List("/")
		require.NoError(t, err)
		require.Empty(t, names, name)
	}
	d.node(t)
}

// Aim: a first start that was killed between writing a name and making it durable
// leaves nothing that a power cut after the second start takes. Method: each sync
// of a folder fails in turn in the first start; the second one stores records;
// then the power goes.
func TestFirstStartAgain(t *testing.T) {
	for i := 0; ; i++ {
		d, h := newDisk(), newHistory()
		rule := d.fault.Inject(vfs.Rule{Op: vfs.OpSyncDir, After: i, Count: 1})
		st, err := d.storage()
		if err == nil {
			require.NoError(t, st.close())
		}
		if rule.Hits() == 0 {
			require.Greater(t, i, 5)
			return
		}
		st, err = d.storage()
		require.NoError(t, err, "sync %d failed", i)
		require.NoError(t, h.store(st, 0, 5))
		cut := diskOf(d.files.CrashClone(vfs.CrashOptions{}), pebblevfs.NewMem())
		require.NoError(t, st.close())
		st, err = cut.storage()
		require.NoError(t, err, "sync %d failed", i)
		require.True(t, h.check(t, st, "after the power cut"), "sync %d failed", i)
		require.NoError(t, st.close())
	}
}
