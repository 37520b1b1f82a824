package segment_test

import (
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// Aim: zeros are written in chunks that take a small part of the appends' time,
// and not at all when appends are large. Method: the pure function, by table.
func TestFillPace(t *testing.T) {
	for _, c := range []struct {
		name              string
		appended, appends int64
		elapsed           time.Duration
		want              int64
	}{
		{"nothing was appended yet", 0, 0, 0, 128 << 10},
		{"an idle log", 0, 0, time.Minute, 128 << 10},
		{"one publisher that waits", 344 * 40, 40, 10 * time.Millisecond, 128 << 10},
		{"a clock that stands still", 1 << 20, 100, 0, 128 << 10},
		{"a clock that was set back", 1 << 20, 100, -time.Second, 128 << 10},
		{"50 MB/s in appends of 40 kB", 500_000, 12, 10 * time.Millisecond, 999_424},
		{"50 MB/s for longer", 5_000_000, 120, 100 * time.Millisecond, 999_424},
		{"a gigabyte a second in small ones", 10 << 20, 100, 10 * time.Millisecond, 1 << 20},
		{"large appends", 4 << 20, 16, 10 * time.Millisecond, 0},
		{"rare large appends", 256 << 10, 1, time.Second, 0},
	} {
		require.Equal(t, c.want, segment.FillPace(c.appended, c.appends, c.elapsed), c.name)
	}
}

// metric reads a counter.
func metric(t testing.TB, r *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := r.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// Aim: zeros never replace anything, wherever appends meet them; an append that
// reaches into zeros that are being written waits for them. Method: the writing
// of zeros is held up before it begins, so that appends catch up with it (entries
// are not written by WriteAt); rolls and truncations leave it behind; everything is
// read back, also after the log is opened again.
func TestFillMeetsAppends(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	registry := prometheus.NewRegistry()
	o := options(fault)
	o.SegmentBytes, o.FillBytesMax, o.Registerer = 1<<20, 4<<20, registry
	o.Now = func() int64 { return time.Now().UnixNano() }
	slow := fault.Inject(vfs.Rule{Op: vfs.OpWriteAt, Path: ".seg", Delay: 2 * time.Millisecond})
	l := open(t, o)
	h, rng := newHistory(70), rand.New(rand.NewPCG(70, 2))
	waits := func() float64 { return metric(t, registry, "leat_segment_fill_waits_total") }
	for i := 0; i < 400 || (waits() < 5 && i < 20_000); i++ {
		require.NoError(t, l.Append(h.make(1+rng.IntN(4), 6000)))
		switch rng.IntN(100) {
		case 0:
			require.NoError(t, l.Roll())
		case 1:
			from := h.last() - rng.Uint64N(3)
			require.NoError(t, l.TruncateSuffix(from))
			h.cut(from)
		}
		if i%40 == 0 {
			time.Sleep(time.Millisecond) // so that zeros get ahead
		}
	}
	require.GreaterOrEqual(t, waits(), 5.0, "no append met zeros under way")
	require.Positive(t, metric(t, registry, "leat_segment_filled_bytes_total"))
	require.Positive(t, slow.Hits())
	h.check(t, l)
	closeLog(t, l)
	o.Registerer = nil
	l = open(t, o)
	require.Equal(t, segment.TailClean, l.Recovery().Tail)
	h.check(t, l)
	closeLog(t, l)
}

// Aim: an error of the zeros' way to the disk is final; a full disk, or a process
// with too many files, is not, where
// reserving did not reserve. Method: fail each, and append.
func TestFillFails(t *testing.T) {
	for _, c := range []struct {
		op    vfs.Op
		after int // calls that are not the filler's
		err   error
		final bool
	}{
		{vfs.OpFlushRange, 0, syscall.EIO, true},
		{vfs.OpWriteAt, 0, syscall.EIO, true},
		{vfs.OpWriteAt, 0, syscall.ENOSPC, false},
		{vfs.OpFlushRange, 0, syscall.EDQUOT, false},
		{vfs.OpOpenReadWrite, 1, syscall.EMFILE, false},
	} {
		t.Run(c.op.String()+" "+c.err.Error(), func(t *testing.T) {
			fault := vfs.NewFault(vfs.NewMem())
			o := options(fault)
			o.SegmentBytes = 1 << 20
			l := open(t, o) // makes the first files
			h := newHistory(71)
			require.NoError(t, l.Append(h.make(2, 500)))
			closeLog(t, l)
			o.FillBytesMax = 1 << 20
			rule := fault.Inject(vfs.Rule{Op: c.op, Path: "*.seg", After: c.after, Err: c.err})
			l = open(t, o)
			require.Eventually(t, func() bool { return rule.Hits() > 0 }, 10*time.Second, time.Millisecond)
			if c.final {
				require.Eventually(t, func() bool { return l.Poisoned() != nil }, 10*time.Second, time.Millisecond)
				require.ErrorIs(t, l.Poisoned(), c.err)
				require.ErrorIs(t, l.Append(h.make(1, 500)), segment.ErrPoisoned)
				h.cut(h.last())
			} else {
				require.NoError(t, l.Append(h.make(1, 500)))
				require.NoError(t, l.Poisoned())
			}
			rule.Remove()
			h.check(t, l)
			require.NoError(t, l.Close())
		})
	}
}

// Aim: a disk that is busy writing zeros most of the time is left to the appends
// for a second, and then tried again. Method: a clock that only the test moves,
// and a disk on which each chunk takes as long as the appends need to use it up.
func TestFillLeavesABusyDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := vfs.NewFault(vfs.NewMem())
		o := options(fault)
		o.SegmentBytes, o.FillBytesMax = 64<<20, 4<<20
		o.Now = func() int64 { return time.Now().UnixNano() }
		l := open(t, o)
		h := newHistory(72)
		rule := fault.Inject(vfs.Rule{Op: vfs.OpFlushRange, Delay: 5 * time.Millisecond})
		appendFor := func(d, every time.Duration) (chunks int) {
			before := rule.Hits()
			for start := time.Now(); time.Since(start) < d; {
				time.Sleep(every)
				require.NoError(t, l.Append(h.make(1, 20_000)))
			}
			synctest.Wait()
			return rule.Hits() - before
		}
		// Some 10 kB every 2 ms: a chunk of 128 KiB lasts for some 26 ms.
		require.Greater(t, appendFor(500*time.Millisecond, 2*time.Millisecond), 10)
		rule.Remove()
		rule = fault.Inject(vfs.Rule{Op: vfs.OpFlushRange, Delay: 40 * time.Millisecond})
		busy := appendFor(300*time.Millisecond, 2*time.Millisecond)
		require.Positive(t, busy)
		require.Zero(t, appendFor(500*time.Millisecond, 2*time.Millisecond), "the disk is left alone")
		require.Positive(t, appendFor(time.Second, 2*time.Millisecond), "and tried again")
		h.check(t, l)
		closeLog(t, l)
	})
}

// handles is a file system that notes what is done by which open file.
type handles struct {
	vfs.FS
	mu   sync.Mutex
	open []*handle
}

type handle struct {
	vfs.File
	fs              *handles
	synced, flushed bool // guarded by fs.mu
}

func (f *handles) note(file vfs.File, err error) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := &handle{File: file, fs: f}
	f.open = append(f.open, h)
	return h, err
}

func (f *handles) Create(name string) (vfs.File, error) { return f.note(f.FS.Create(name)) }
func (f *handles) OpenReadWrite(name string) (vfs.File, error) {
	return f.note(f.FS.OpenReadWrite(name))
}

func (h *handle) SyncData() error {
	h.fs.mu.Lock()
	h.synced = true
	h.fs.mu.Unlock()
	return h.File.SyncData()
}

func (h *handle) FlushRange(off, n int64) error {
	h.fs.mu.Lock()
	h.flushed = true
	h.fs.mu.Unlock()
	return h.File.FlushRange(off, n)
}

// Aim: no open file is both flushed by the filler and synced by appends: a kernel
// tells each open file once of a page that it could not write, and an append's
// sync would return nil when a flush had been told. The filler lets go of files
// that are not appended to any more. Method: note who does what; roll, truncate.
func TestFillHasItsOwnFile(t *testing.T) {
	fs := &handles{FS: vfs.NewMem()}
	registry := prometheus.NewRegistry()
	o := options(fs)
	o.SegmentBytes, o.FillBytesMax, o.Registerer = 1<<20, 1<<20, registry
	l := open(t, o)
	h := newHistory(73)
	filled := func() float64 { return metric(t, registry, "leat_segment_filled_bytes_total") }
	for range 3 {
		before := filled() // of the segments before, which are filled no more
		require.NoError(t, l.Append(h.make(3, 5000)))
		require.NoError(t, l.Roll())
		require.Eventually(t, func() bool { return filled() > before }, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, l.Append(h.make(2, 5000)))
	require.NoError(t, l.TruncateSuffix(h.last()))
	h.cut(h.last())
	require.NoError(t, l.Append(h.make(2, 5000)))
	h.check(t, l)
	closeLog(t, l)
	flushed := 0
	for _, f := range fs.open {
		require.False(t, f.flushed && f.synced, f.Name())
		if f.flushed {
			flushed++
			require.Error(t, f.Close(), "it was closed")
		}
	}
	require.Positive(t, flushed)
}
