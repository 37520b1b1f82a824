package vfs_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

const block = 4096

func seeded(seed int) *rand.Rand { return rand.New(rand.NewPCG(uint64(seed), 0)) }

// cut is a power cut that leaves the given share of what was not synced.
func cut(m *vfs.MemFS, share float64, seed int) *vfs.MemFS {
	return m.CrashClone(vfs.CrashOptions{UnsyncedShare: share, Rand: seeded(seed)})
}

// outcomes counts what many power cuts with a share of a half leave, as told by see.
func outcomes(m *vfs.MemFS, opts vfs.CrashOptions, see func(*vfs.MemFS) string) map[string]int {
	seen := map[string]int{}
	for seed := range 300 {
		opts.Rand = seeded(seed)
		seen[see(m.CrashClone(opts))]++
	}
	return seen
}

func keys(m map[string]int) []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	return list
}

// entries tells the names in a directory with the first bytes of each file.
func entries(t *testing.T, m *vfs.MemFS, dir string) string {
	t.Helper()
	var b bytes.Buffer
	for _, name := range names(t, m, dir) {
		data := contents(t, m, dir+"/"+name)
		fmt.Fprintf(&b, "%s=%s ", name, data[:min(2, len(data))])
	}
	return b.String()
}

// durableFile makes a file of which all is synced, name and data.
func durableFile(t *testing.T, m *vfs.MemFS, name string, data []byte) vfs.File {
	t.Helper()
	f := create(t, m, name)
	write(t, f, data, 0)
	require.NoError(t, f.SyncData())
	require.NoError(t, m.SyncDir("/"))
	return f
}

// TestCrashEnds: what was synced is there with any share; what was not is gone with share 0 and there with share 1.
func TestCrashEnds(t *testing.T) {
	m := vfs.NewMem()
	f := durableFile(t, m, "a", fill(3*block, 's'))
	write(t, f, fill(block, 'u'), block)
	write(t, f, fill(100, 'u'), 5*block)
	create(t, m, "b")
	require.NoError(t, m.MkdirAll("x/y"))

	none := cut(m, 0, 1)
	require.Equal(t, []string{"a"}, names(t, none, "/"))
	require.Equal(t, fill(3*block, 's'), contents(t, none, "a"))

	all := cut(m, 1, 1)
	require.Equal(t, []string{"a", "b", "x"}, names(t, all, "/"))
	require.Equal(t, []string{"y"}, names(t, all, "x"))
	require.Equal(t, contents(t, m, "a"), contents(t, all, "a"))

	// Whatever the share, what no write touched since the sync is there.
	for seed := range 100 {
		got := contents(t, cut(m, 0.5, seed), "a")
		require.Equal(t, fill(block, 's'), got[:block])
		require.Equal(t, fill(block, 's'), got[2*block:3*block])
	}
	// The original took no notice, and its handle goes on.
	write(t, f, fill(1, 'z'), 0)
	require.Equal(t, byte('z'), contents(t, m, "a")[0])
	require.Equal(t, byte('s'), contents(t, all, "a")[0])
}

// TestCrashSyncs: each kind of sync covers what it should, and the clone of a clone has everything.
func TestCrashSyncs(t *testing.T) {
	for name, sync := range map[string]func(vfs.File) error{"sync-data": vfs.File.SyncData, "sync": vfs.File.Sync} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			f := create(t, m, "a")
			require.NoError(t, f.Preallocate(10*block))
			write(t, f, fill(10, 'x'), 100)
			require.NoError(t, sync(f))
			require.Empty(t, names(t, cut(m, 0, 1), "/"), "syncing a file does not sync its name")
			require.NoError(t, m.SyncDir("/"))
			first := cut(m, 0, 1)
			require.Equal(t, contents(t, m, "a"), contents(t, first, "a"))
			require.Equal(t, contents(t, m, "a"), contents(t, cut(first, 0, 1), "a"))
		})
	}
}

// TestCrashBlocks: with a share of a half, two unsynced blocks are kept and lost independently; without tearing a block
// is old or new as a whole, with tearing also mixed, but never inside a sector.
func TestCrashBlocks(t *testing.T) {
	m := vfs.NewMem()
	f := durableFile(t, m, "a", fill(2*block, 'o'))
	write(t, f, fill(block, 'n'), 0)
	write(t, f, fill(block, 'n'), block)
	see := func(c *vfs.MemFS) string {
		data, out := contents(t, c, "a"), ""
		for ; len(data) > 0; data = data[block:] {
			for s := 0; s < block; s += 512 {
				require.Equal(t, fill(512, data[s]), data[s:s+512])
			}
			switch n := bytes.Count(data[:block], []byte("n")); n {
			case 0, block:
				out += string(data[0])
			default:
				out += "~"
			}
		}
		return out
	}
	require.ElementsMatch(t, []string{"oo", "on", "no", "nn"}, keys(outcomes(m, vfs.CrashOptions{UnsyncedShare: 0.5}, see)))
	torn := outcomes(m, vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512}, see)
	require.ElementsMatch(t, []string{"oo", "on", "no", "nn", "~o", "~n", "o~", "n~", "~~"}, keys(torn))
	for _, share := range []float64{0, 1} {
		require.Len(t, outcomes(m, vfs.CrashOptions{UnsyncedShare: share, TearBytes: 512}, see), 1)
	}
}

// TestCrashSize: an unsynced size is kept, lost, or cut between; data that the size covers but that was lost is zero.
func TestCrashSize(t *testing.T) {
	m := vfs.NewMem()
	f := durableFile(t, m, "a", fill(100, 'o'))
	write(t, f, fill(3*block, 'n'), 100)
	sizes := outcomes(m, vfs.CrashOptions{UnsyncedShare: 0.5}, func(c *vfs.MemFS) string {
		data := contents(t, c, "a")
		require.Equal(t, fill(100, 'o'), data[:100])
		rest := data[100:]
		require.Equal(t, len(rest), bytes.Count(rest, []byte{0})+bytes.Count(rest, []byte("n")))
		return strconv.Itoa(len(data))
	})
	require.ElementsMatch(t, []string{"100", "4096", "8192", "12288", "12388"}, keys(sizes))
}

// TestCrashNames: which sets of names a power cut may leave after some operations, given as the exact set of outcomes.
func TestCrashNames(t *testing.T) {
	cases := map[string]struct {
		ops  func(t *testing.T, m *vfs.MemFS)
		want []string
	}{
		"create": {
			func(t *testing.T, m *vfs.MemFS) { create(t, m, "c"); create(t, m, "d") },
			[]string{"a=A b=B ", "a=A b=B c= ", "a=A b=B d= ", "a=A b=B c= d= "},
		},
		"remove": {
			func(t *testing.T, m *vfs.MemFS) { require.NoError(t, m.Remove("a")) },
			[]string{"a=A b=B ", "b=B "},
		},
		"rename": {
			func(t *testing.T, m *vfs.MemFS) { require.NoError(t, m.Rename("a", "c")) },
			[]string{"a=A b=B ", "b=B c=A "},
		},
		"rename over": {
			func(t *testing.T, m *vfs.MemFS) { require.NoError(t, m.Rename("a", "b")) },
			[]string{"a=A b=B ", "b=A "},
		},
		"rename twice keeps one name": {
			func(t *testing.T, m *vfs.MemFS) {
				require.NoError(t, m.Rename("a", "c"))
				require.NoError(t, m.Rename("c", "d"))
			},
			[]string{"a=A b=B ", "b=B c=A ", "b=B d=A "},
		},
		"create and rename": {
			func(t *testing.T, m *vfs.MemFS) {
				f := create(t, m, "c.tmp")
				write(t, f, []byte("C"), 0)
				require.NoError(t, f.Sync())
				require.NoError(t, m.Rename("c.tmp", "c"))
			},
			[]string{"a=A b=B ", "a=A b=B c.tmp=C ", "a=A b=B c=C "},
		},
		"remove and make anew": {
			func(t *testing.T, m *vfs.MemFS) {
				require.NoError(t, m.Remove("a"))
				create(t, m, "a")
			},
			[]string{"a=A b=B ", "b=B ", "a= b=B "},
		},
		"synced between": {
			func(t *testing.T, m *vfs.MemFS) {
				require.NoError(t, m.Rename("a", "c"))
				require.NoError(t, m.SyncDir("/"))
				require.NoError(t, m.Remove("b"))
			},
			[]string{"b=B c=A ", "c=A "},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			durableFile(t, m, "a", []byte("A"))
			durableFile(t, m, "b", []byte("B"))
			tc.ops(t, m)
			seen := outcomes(m, vfs.CrashOptions{UnsyncedShare: 0.5}, func(c *vfs.MemFS) string { return entries(t, c, "") })
			require.ElementsMatch(t, tc.want, keys(seen))
			require.NoError(t, m.SyncDir("/"))
			require.Equal(t, entries(t, m, ""), entries(t, cut(m, 0, 1), ""), "synced")
		})
	}
}

// TestCrashMoves: a file that moves between directories is in one or in both, never in neither, whichever of the two
// was synced.
func TestCrashMoves(t *testing.T) {
	cases := map[string]struct {
		sync []string
		want []string
	}{
		"none": {nil, []string{"a=A |", "a=A |b=A ", "|b=A "}},
		"from": {[]string{"/p"}, []string{"|b=A "}},
		"to":   {[]string{"/q"}, []string{"a=A |b=A ", "|b=A "}},
		"both": {[]string{"/q", "/p"}, []string{"|b=A "}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			require.NoError(t, vfs.MkdirAllSync(m, "/p"))
			require.NoError(t, vfs.MkdirAllSync(m, "/q"))
			durableFile(t, m, "/p/a", []byte("A"))
			require.NoError(t, m.SyncDir("/p"))
			require.NoError(t, m.Rename("/p/a", "/q/b"))
			for _, dir := range tc.sync {
				require.NoError(t, m.SyncDir(dir))
			}
			seen := outcomes(m, vfs.CrashOptions{UnsyncedShare: 0.5}, func(c *vfs.MemFS) string {
				return entries(t, c, "/p") + "|" + entries(t, c, "/q")
			})
			require.ElementsMatch(t, tc.want, keys(seen))
		})
	}
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll("/p/d"))
	require.NoError(t, m.MkdirAll("/q"))
	require.ErrorIs(t, m.Rename("/p/d", "/q/d"), syscall.EXDEV)
}

// TestCrashDirectories: a directory whose entry is not synced goes with all that is in it, though that was synced;
// MkdirAllSync leaves nothing of a path unsynced.
func TestCrashDirectories(t *testing.T) {
	m := vfs.NewMem()
	require.NoError(t, m.MkdirAll("/x/y"))
	f := create(t, m, "/x/y/f")
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/x/y"))
	require.NoError(t, m.SyncDir("/x"))
	require.Empty(t, names(t, cut(m, 0, 1), "/"))
	require.NoError(t, m.SyncDir("/"))
	require.Equal(t, []string{"f"}, names(t, cut(m, 0, 1), "/x/y"))

	require.NoError(t, vfs.MkdirAllSync(m, "/u/v/w"))
	require.Equal(t, []string{"w"}, names(t, cut(m, 0, 1), "/u/v"))
	require.NoError(t, vfs.MkdirAllSync(m, "r/s"))
	require.Equal(t, []string{"s"}, names(t, cut(m, 0, 1), "/r"))
}

// TestMkdirAllSyncAgain: a process that ended while it made a directory leaves one whose name may not be durable; the next
// call makes up for it. Each call of the first attempt fails in turn.
func TestMkdirAllSyncAgain(t *testing.T) {
	for i := 0; ; i++ {
		m := vfs.NewMem()
		faulty := vfs.NewFault(m)
		hit := faulty.Inject(vfs.Rule{After: i, Count: 1})
		err := vfs.MkdirAllSync(faulty, "u/v/w")
		if hit.Hits() == 0 {
			break
		}
		require.Error(t, err)
		require.NoError(t, vfs.MkdirAllSync(m, "u/v/w"))
		require.Equal(t, []string{"w"}, names(t, cut(m, 0, 1), "/u/v"), "call %d failed", i)
	}
	m := vfs.NewMem()
	require.NoError(t, vfs.MkdirAllSync(m, "u"))
	faulty := vfs.NewFault(m)
	faulty.Inject(vfs.Rule{Op: vfs.OpSyncDir, Path: "/", Err: fs.ErrPermission})
	require.NoError(t, vfs.MkdirAllSync(faulty, "/u"), "made by someone else")
	require.ErrorIs(t, vfs.MkdirAllSync(faulty, "/v"), fs.ErrPermission)
}

// TestCrashAtomicFile cuts the power before every operation of WriteFileAtomic, many times each: the file holds the old
// contents or the new ones; and afterwards: the new ones. Then it takes away each sync, and some cut must show it.
func TestCrashAtomicFile(t *testing.T) {
	oldData, newData := fill(2*block, 'o'), fill(3*block, 'n')
	// wrong runs one replacement and counts the cuts that leave what may not be.
	wrong := func(t *testing.T, skip vfs.Op) (bad int) {
		m := vfs.NewMem()
		require.NoError(t, vfs.WriteFileAtomic(m, "/f", oldData))
		faulty := vfs.NewFault(m)
		if skip != vfs.OpAny {
			faulty.Inject(vfs.Rule{Op: skip, Skip: true})
		}
		check := func(allowOld bool) {
			for seed := range 40 {
				c := m.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512, Rand: seeded(seed)})
				got := contents(t, c, "/f")
				if !bytes.Equal(got, newData) && (!allowOld || !bytes.Equal(got, oldData)) {
					bad++
				}
			}
		}
		faulty.Inject(vfs.Rule{Hook: func() { check(true) }})
		require.NoError(t, vfs.WriteFileAtomic(faulty, "/f", newData))
		check(false)
		return bad
	}
	require.Zero(t, wrong(t, vfs.OpAny))
	require.Positive(t, wrong(t, vfs.OpSync), "without sync of the file")
	require.Positive(t, wrong(t, vfs.OpSyncDir), "without sync of the directory")
}

// TestCrashRepeats: the same Rand on the same history leaves the same, so that a failure can be had again.
func TestCrashRepeats(t *testing.T) {
	m := vfs.NewMem()
	for i := range 20 {
		f := create(t, m, fmt.Sprintf("f%02d", i))
		write(t, f, fill(5*block, 'x'), 0)
	}
	dump := func(c *vfs.MemFS) string {
		out := ""
		for _, name := range names(t, c, "/") {
			out += name + string(contents(t, c, name))
		}
		return out
	}
	opts := vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512}
	for seed := range 20 {
		opts.Rand = seeded(seed)
		first := dump(m.CrashClone(opts))
		opts.Rand = seeded(seed)
		require.Equal(t, first, dump(m.CrashClone(opts)))
	}
	opts.Rand = nil
	require.Equal(t, dump(m.CrashClone(opts)), dump(m.CrashClone(opts)))
}

// TestCrashIsOneInstant: one writer syncs file a before it writes the same number to b and syncs b. No cut, taken
// while it runs, may find b ahead of a.
func TestCrashIsOneInstant(t *testing.T) {
	m := vfs.NewMem()
	a, b := durableFile(t, m, "a", make([]byte, block)), durableFile(t, m, "b", make([]byte, block))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := byte(1); ; i = i%250 + 1 {
			for _, f := range []vfs.File{a, b} {
				_, _ = f.WriteAt([]byte{i}, 0)
				_ = f.SyncData()
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 2000 {
		c := m.CrashClone(vfs.CrashOptions{})
		gotA, gotB := contents(t, c, "a")[0], contents(t, c, "b")[0]
		require.True(t, gotA == gotB || gotA == gotB%250+1, "a=%d b=%d", gotA, gotB)
	}
	close(stop)
	wg.Wait()
}

// TestCrashAfterFailedSync: a failed sync that loses pages is not mended by a second sync; DropCache shows the disk;
// writing the data again and syncing makes it durable.
func TestCrashAfterFailedSync(t *testing.T) {
	m := vfs.NewMem()
	faulty := vfs.NewFault(m)
	f := create(t, faulty, "a")
	write(t, f, fill(2*block, 'o'), 0)
	require.NoError(t, f.Sync())
	require.NoError(t, m.SyncDir("/"))

	faulty.Inject(vfs.Rule{Op: vfs.OpSyncData, Count: 1, Err: syscall.EIO, LoseDirty: true})
	write(t, f, fill(block, 'n'), 0)
	require.ErrorIs(t, f.SyncData(), syscall.EIO)
	require.NoError(t, f.SyncData(), "the kernel forgot")
	require.Equal(t, fill(block, 'n'), contents(t, m, "a")[:block], "the cache is newer than the disk")
	require.Equal(t, fill(2*block, 'o'), contents(t, cut(m, 0, 1), "a"))

	require.NoError(t, f.DropCache())
	require.Equal(t, fill(2*block, 'o'), contents(t, m, "a"))

	write(t, f, fill(block, 'n'), 0)
	require.NoError(t, f.SyncData())
	require.Equal(t, fill(block, 'n'), contents(t, cut(m, 0, 1), "a")[:block])
}
