package segment_test

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// countFS counts what is open and mapped.
type countFS struct {
	vfs.FS
	files, maps atomic.Int64
}

type countFile struct {
	vfs.File
	fs *countFS
}

type countMapping struct {
	vfs.Mapping
	fs *countFS
}

func (c *countFS) wrap(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	c.files.Add(1)
	return &countFile{f, c}, nil
}

func (c *countFS) Open(name string) (vfs.File, error) { return c.wrap(c.FS.Open(name)) }
func (c *countFS) OpenReadWrite(name string) (vfs.File, error) {
	return c.wrap(c.FS.OpenReadWrite(name))
}
func (c *countFS) Create(name string) (vfs.File, error) { return c.wrap(c.FS.Create(name)) }

func (f *countFile) Close() error {
	f.fs.files.Add(-1)
	return f.File.Close()
}

func (f *countFile) Map(n int64) (vfs.Mapping, error) {
	m, err := f.File.Map(n)
	if err != nil {
		return nil, err
	}
	f.fs.maps.Add(1)
	return &countMapping{m, f.fs}, nil
}

func (m *countMapping) Close() error {
	m.fs.maps.Add(-1)
	return m.Mapping.Close()
}

// Aim: open files and mappings do not grow with the number of segments, once
// nobody reads them, and none is left after Close. Method: roll many times, lease
// all segments at once, release them, close, open, read all.
func TestManySegments(t *testing.T) {
	const rolls, idle = 300, 8
	fs := &countFS{FS: vfs.NewMem()}
	o := options(fs)
	o.MappedIdleMax = idle
	l := open(t, o)
	for i := range uint64(rolls) {
		require.NoError(t, l.Append([]segment.Entry{opaque(i+1, []byte("x"))}))
		require.NoError(t, l.Roll())
	}
	var leases []*segment.Lease
	for _, s := range l.Segments() {
		lease, err := l.Acquire(s.ID)
		require.NoError(t, err)
		leases = append(leases, lease)
	}
	require.GreaterOrEqual(t, fs.maps.Load(), int64(rolls))
	for _, lease := range leases {
		lease.Release()
	}
	closeLog(t, l)
	require.Zero(t, fs.maps.Load())
	require.Zero(t, fs.files.Load())

	l = open(t, o)
	leases = leases[:0]
	for _, s := range l.Segments() {
		lease, err := l.Acquire(s.ID)
		require.NoError(t, err)
		leases = append(leases, lease)
	}
	for _, lease := range leases {
		lease.Release()
	}
	// The active segment, one that is prepared, and as many again until they are
	// next counted.
	require.LessOrEqual(t, fs.maps.Load(), int64(2*idle+2))
	require.LessOrEqual(t, fs.files.Load(), int64(2))
	for i := range uint64(rolls) {
		_, _, err := l.Entry(i+1, nil)
		require.NoError(t, err)
	}
	require.LessOrEqual(t, fs.maps.Load(), int64(2*idle+2))
	closeLog(t, l)
	require.Zero(t, fs.maps.Load())
	require.Zero(t, fs.files.Load())
}
