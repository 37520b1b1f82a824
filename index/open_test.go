package index_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

// TestLockedFolder opens one folder twice, on the real file system and in memory, and checks that neither Open nor Destroy
// goes through until it is closed, and that Destroy leaves nothing then.
func TestLockedFolder(t *testing.T) {
	for name, c := range map[string]struct {
		fs  vfs.FS
		dir string
	}{"memory": {vfs.NewMem(), "index"}, "disk": {nil, filepath.Join(t.TempDir(), "node", "index")}} {
		t.Run(name, func(t *testing.T) {
			x, err := index.Open(index.Options{Dir: c.dir, FS: c.fs})
			require.NoError(t, err)
			require.NoError(t, entry(x.Partition(1), 1, 0))
			_, err = index.Open(index.Options{Dir: c.dir, FS: c.fs})
			require.ErrorIs(t, err, index.ErrLocked)
			require.NotErrorIs(t, err, index.ErrDamaged)
			require.ErrorIs(t, index.Destroy(c.fs, c.dir), index.ErrLocked)
			require.Equal(t, uint64(1), checkEntries(t, x.Partition(1)))
			require.NoError(t, x.Close())

			x, err = index.Open(index.Options{Dir: c.dir, FS: c.fs})
			require.NoError(t, err)
			require.Equal(t, uint64(1), checkEntries(t, x.Partition(1)))
			require.NoError(t, x.Close())
			require.NoError(t, index.Destroy(c.fs, c.dir))
			x, err = index.Open(index.Options{Dir: c.dir, FS: c.fs})
			require.NoError(t, err)
			require.Empty(t, dump(t, x.Partition(1)))
			require.NoError(t, x.Close())
		})
	}
}

// TestForeignFolders opens stores that this version did not write, made with Pebble itself.
func TestForeignFolders(t *testing.T) {
	for name, c := range map[string]struct {
		keys   map[string]string
		marker string // of Pebble's format version
		check  func(t *testing.T, err error)
	}{
		"newer keys": {map[string]string{"\x00": "\x02\x00\x00\x00"}, "", func(t *testing.T, err error) {
			var v *index.VersionError
			require.ErrorAs(t, err, &v)
			require.Equal(t, index.VersionError{Dir: "index", Layer: "keys", Got: 2, Want: 1}, *v)
			require.NotErrorIs(t, err, index.ErrDamaged)
		}},
		"newer pebble": {nil, "099", func(t *testing.T, err error) {
			var v *index.VersionError
			require.ErrorAs(t, err, &v)
			require.Equal(t, "pebble", v.Layer)
			require.Equal(t, uint32(99), v.Got)
		}},
		"odd marker":   {nil, "zz", func(t *testing.T, err error) { require.ErrorIs(t, err, index.ErrDamaged) }},
		"no version":   {map[string]string{"a": "b"}, "", func(t *testing.T, err error) { require.ErrorIs(t, err, index.ErrDamaged) }},
		"long version": {map[string]string{"\x00": "12345"}, "", func(t *testing.T, err error) { require.ErrorIs(t, err, index.ErrDamaged) }},
		"our version":  {map[string]string{"\x00": "\x01\x00\x00\x00"}, "", func(t *testing.T, err error) { require.NoError(t, err) }},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			db, err := pebble.Open("index", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatTableFormatV6})
			require.NoError(t, err)
			for k, v := range c.keys {
				require.NoError(t, db.Set([]byte(k), []byte(v), pebble.Sync))
			}
			require.NoError(t, db.Close())
			if c.marker != "" {
				f, err := fs.Create("index/marker.format-version.999999."+c.marker, vfs.WriteCategoryUnspecified)
				require.NoError(t, err)
				require.NoError(t, f.Close())
			}
			for range 2 { // a refusal changes nothing and frees the lock
				x, err := index.Open(options(fs))
				c.check(t, err)
				if err == nil {
					require.NoError(t, x.Close())
				}
			}
		})
	}
}

// TestWrongKeysAreDamage writes keys and values that no batch writes with Pebble itself, and checks that each read that
// meets them says so.
func TestWrongKeysAreDamage(t *testing.T) {
	const prefix = "\x01\x00\x00\x00\x05" // partition 5
	for name, c := range map[string]struct {
		key, value string
		read       func(p *index.Partition) error
	}{
		"applied": {prefix + "\x02", "12345678123456781234", func(p *index.Partition) error { _, _, err := p.Applied(); return err }},
		"channel": {prefix + "\x03short", "", func(p *index.Partition) error {
			return p.Channels(func(record.ChannelID, []byte) error { return nil })
		}},
		"cursor": {prefix + "\x04short", "", func(p *index.Partition) error {
			return p.AllCursors(func(record.ChannelID, string, []byte) error { return nil })
		}},
		"segment": {prefix + "\x0612345678", "short", func(p *index.Partition) error {
			return p.Segments(func(record.SegmentID, index.SegmentMark) error { return nil })
		}},
		"segment alone": {prefix + "\x06\x00\x00\x00\x00\x00\x00\x00\x01", "1234567812345678123456781234", func(p *index.Partition) error {
			_, _, err := p.Segment(1)
			return err
		}},
		"extent": {
			prefix + "\x07\x00\x00\x00\x00\x00\x00\x00\x011234567812345678", "\x01\x01\x01\x01\x011234",
			func(p *index.Partition) error { _, _, _, err := p.FindExtent(1, 0); return err },
		},
		"extent by time": {
			prefix + "\x07\x00\x00\x00\x00\x00\x00\x00\x011234567812345678", "",
			func(p *index.Partition) error { _, _, _, err := p.FindExtentAtTime(1, 0); return err },
		},
		"extent's key": {
			prefix + "\x07\x00\x00\x00\x00\x00\x00\x00\x01", "",
			func(p *index.Partition) error { b := p.NewBatch(); b.DeleteChannel(1); return b.Commit() },
		},
		"holding": {
			prefix + "\x08\x00\x00\x00\x00\x00\x00\x00\x01", "",
			func(p *index.Partition) error { b := p.NewBatch(); b.DeleteSegment(1); return b.Commit() },
		},
		"dump": {prefix + "\x05", "", func(p *index.Partition) error { return p.Dump(&writer{}) }},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			db, err := pebble.Open("index", &pebble.Options{FS: fs, FormatMajorVersion: pebble.FormatTableFormatV6})
			require.NoError(t, err)
			require.NoError(t, db.Set([]byte{0}, []byte{1, 0, 0, 0}, nil))
			require.NoError(t, db.Set([]byte(c.key), []byte(c.value), nil))
			require.NoError(t, db.Close())
			require.ErrorIs(t, c.read(open(t, fs).Partition(5)), index.ErrDamaged)
		})
	}
}

// TestSystemErrorsAreNotDamage checks that an error of the system when a folder is opened is returned as what it is, so
// that nobody removes an index because the disk was full or a permission was missing; that Pebble's endless tries to flush
// do not make Open hang; and that the folder is free again once the system has recovered.
func TestSystemErrorsAreNotDamage(t *testing.T) {
	mem := vfs.NewMem()
	x := open(t, mem)
	require.NoError(t, entry(x.Partition(1), 1, 0))
	require.NoError(t, x.Sync())
	files := readFiles(t, mem)
	require.NoError(t, x.Close())
	for _, errno := range []syscall.Errno{syscall.EIO, syscall.ENOSPC, syscall.EMFILE, syscall.EACCES} {
		for _, kind := range []errorfs.OpKind{errorfs.OpOpen, errorfs.OpCreate, errorfs.OpList, errorfs.OpFileRead} {
			toggle := &errorfs.Toggle{Injector: errorfs.InjectorFunc(func(op errorfs.Op) error {
				if op.Kind == kind {
					return &fs.PathError{Op: "test", Path: op.Path, Err: errno}
				}
				return nil
			})}
			toggle.On()
			files := errorfs.Wrap(writeFiles(t, files), toggle)
			_, err := index.Open(options(files))
			require.ErrorIs(t, err, errno, "operation %d", kind)
			require.NotErrorIs(t, err, index.ErrDamaged)
			require.NotErrorIs(t, err, index.ErrLocked)
			toggle.Off()
			require.Eventually(t, func() bool {
				x, err = index.Open(options(files))
				return !errors.Is(err, index.ErrLocked)
			}, 10*time.Second, 5*time.Millisecond)
			require.NoError(t, err)
			require.Equal(t, uint64(1), checkEntries(t, x.Partition(1)))
			require.NoError(t, x.Close())
		}
	}

	if os.Getuid() != 0 {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o500))
		_, err := index.Open(index.Options{Dir: filepath.Join(dir, "index")})
		require.ErrorIs(t, err, fs.ErrPermission)
	}
}

// TestMissingFilesAreDamage removes one file at a time.
func TestMissingFilesAreDamage(t *testing.T) {
	mem := vfs.NewMem()
	x := open(t, mem)
	for i := range uint64(300) {
		require.NoError(t, entry(x.Partition(1), i+1, 10_000))
	}
	require.NoError(t, x.Close())
	files := readFiles(t, mem)
	tables := 0
	for name, data := range files {
		if filepath.Ext(name) != ".sst" {
			continue
		}
		tables++
		delete(files, name)
		_, err := readAll(t, files)
		require.ErrorIs(t, err, index.ErrDamaged, name)
		files[name] = data
	}
	require.Positive(t, tables)
}

// TestOptions checks defaults and ranges.
func TestOptions(t *testing.T) {
	for name, o := range map[string]index.Options{
		"Dir":           {},
		"CacheBytes":    {Dir: "x", CacheBytes: 1},
		"MemTableBytes": {Dir: "x", MemTableBytes: 2 << 30},
		"MaxOpenFiles":  {Dir: "x", MaxOpenFiles: 1},
	} {
		_, err := index.Open(o)
		require.ErrorContains(t, err, name)
	}
}

// TestClosed calls everything on a closed index: it must say so, and neither panic nor hang.
func TestClosed(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	require.NoError(t, entry(p, 1, 0))
	b := p.NewBatch()
	b.PutChannel(1, nil)
	require.NoError(t, x.Close())
	require.ErrorIs(t, b.Commit(), index.ErrClosed)
	_, _, err := p.Applied()
	require.ErrorIs(t, err, index.ErrClosed)
	_, _, _, err = p.FindExtent(1, 1)
	require.ErrorIs(t, err, index.ErrClosed)
	require.ErrorIs(t, p.Channels(nil), index.ErrClosed)
	require.ErrorIs(t, p.Dump(nil), index.ErrClosed)
	require.ErrorIs(t, p.WriteCheckpoint(nil), index.ErrClosed)
	require.ErrorIs(t, p.LoadCheckpoint(nil), index.ErrClosed)
	require.ErrorIs(t, p.Reset(), index.ErrClosed)
	require.ErrorIs(t, x.Sync(), index.ErrClosed)
}

// TestCloseWaitsForReaders closes while an iteration stands still, and checks that Close returns only after it, and that
// the iteration may begin no new read but ends well.
func TestCloseWaitsForReaders(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	require.NoError(t, entry(p, 1, 0))
	closing := make(chan error)
	require.NoError(t, p.Channels(func(record.ChannelID, []byte) error {
		go func() { closing <- x.Close() }()
		for {
			_, _, err := p.Applied()
			select {
			case <-closing:
				require.Fail(t, "closed under a reader")
			default:
			}
			if err != nil {
				require.ErrorIs(t, err, index.ErrClosed)
				return nil
			}
		}
	}))
	require.NoError(t, <-closing)
}

// TestMetrics registers, gathers, and checks that Close takes the metrics away and that a clash is an error.
func TestMetrics(t *testing.T) {
	r := prometheus.NewPedanticRegistry()
	o := options(vfs.NewMem())
	o.Registerer = r
	x, err := index.Open(o)
	require.NoError(t, err)
	require.NoError(t, entry(x.Partition(1), 1, 0))
	found := map[string]float64{}
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		found[f.GetName()] = f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
	}
	require.InDelta(t, 1, found["leat_index_commits_total"], 0)
	require.Positive(t, found["leat_index_commit_bytes_total"])
	require.Positive(t, found["leat_index_memtable_bytes"])

	other := options(vfs.NewMem())
	other.Registerer = r
	_, err = index.Open(other)
	require.ErrorContains(t, err, "register metrics")
	require.NoError(t, x.Close())
	families, err = r.Gather()
	require.NoError(t, err)
	require.Empty(t, families)
	x, err = index.Open(other)
	require.NoError(t, err)
	require.NoError(t, x.Close())
}
