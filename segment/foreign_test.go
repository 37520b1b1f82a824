package segment_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Aim: a folder that is not this log's, not whole, or of another version is
// refused and left as it is. Method: a table of folders.
func TestOpenRefuses(t *testing.T) {
	write := func(t *testing.T, fs vfs.FS, name string, at int64, data ...byte) {
		f, err := fs.OpenReadWrite(name)
		require.NoError(t, err)
		_, err = f.WriteAt(data, at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	manifest := func(t *testing.T, fs vfs.FS) string { return verify(t, fs).Manifest }
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, fs vfs.FS, o *segment.Options)
		want   error
	}{
		{"other partition", func(_ *testing.T, _ vfs.FS, o *segment.Options) { o.Partition++ }, segment.ErrForeign},
		{"other cluster", func(_ *testing.T, _ vfs.FS, o *segment.Options) { o.ClusterID = "other" }, segment.ErrForeign},
		{"no manifest", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			names, err := fs.List("p")
			require.NoError(t, err)
			for _, n := range names {
				if strings.HasPrefix(n, "MANIFEST") {
					require.NoError(t, fs.Remove("p/"+n))
				}
			}
		}, segment.ErrCorrupt},
		{"damaged manifest", func(t *testing.T, fs vfs.FS, _ *segment.Options) { write(t, fs, manifest(t, fs), 50, 0xff) }, segment.ErrCorrupt},
		{"sealed segment gone", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, fs.Remove("p/0000000000000002.seg"))
		}, segment.ErrCorrupt},
		{"active segment gone", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, fs.Remove("p/0000000000000003.seg"))
		}, segment.ErrCorrupt},
		{"sealed segment longer", func(t *testing.T, fs vfs.FS, _ *segment.Options) { write(t, fs, "p/0000000000000001.seg", 1<<17, 1) }, segment.ErrCorrupt},
		{"active segment longer", func(t *testing.T, fs vfs.FS, _ *segment.Options) { write(t, fs, "p/0000000000000003.seg", 1<<17, 1) }, segment.ErrCorrupt},
		{"active opening marker lost", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			write(t, fs, "p/0000000000000003.seg", 4096, make([]byte, record.FrameHeaderBytes)...)
		}, segment.ErrCorrupt},
		{"manifest of no bytes", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, vfs.WriteFileAtomic(fs, manifest(t, fs), nil))
		}, segment.ErrCorrupt},
		{"later manifest of no bytes", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, vfs.WriteFileAtomic(fs, "p/MANIFEST-00000000000000ff", nil))
		}, segment.ErrCorrupt},
		{"manifest under a later number", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, fs.Rename(manifest(t, fs), "p/MANIFEST-00000000000000ff"))
		}, segment.ErrCorrupt},
		{"sealed segment of no bytes", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, vfs.WriteFileAtomic(fs, "p/0000000000000001.seg", nil))
		}, segment.ErrCorrupt},
		{"active segment of no bytes", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			require.NoError(t, vfs.WriteFileAtomic(fs, "p/0000000000000003.seg", nil))
		}, segment.ErrCorrupt},
		{"active segment of another partition", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			replaceByStranger(t, fs, "p/0000000000000003.seg")
		}, segment.ErrCorrupt},
		{"active segment is an earlier one", func(t *testing.T, fs vfs.FS, _ *segment.Options) {
			b, err := vfs.ReadFile(fs, "p/0000000000000002.seg")
			require.NoError(t, err)
			require.NoError(t, vfs.WriteFileAtomic(fs, "p/0000000000000003.seg", b))
		}, segment.ErrCorrupt},
		{"manifest of another version", func(t *testing.T, fs vfs.FS, _ *segment.Options) { write(t, fs, manifest(t, fs), 8, 9) }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			fs := vfs.NewMem()
			sealedSet(t, fs)
			o := options(fs)
			c.damage(t, fs, &o)
			before, err := fs.List("p")
			require.NoError(t, err)
			_, err = segment.Open(o)
			if c.want == nil {
				var version *segment.VersionError
				require.ErrorAs(t, err, &version)
			} else {
				require.ErrorIs(t, err, c.want)
			}
			after, err := fs.List("p")
			require.NoError(t, err)
			require.Equal(t, before, after)
		})
	}
}

// replaceByStranger puts the same file of another partition, with the same
// history otherwise, in place of a file.
func replaceByStranger(t testing.TB, fs vfs.FS, name string) {
	other := vfs.NewMem()
	o := options(other)
	o.Partition++
	h := newHistory(20)
	l := open(t, o)
	for range 2 {
		for range 3 {
			require.NoError(t, l.Append(h.make(2, 300)))
		}
		require.NoError(t, l.Roll())
	}
	require.NoError(t, l.Append(h.make(2, 300)))
	closeLog(t, l)
	b, err := vfs.ReadFile(other, name)
	require.NoError(t, err)
	require.NoError(t, vfs.WriteFileAtomic(fs, name, b))
}

// Aim: a sealed segment that is another partition's, or another one of this
// partition, serves nothing, although it is whole, of the right size, and holds
// the same payloads; the rest is served. Method: replace it, read.
func TestReplacedSegment(t *testing.T) {
	for name, replace := range map[string]func(t *testing.T, fs vfs.FS){
		"other partition": func(t *testing.T, fs vfs.FS) { replaceByStranger(t, fs, "p/0000000000000001.seg") },
		"next segment": func(t *testing.T, fs vfs.FS) {
			b, err := vfs.ReadFile(fs, "p/0000000000000002.seg")
			require.NoError(t, err)
			require.NoError(t, vfs.WriteFileAtomic(fs, "p/0000000000000001.seg", b))
		},
	} {
		t.Run(name, func(t *testing.T) {
			fs := vfs.NewMem()
			h := sealedSet(t, fs)
			replace(t, fs)
			require.Equal(t, segment.TailCorrupt, verify(t, fs).State())
			l := open(t, options(fs))
			for i := l.First(); i <= h.last(); i++ {
				e, _, err := l.Entry(i, nil)
				if i <= 6 {
					require.ErrorIs(t, err, segment.ErrCorrupt)
					_, err = l.Header(i)
					require.ErrorIs(t, err, segment.ErrCorrupt)
					continue
				}
				require.NoError(t, err)
				require.Equal(t, string(h.at(i).Payload), string(e.Payload))
			}
			closeLog(t, l)
		})
	}
}

// Aim: what was put aside stays, also when the same name is put aside again.
// Method: three orphans of one name, one after the other, each different.
func TestOrphansAreKept(t *testing.T) {
	fs := vfs.NewMem()
	sealedSet(t, fs)
	used, err := vfs.ReadFile(fs, "p/0000000000000001.seg")
	require.NoError(t, err)
	for i := range byte(3) {
		used[5000] = i
		require.NoError(t, vfs.WriteFileAtomic(fs, "p/00000000000000aa.seg", used))
		l := open(t, options(fs))
		require.Len(t, l.Recovery().Orphans, 1)
		closeLog(t, l)
	}
	aside, err := fs.List("p/orphans")
	require.NoError(t, err)
	require.Len(t, aside, 3)
	found := map[byte]bool{}
	for _, name := range aside {
		b, err := vfs.ReadFile(fs, "p/orphans/"+name)
		require.NoError(t, err)
		found[b[5000]] = true
	}
	require.Len(t, found, 3)
}

// Aim: a segment that the manifest does not know is put aside, not deleted, and
// one that was only prepared is removed. Method: put both into the folder.
func TestOrphans(t *testing.T) {
	fs := vfs.NewMem()
	h := sealedSet(t, fs)
	used, err := vfs.ReadFile(fs, "p/0000000000000001.seg")
	require.NoError(t, err)
	unused := make([]byte, len(used))
	copy(unused, used[:4096])
	require.NoError(t, vfs.WriteFileAtomic(fs, "p/00000000000000aa.seg", used))
	require.NoError(t, vfs.WriteFileAtomic(fs, "p/00000000000000ab.seg", unused))
	require.NoError(t, vfs.WriteFileAtomic(fs, "p/x.seg.tmp2", unused))
	l := open(t, options(fs))
	require.Equal(t, []string{"00000000000000aa.seg"}, l.Recovery().Orphans)
	h.check(t, l)
	closeLog(t, l)
	aside, err := vfs.ReadFile(fs, "p/orphans/00000000000000aa.seg")
	require.NoError(t, err)
	require.Equal(t, used, aside)
	_, err = fs.Stat("p/00000000000000ab.seg")
	require.Error(t, err)
}
