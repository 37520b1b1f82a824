package segment_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// faulty runs a fixed workload on a file system that fails, and notes what it
// was promised.
type faulty struct {
	promise
	h *history
}

// run does the given number of steps, calls end, and closes the log.
func (f *faulty) run(t *testing.T, fs vfs.FS, steps int, end func()) {
	f.h = newHistory(30)
	l, err := segment.Open(options(fs))
	if err != nil {
		end()
		return
	}
	for k := range steps {
		before := f.h.last()
		var err error
		switch k {
		case 6:
			f.cutFrom = before - 1
			if err = l.TruncateSuffix(before - 1); err == nil {
				f.h.cut(before - 1)
				f.acked, f.cutFrom = before-2, 0
			}
		case 10:
			f.firstMax = 8
			err = l.TruncatePrefix(7)
		default:
			err = l.Append(f.h.make(3, 9000))
			if err == nil {
				f.acked = f.h.last()
			}
		}
		f.flying = f.h.last()
		if poison := l.Poisoned(); poison != nil {
			f.checkPoisoned(t, l)
			break
		}
		if err != nil && k != 6 && k != 10 {
			// Nothing was written, so the next call may bring the same entries.
			f.h.entries = f.h.entries[:before]
			f.h.renumber()
			f.flying = f.acked
		} else if err != nil {
			f.cutFrom = 0
		}
	}
	end()
	_ = l.Close()
}

// checkPoisoned: no change is taken any more, reads go on.
func (f *faulty) checkPoisoned(t *testing.T, l *segment.Log) {
	last, _ := l.Last()
	next := segment.Entry{Index: last + 1, Term: 1 << 20, Type: record.FrameNoop}
	for _, err := range []error{l.Append([]segment.Entry{next}), l.Roll(), l.Reset(segment.Tip{}), l.TruncatePrefix(1)} {
		require.ErrorIs(t, err, segment.ErrPoisoned)
		require.Equal(t, l.Poisoned(), err)
	}
	again, _ := l.Last()
	require.Equal(t, last, again)
	for i := l.First(); i <= last; i++ {
		e, _, err := l.Entry(i, nil)
		if err == nil {
			require.Equal(t, string(f.h.at(i).Payload), string(e.Payload))
		}
	}
}

// Aim: whichever call of the file system fails, nothing acknowledged is lost, a
// failed write or sync poisons the log, and the log opens again. Method: a fixed
// workload, with the i-th call failing for each i, once and for good; a sync
// that fails loses its pages, as in a kernel; then the power goes.
func TestEveryCallFails(t *testing.T) {
	for _, sticky := range []bool{false, true} {
		poisoned := 0
		for i := 0; ; i++ {
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem)
			rule := vfs.Rule{After: i, Count: 1, Err: syscall.EIO, LoseDirty: true}
			if sticky {
				rule.Count = 0
			}
			hit := fault.Inject(rule)
			f := &faulty{}
			f.run(t, fault, 14, func() {})
			if hit.Hits() == 0 {
				break
			}
			clone := mem.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512, Rand: rand.New(rand.NewPCG(uint64(i), 3))})
			for _, fs := range []*vfs.MemFS{clone, mem} {
				c := &crasher{t: t, h: f.h, at: f.promise}
				l := c.verify(fs)
				last, _ := l.Last()
				if last < f.flying {
					poisoned++
				}
				require.NoError(t, l.Append([]segment.Entry{{Index: last + 1, Term: 1 << 20, Type: record.FrameNoop}}))
				require.NoError(t, l.Close())
			}
		}
		require.Positive(t, poisoned)
	}
}

// failure is a testing.TB that notes a failure and stops the test function.
type failure struct{ testing.TB }

func (failure) Errorf(string, ...any) {}
func (failure) FailNow()              { panic(failure{}) }
func (failure) Helper()               {}

// Aim: the tests see a sync that is missing. Method: each kind of sync is left
// out in turn; a power cut that keeps only what was synced must then break a
// promise, in some run.
func TestMissingSyncIsSeen(t *testing.T) {
	for _, c := range []struct {
		name string
		rule vfs.Rule
	}{
		{"data of segments", vfs.Rule{Op: vfs.OpSyncData, Path: "*.seg*", Skip: true}},
		{"new files", vfs.Rule{Op: vfs.OpSync, Path: "*.seg.tmp", Skip: true}},
		{"manifest", vfs.Rule{Op: vfs.OpSync, Path: "MANIFEST*", Skip: true}},
		{"folder", vfs.Rule{Op: vfs.OpSyncDir, Path: "p", Skip: true}},
	} {
		synctest.Test(t, func(t *testing.T) {
			seen := 0
			for seed := range uint64(20) {
				mem := vfs.NewMem()
				fault := vfs.NewFault(mem)
				fault.Inject(c.rule)
				f := &faulty{}
				var clone *vfs.MemFS
				f.run(t, fault, int(seed)%14+1, func() {
					synctest.Wait() // for the next segment to be prepared
					clone = mem.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.3, Rand: rand.New(rand.NewPCG(seed, 4))})
				})
				func() {
					defer func() {
						if r := recover(); r != nil {
							seen++
						}
					}()
					l, err := segment.Open(options(clone))
					require.NoError(failure{t}, err)
					defer func() { _ = l.Close() }()
					last, _ := l.Last()
					require.GreaterOrEqual(failure{t}, last, f.acked)
					f.h.check(failure{t}, l)
				}()
			}
			require.Positive(t, seen, c.name)
		})
	}
}

// Aim: a full disk refuses appends, does not poison, lets reads go on, and is
// over when there is room. Method: a file system of limited capacity, filled,
// and grown.
func TestFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	fs.SetCapacity(5*segment.SegmentBytesMin + 40<<10)
	l := open(t, options(fs))
	h := newHistory(31)
	var err error
	for range 200 {
		entries := h.make(2, 9000)
		if err = l.Append(entries); err != nil {
			h.entries = h.entries[:len(h.entries)-2]
			h.renumber()
			break
		}
	}
	require.ErrorIs(t, err, segment.ErrNoSpace)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, l.Poisoned())
	h.check(t, l)
	for range 3 {
		require.ErrorIs(t, l.Append([]segment.Entry{{Index: h.last() + 1, Term: 1, Type: record.FrameConfiguration, Payload: make([]byte, 20000)}}), segment.ErrNoSpace)
	}
	fs.SetCapacity(20 * segment.SegmentBytesMin)
	require.NoError(t, l.Append(h.make(20, 9000)))
	h.check(t, l)
	closeLog(t, l)
	l = open(t, options(fs))
	h.check(t, l)
	closeLog(t, l)
}

// Aim: a process that is out of file descriptors, which its connections may use up,
// refuses appends that need a new segment, and is not poisoned by it. Method: each
// kind of file cannot be made for a while; the log goes on afterwards.
func TestOutOfDescriptors(t *testing.T) {
	for _, path := range []string{"*.seg.tmp", "MANIFEST*"} {
		for _, errno := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
			fault := vfs.NewFault(vfs.NewMem())
			l := open(t, options(fault))
			h := newHistory(34)
			require.NoError(t, l.Append(h.make(2, 9000)))
			rule := fault.Inject(vfs.Rule{Op: vfs.OpCreate, Path: path, Err: errno})
			refused := false
			for range 20 {
				before := len(h.entries)
				if err := l.Append(h.make(2, 9000)); err != nil {
					require.ErrorIs(t, err, errno)
					require.NotErrorIs(t, err, segment.ErrPoisoned, "%s", path)
					h.entries = h.entries[:before]
					h.renumber()
					refused = true
				}
			}
			require.True(t, refused, "%s", path)
			h.check(t, l)
			rule.Remove()
			require.NoError(t, l.Append(h.make(20, 9000)))
			closeLog(t, l)
			l = open(t, options(fault))
			h.check(t, l)
			closeLog(t, l)
		}
	}
}

// Aim: room comes back when old segments are dropped. Method: a file system for
// a few segments, an endless log that drops its front when refused.
func TestFullDiskIsFreedByTruncation(t *testing.T) {
	fs := vfs.NewMem()
	fs.SetCapacity(6*segment.SegmentBytesMin + 40<<10)
	l := open(t, options(fs))
	h := newHistory(32)
	refused := 0
	for len(h.entries) < 300 {
		entries := h.make(3, 9000)
		for deadline := time.Now().Add(10 * time.Second); ; {
			err := l.Append(entries)
			if err == nil {
				break
			}
			require.ErrorIs(t, err, segment.ErrNoSpace)
			require.True(t, time.Now().Before(deadline), "no room came back")
			refused++
			last, _ := l.Last()
			require.NoError(t, l.TruncatePrefix(last-5))
		}
	}
	require.Positive(t, refused)
	h.check(t, l)
	closeLog(t, l)
}

// Aim: a lease keeps what it was taken on readable, whatever is dropped, and a
// look-up of something dropped says so. Method: readers of random segments and
// entries against a writer that appends, cuts and drops; with -race on MemFS,
// whose mappings are visible to the detector.
func TestLeasesAgainstTruncation(t *testing.T) {
	fs := vfs.NewMem()
	o := options(fs)
	o.MappedIdleMax = 1
	sealed := make(chan segment.Info, 1000)
	o.OnSeal = func(i segment.Info) { sealed <- i }
	l := open(t, o)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	reads := make([]int, 3)
	for k := range reads {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(k), 5))
			for ctx.Err() == nil {
				reads[k] += readSome(t, l, rng)
			}
		})
	}
	h := newHistory(33)
	for i := range 150 {
		require.NoError(t, l.Append(h.make(1+i%3, 9000)))
		last := h.last()
		if i%5 == 4 && last > 20 {
			require.NoError(t, l.TruncatePrefix(last-15))
		}
		if i%31 == 30 {
			require.NoError(t, l.TruncateSuffix(last))
			h.cut(last)
		}
	}
	cancel()
	wg.Wait()
	h.check(t, l)
	closeLog(t, l)
	require.Positive(t, reads[0]+reads[1]+reads[2])
	require.NotEmpty(t, sealed)
	t.Logf("%v batches read, %d segments sealed", reads, len(sealed))
}

func readSome(t *testing.T, l *segment.Log, rng *rand.Rand) (n int) {
	first := l.First()
	last, _ := l.Last()
	if last < first {
		return 0
	}
	lease, err := l.AcquireIndex(first + rng.Uint64N(last-first+1))
	if err != nil {
		if !errors.Is(err, segment.ErrNotFound) {
			t.Errorf("acquire: %v", err)
		}
		return 0
	}
	defer lease.Release()
	it := lease.Seek(record.ChannelID(1+rng.IntN(5)), 0)
	it.Limit(last - min(last, 3)) // what is above may be cut
	var b record.Batch
	for {
		ok, err := it.Next(&b)
		if err != nil {
			t.Errorf("next: %v", err)
		}
		if !ok {
			break
		}
		n++
	}
	_, _, err = l.Entry(first, nil)
	if err != nil && !errors.Is(err, segment.ErrNotFound) {
		t.Errorf("entry: %v", err)
	}
	return n
}

// Aim: an idle log gets one sync marker after the delay, which moves the point
// up to which damage is known to be damage. Method: a fake clock; damage the last
// frame before and after the marker.
func TestIdleMarker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := vfs.NewMem()
		o := options(fs)
		o.MarkerDelay = 100 * time.Millisecond
		l := open(t, o)
		h := newHistory(34)
		markers := func() int {
			s, err := segment.ScanFile(fs, "p/0000000000000001.seg", nil)
			require.NoError(t, err)
			require.Equal(t, segment.TailClean, s.Tail)
			return s.Markers
		}
		require.NoError(t, l.Append(h.make(1, 500)))
		for range 5 {
			time.Sleep(80 * time.Millisecond)
			synctest.Wait()
			require.Equal(t, 1, markers(), "only the opening marker while appends go on")
			require.NoError(t, l.Append(h.make(1, 500)))
		}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, 2, markers())
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, 2, markers(), "one marker is enough")
		require.NoError(t, l.Append(h.make(1, 500)))
		h.check(t, l)
		closeLog(t, l)
		require.Equal(t, 3, markers())
	})
}

// Aim: a closed log takes nothing, and a lease outlives it. Method: close with a
// lease held.
func TestClosed(t *testing.T) {
	fs := vfs.NewMem()
	sealedSet(t, fs)
	l := open(t, options(fs))
	lease, err := l.Acquire(1)
	require.NoError(t, err)
	closeLog(t, l)
	closeLog(t, l)
	n := 0
	require.NoError(t, lease.Entries(0, func(*record.FrameHeader, []byte) error { n++; return nil }))
	require.Equal(t, 6, n)
	lease.Release()
	require.ErrorIs(t, l.Append([]segment.Entry{{Index: 1}}), segment.ErrClosed)
	require.ErrorIs(t, l.Roll(), segment.ErrClosed)
	require.ErrorIs(t, l.TruncateSuffix(1), segment.ErrClosed)
	_, err = l.Acquire(1)
	require.ErrorIs(t, err, segment.ErrClosed)
	_, _, err = l.Entry(1, nil)
	require.ErrorIs(t, err, segment.ErrClosed)
}
