package segment_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// lives is one log over several lives, in each of which calls may fail, in
// recovery too, and which end with a power cut, a kill, or neither.
type lives struct {
	t   *testing.T
	rng *rand.Rand // of the workload and of faults
	h   *history

	mu       sync.Mutex // the power may be cut from another goroutine
	now      promise    // acked is lowered before a truncation and not raised again if it fails
	dice     *rand.Rand // of power cuts
	clone    *vfs.MemFS // what the power cut has left, nil before it
	promised promise    // at that moment
}

// faults are up to two kinds of calls that fail, once, twice or from then on.
func (x *lives) faults(fault *vfs.Fault) {
	for range x.rng.IntN(3) {
		r := vfs.Rule{
			Err: []error{syscall.EIO, syscall.ENOSPC, syscall.EMFILE}[x.rng.IntN(3)], LoseDirty: true,
			After: x.rng.IntN(120), Count: x.rng.IntN(3), Short: max(0, x.rng.IntN(9000)-6000),
		}
		if x.rng.IntN(2) == 0 {
			r.Path, r.After = []string{"MANIFEST*", "*.seg", "*.seg.tmp"}[x.rng.IntN(3)], x.rng.IntN(20)
		}
		fault.Inject(r)
	}
}

// cutPower is a hook.
func (x *lives) cutPower(mem *vfs.MemFS) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.promised = x.now
	o := vfs.CrashOptions{UnsyncedShare: []float64{0, 0.1, 0.5, 0.9, 1}[x.dice.IntN(5)], TearBytes: 512 * x.dice.IntN(2), Rand: x.dice}
	x.clone = mem.CrashClone(o)
}

func (x *lives) dark() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.clone != nil
}

// promise changes what is owed, unless the power is cut: then the history keeps
// what the clone may have.
func (x *lives) promise(change func(p *promise)) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.clone == nil {
		change(&x.now)
	}
}

// step does one random operation, which may fail.
func (x *lives) step(l *segment.Log) {
	first, last := l.First(), x.h.last()
	switch k := x.rng.IntN(16); {
	case k == 0:
		_ = l.Roll()
	case k == 1 && last >= first:
		through := first + x.rng.Uint64N(last-first+1)
		x.promise(func(p *promise) { p.firstMax = max(p.firstMax, through+1) })
		_ = l.TruncatePrefix(through)
	case k < 5 && last >= first:
		from := max(first, last-min(last-first, x.rng.Uint64N(12)))
		x.promise(func(p *promise) { p.acked = from - 1 })
		err := l.TruncateSuffix(from)
		x.promise(func(p *promise) {
			switch {
			case err == nil:
				x.h.cut(from)
				p.flying = from - 1
			case l.Poisoned() == nil:
				p.acked = last
			}
		})
	default:
		entries := x.h.make(1+x.rng.IntN(4), 1+x.rng.IntN(7000))
		x.promise(func(p *promise) { p.flying = x.h.last() })
		err := l.Append(entries)
		x.promise(func(p *promise) {
			switch {
			case err == nil:
				p.acked = x.h.last()
			case l.Poisoned() == nil: // nothing was written
				x.h.entries = x.h.entries[:last-x.h.base]
				x.h.renumber()
				p.flying = last
			}
		})
	}
}

// requirePromise compares a log that was just opened with what is owed.
func (x *lives) requirePromise(l *segment.Log) {
	last, _ := l.Last()
	require.GreaterOrEqual(x.t, last, x.now.acked, "acknowledged entries are lost")
	require.LessOrEqual(x.t, last, x.now.flying, "phantom entries")
	require.LessOrEqual(x.t, l.First(), max(1, x.now.firstMax))
}

// live is one life. It returns what the next one finds.
func (x *lives) live(mem *vfs.MemFS) *vfs.MemFS {
	fault := vfs.NewFault(mem)
	x.faults(fault)
	if x.rng.IntN(4) != 0 {
		after := x.rng.IntN(100)
		if x.rng.IntN(3) == 0 {
			after = x.rng.IntN(15) // in recovery
		}
		fault.Inject(vfs.Rule{After: after, Count: 1, Hook: func() { x.cutPower(mem) }})
	}
	l, err := segment.Open(options(fault))
	require.NotErrorIs(x.t, err, segment.ErrCorrupt, "nothing is damaged")
	if err == nil {
		if !x.dark() {
			x.requirePromise(l)
			last, _ := l.Last()
			x.promise(func(p *promise) {
				x.h.cut(last + 1)
				p.acked, p.flying = last, last
			})
		}
		for range 25 {
			if x.dark() || l.Poisoned() != nil {
				break
			}
			x.step(l)
		}
		_ = l.Close() // it may be poisoned
	}
	if x.dark() {
		mem, x.clone, x.now = x.clone, nil, x.promised
	}
	return mem
}

// Aim: faults and power cuts that follow each other closely, in recovery from one
// another too, take nothing acknowledged and are never taken for damage. Method:
// random lives of one log on one file system; now and then a copy of it is opened
// without faults, compared, and verified. LEAT_CRASH_RUNS sets the number of logs.
func TestLivesWithFaults(t *testing.T) {
	runs := 150
	if n, err := strconv.Atoi(os.Getenv("LEAT_CRASH_RUNS")); err == nil {
		runs = n
	}
	for seed := range uint64(runs) {
		x := &lives{
			t: t, rng: rand.New(rand.NewPCG(seed, 8)), dice: rand.New(rand.NewPCG(seed, 9)), h: newHistory(seed),
			now: promise{firstMax: 1},
		}
		mem := vfs.NewMem()
		for range 8 {
			if mem = x.live(mem); x.rng.IntN(2) == 0 {
				continue
			}
			sound := mem.CrashClone(vfs.CrashOptions{UnsyncedShare: 1})
			l := open(t, options(sound))
			x.requirePromise(l)
			x.h.check(t, l)
			require.Empty(t, l.Recovery().Orphans)
			closeLog(t, l)
			require.Empty(t, verify(t, sound).Findings, "seed %d", seed)
		}
	}
}
