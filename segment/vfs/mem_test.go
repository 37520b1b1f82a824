package vfs_test

import (
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// TestMemCapacity: growth beyond the capacity fails with ENOSPC and leaves the file as it was; overwriting does not;
// removing a file gives the space back, once its last handle and mapping are closed.
func TestMemCapacity(t *testing.T) {
	m := vfs.NewMem()
	m.SetCapacity(10 * block)
	a, b := create(t, m, "a"), create(t, m, "b")
	require.NoError(t, a.Preallocate(6*block))
	write(t, b, fill(1, 'b'), 0)
	u, err := m.Usage("/")
	require.NoError(t, err)
	require.Equal(t, vfs.Usage{TotalBytes: 10 * block, AvailableBytes: 3 * block}, u)

	require.ErrorIs(t, b.Preallocate(5*block), syscall.ENOSPC)
	_, err = b.WriteAt(fill(4*block, 'x'), 1)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "b")
	size, err := b.Size()
	require.NoError(t, err)
	require.EqualValues(t, 1, size)
	write(t, a, fill(6*block, 'y'), 0)
	write(t, b, fill(block-1, 'z'), 1)

	require.ErrorIs(t, vfs.WriteFileAtomic(m, "c", fill(4*block, 'c')), syscall.ENOSPC)
	require.Equal(t, []string{"a", "b"}, names(t, m, "/"), "nothing is left over")

	mapped, err := a.Map(block)
	require.NoError(t, err)
	require.NoError(t, m.Remove("a"))
	require.NoError(t, a.Close())
	require.ErrorIs(t, b.Preallocate(5*block), syscall.ENOSPC)
	require.NoError(t, mapped.Close())
	require.NoError(t, b.Preallocate(5*block))
	clone := m.CrashClone(vfs.CrashOptions{UnsyncedShare: 1})
	u, err = clone.Usage("/")
	require.NoError(t, err)
	require.EqualValues(t, 5*block, u.AvailableBytes)

	// A file that another one replaces by a rename gives its space back as well.
	c := create(t, m, "c")
	require.NoError(t, c.Preallocate(5*block))
	require.NoError(t, b.Close())
	require.NoError(t, m.Rename("c", "b"))
	u, err = m.Usage("/")
	require.NoError(t, err)
	require.EqualValues(t, 5*block, u.AvailableBytes)
	m.SetCapacity(0)
	require.NoError(t, c.Preallocate(100*block))
}

// TestMemMappingRace: a reader follows a writer through a mapping with nothing between them but a published position,
// while power is cut. With -race, it shows that disjoint ranges are free of races.
func TestMemMappingRace(t *testing.T) {
	const size = 64 * block
	m := vfs.NewMem()
	f := create(t, m, "a")
	require.NoError(t, f.Preallocate(size))
	mapped, err := f.Map(size)
	require.NoError(t, err)
	defer func() { require.NoError(t, mapped.Close()) }()

	var published atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		for at := int64(0); at < size; at += 512 {
			buf := fill(256, byte(at/512)|1)
			_, err := f.WriteVecAt([][]byte{buf, buf}, at)
			if err != nil || f.SyncData() != nil {
				return
			}
			published.Store(at + 512)
		}
	})
	wg.Go(func() {
		for range 20 {
			m.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512})
		}
	})
	bad := 0
	for at := int64(0); at < size; {
		end := published.Load()
		for ; at < end; at++ {
			if mapped.Bytes()[at] != byte(at/512)|1 {
				bad++
			}
		}
	}
	wg.Wait()
	require.Zero(t, bad)
}
