package segment_test

import (
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// promise is what a log owes its caller at one instant.
type promise struct {
	acked    uint64 // last entry that was acknowledged
	flying   uint64 // last entry that an append under way may add
	cutFrom  uint64 // of a truncation under way; 0 none
	firstMax uint64
}

// crasher runs a random workload on a log and cuts the power at a chosen call
// of the file system.
type crasher struct {
	t    *testing.T
	rng  *rand.Rand // of the workload
	dice *rand.Rand // of the power cut, which may come from another goroutine
	h    *history

	mu sync.Mutex
	promise
	clones []*vfs.MemFS
	at     promise // of the clones
}

// cutPower is the hook of the chosen call.
func (c *crasher) cutPower(mem *vfs.MemFS) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.promise
	for _, share := range []float64{0, 0.1, 0.5, 0.9, 1} {
		for _, tear := range []int{0, 512} {
			c.clones = append(c.clones, mem.CrashClone(vfs.CrashOptions{UnsyncedShare: share, TearBytes: tear, Rand: c.dice}))
		}
	}
}

func (c *crasher) crashed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.clones != nil
}

func (c *crasher) set(change func(p *promise)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.promise)
}

// step does one random operation.
func (c *crasher) step(l *segment.Log) {
	first, last := l.First(), c.h.last()
	switch k := c.rng.IntN(20); {
	case k == 0:
		require.NoError(c.t, l.Roll())
	case k == 1 && last >= first:
		through := first + c.rng.Uint64N(last-first+1)
		c.set(func(p *promise) { p.firstMax = max(p.firstMax, through+1) })
		require.NoError(c.t, l.TruncatePrefix(through))
	case k == 2 && last >= first:
		from := max(first, last-min(last-first, c.rng.Uint64N(8)))
		c.set(func(p *promise) { p.cutFrom = from })
		require.NoError(c.t, l.TruncateSuffix(from))
		c.set(func(p *promise) {
			if c.clones == nil { // else the history keeps what was cut, as a clone may
				c.h.cut(from)
				p.cutFrom, p.acked, p.flying = 0, from-1, from-1
			}
		})
	default:
		entries := c.h.make(1+c.rng.IntN(5), 1+c.rng.IntN(7000))
		c.set(func(p *promise) { p.flying = c.h.last() })
		require.NoError(c.t, l.Append(entries))
		c.set(func(p *promise) { p.acked = c.h.last() })
	}
}

// verify opens what a power cut left and compares it with what was promised.
func (c *crasher) verify(fs vfs.FS) (l *segment.Log) {
	l, err := segment.Open(options(fs))
	require.NoError(c.t, err)
	last, _ := l.Last()
	if c.at.cutFrom != 0 {
		require.Contains(c.t, []uint64{c.at.cutFrom - 1, c.at.acked}, last)
	} else {
		require.GreaterOrEqual(c.t, last, c.at.acked, "acknowledged entries are lost")
		require.LessOrEqual(c.t, last, c.at.flying, "phantom entries")
	}
	require.LessOrEqual(c.t, l.First(), max(1, c.at.firstMax))
	require.Empty(c.t, l.Recovery().Orphans)
	c.h.check(c.t, l)
	return l
}

// Aim: after a power cut at any call of the file system, each acknowledged entry
// is there and equal, nothing is that was not appended, and the log goes on.
// Method: random appends, rolls and truncations; at a random call ten clones of
// what the disk may hold are taken; all are opened and compared, and one carries
// the workload on, to be cut again. LEAT_CRASH_RUNS sets the number of runs.
func TestPowerCut(t *testing.T) {
	runs := 30
	if testing.Short() {
		runs = 10
	}
	if n, err := strconv.Atoi(os.Getenv("LEAT_CRASH_RUNS")); err == nil {
		runs = n
	}
	cuts, torn := 0, 0
	for seed := range uint64(runs) {
		c := &crasher{t: t, rng: rand.New(rand.NewPCG(seed, 2)), dice: rand.New(rand.NewPCG(seed, 6)), h: newHistory(seed)}
		mem := vfs.NewMem()
		for range 5 {
			fault := vfs.NewFault(mem)
			fault.Inject(vfs.Rule{After: c.rng.IntN(250), Count: 1, Hook: func() { c.cutPower(mem) }})
			o := options(fault)
			if seed%2 == 1 {
				o.FillBytesMax = 1 << 20 // zeros that are lost, or not, change nothing
			}
			l, err := segment.Open(o)
			require.NoError(t, err)
			for range 60 {
				if c.crashed() {
					break
				}
				c.step(l)
			}
			require.NoError(t, l.Close())
			if !c.crashed() {
				continue
			}
			// The history of a truncation that the power cut hit still has what
			// was cut; that of an append has what was under way.
			keep := c.rng.IntN(len(c.clones))
			for i, clone := range c.clones {
				l := c.verify(clone)
				cuts++
				if l.Recovery().Tail == segment.TailTorn {
					torn++
				}
				last, _ := l.Last()
				first := l.First()
				require.NoError(t, l.Close())
				if i == keep {
					mem = clone
					c.promise = promise{acked: last, flying: last, firstMax: first}
				}
			}
			c.clones = nil
			c.h.cut(c.acked + 1)
		}
	}
	t.Logf("%d power cuts, %d torn tails", cuts, torn)
	require.Positive(t, torn)
}
