package node

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// Aim: no step of a node's life is one at which a power cut loses something.
// Method: run a script (first start, appends, rolls, seals, snapshots, trims,
// purge, close, a start after a clean close, one after a cut); before every
// single file system operation of it, take clones that keep none, all, and random
// parts of what was not synced; open each clone and compare it with what was
// acknowledged by then. The short suite takes one clone at each operation, of the
// three kinds in turn; the long one takes eight.
func TestCutAtEveryStep(t *testing.T) {
	kinds := 1
	if *cuts >= 1000 {
		kinds = 8
	}
	s := &stepper{t: t, kinds: kinds, h: newHistory(), work: make(chan func(), 8)}
	var workers sync.WaitGroup
	for range 2 {
		workers.Go(func() {
			for f := range s.work {
				f()
			}
		})
	}
	d := diskOf(vfs.NewMem(), pebblevfs.NewCrashableMem())
	s.life(d)
	s.life(d) // after a clean close
	torn := diskOf(
		d.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 0.5, TearBytes: 512}),
		d.index.(*pebblevfs.MemFS).CrashClone(pebblevfs.CrashCloneCfg{RNG: rand.New(rand.NewPCG(1, 1))}))
	s.life(torn)
	close(s.work)
	workers.Wait()
	t.Logf("%d operations, %d clones opened", s.steps.Load(), s.opened.Load())
	require.Greater(t, s.steps.Load(), int64(300))
}

type stepper struct {
	t      *testing.T
	kinds  int
	h      *history
	work   chan func() // bounded: the script waits for the checks
	steps  atomic.Int64
	opened atomic.Int64
}

// life runs the script on a disk with a cut before each of its operations.
func (s *stepper) life(d *disk) {
	rule := d.fault.Inject(vfs.Rule{Hook: func() { s.cut(d) }})
	defer rule.Remove()
	st, err := d.storage()
	require.NoError(s.t, err)
	s.h.fill(s.t, st, 1+len(st.shards[0].log.Segments()))
	for _, sh := range st.shards {
		require.NoError(s.t, sh.group.Snapshot())
	}
	s.h.trim(s.t.Context(), s.t, st, rand.New(rand.NewPCG(1, 1)))
	for _, sh := range st.shards {
		require.NoError(s.t, sh.log.Roll())
	}
	s.purge(st, 3)
	s.h.remember(s.t, st)
	require.NoError(s.t, s.h.store(st, 3, 2))
	require.NoError(s.t, st.close())
}

func (s *stepper) purge(st *storage, ch int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Second)
	defer cancel()
	c, ok := st.set.Channel(channelName(ch))
	require.True(s.t, ok)
	next := c.Last() + 1
	s.h.mu.Lock()
	s.h.trimmed[ch][1] = next
	s.h.mu.Unlock()
	require.NoError(s.t, c.Purge(ctx))
	s.h.mu.Lock()
	s.h.trimmed[ch][0] = next
	s.h.mu.Unlock()
}

// cut clones the disk as the power goes, before the operation that called it.
func (s *stepper) cut(d *disk) {
	step := s.steps.Add(1)
	if s.t.Failed() {
		return
	}
	for kind := range s.kinds {
		if s.kinds == 1 {
			kind = int(step % 3)
		}
		share := []float64{0, 1, 0.5}[min(kind, 2)]
		rng := rand.New(rand.NewPCG(uint64(step), uint64(kind)))
		c := s.h.clone()
		// The index first: it may be older than the segments, never newer.
		index := d.index.(*pebblevfs.MemFS).CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: int(share * 100), RNG: rng})
		files := d.files.CrashClone(vfs.CrashOptions{UnsyncedShare: share, TearBytes: 512 * (kind % 2), Rand: rng})
		c.sentNow(s.h)
		s.work <- func() {
			when := fmt.Sprintf("cut before operation %d, kind %d", step, kind)
			st, err := diskOf(files, index).storage()
			if err != nil {
				s.t.Errorf("%s: open: %v", when, err)
				return
			}
			s.opened.Add(1)
			c.check(s.t, st, when)
			if err := st.close(); err != nil {
				s.t.Errorf("%s: close: %v", when, err)
			}
		}
	}
}
