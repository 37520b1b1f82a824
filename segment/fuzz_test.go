package segment_test

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// FuzzFooter: any bytes are a footer or are refused, with and without a
// checksum that fits.
func FuzzFooter(f *testing.F) {
	fs := vfs.NewMem()
	sealedSet(f, fs)
	data, err := vfs.ReadFile(fs, "p/0000000000000001.seg")
	require.NoError(f, err)
	foot := verify(f, fs).Segments[0].Scan.Footer
	f.Add(data[foot.Position:], true)
	f.Add(data[foot.Position:], false)
	f.Fuzz(func(_ *testing.T, file []byte, fix bool) {
		file = slices.Clone(file)
		if fix {
			segment.FixFooterCRC(file)
		}
		_ = segment.ParseFooter(file)
	})
}

// FuzzManifest: any bytes are a manifest or are refused; one that is accepted is
// encoded to the same bytes.
func FuzzManifest(f *testing.F) {
	fs := vfs.NewMem()
	sealedSet(f, fs)
	data, err := vfs.ReadFile(fs, verify(f, fs).Manifest)
	require.NoError(f, err)
	f.Add(data)
	f.Fuzz(func(t *testing.T, src []byte) {
		src = slices.Clone(src)
		segment.FixManifestCRC(src)
		if again, err := segment.ParseManifest(src); err == nil {
			require.Equal(t, src, again)
		}
	})
}

// FuzzScanFile: a segment file with any bytes in it is scanned to the end and
// judged, and the judgement is never "clean" for one that was changed where
// something was written.
func FuzzScanFile(f *testing.F) {
	fs := vfs.NewMem()
	sealedSet(f, fs)
	paths := []string{"p/0000000000000001.seg", "p/0000000000000003.seg"}
	var files [][]byte
	for _, p := range paths {
		data, err := vfs.ReadFile(fs, p)
		require.NoError(f, err)
		files = append(files, data)
	}
	f.Add(0, uint32(4096), []byte("x"))
	f.Add(1, uint32(4100), []byte("LFRM"))
	f.Fuzz(func(t *testing.T, which int, at uint32, patch []byte) {
		data := slices.Clone(files[uint(which)%2])
		n := copy(data[int(at)%len(data):], patch)
		mem := vfs.NewMem()
		require.NoError(t, mem.MkdirAll("d"))
		require.NoError(t, vfs.WriteFileAtomic(mem, filepath.Join("d", "f.seg"), data))
		s, err := segment.ScanFile(mem, "d/f.seg", func(segment.Frame) error { return nil })
		if err != nil {
			return
		}
		if n > 0 && !slices.Equal(data, files[uint(which)%2]) {
			require.True(t, len(s.Findings) > 0 || s.Tail != segment.TailClean)
		}
	})
}
