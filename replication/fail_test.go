package replication_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment/vfs"
)

// outcomes collects what becomes of proposals, and checks that each is done once and in order.
type outcomes struct {
	t    *testing.T
	mu   sync.Mutex
	next int
	errs []error
	last uint64
	wg   sync.WaitGroup
}

func (o *outcomes) propose(g *replication.Group, i int) {
	o.wg.Add(1)
	g.Propose(number(i), func(index uint64, err error) {
		defer o.wg.Done()
		o.mu.Lock()
		defer o.mu.Unlock()
		if i != o.next {
			o.t.Errorf("proposal %d is done, want %d", i, o.next)
		}
		o.next++
		o.errs = append(o.errs, err)
		if err == nil {
			if index <= o.last {
				o.t.Errorf("proposal %d has index %d after %d", i, index, o.last)
			}
			o.last = index
		}
	})
}

// Aim: a full disk refuses proposals at once, says that they were not written, and ends by itself when there is room; reads
// of the status go on. Method: fill and free the log three times on a fake clock.
func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		g := n.open(t)
		n.lead(t)
		var want []string
		for round := range 3 {
			want = append(want, fmt.Sprint("kept ", round))
			mustPropose(t, g, want[round])
			n.log.set(func(l *fakeLog) { l.full = true })
			require.ErrorIs(t, propose(g, "refused").err, replication.ErrNoSpace)
			synctest.Wait()
			start := time.Now()
			for range 100 {
				require.ErrorIs(t, propose(g, "refused").err, replication.ErrNoSpace)
			}
			require.Zero(t, time.Since(start), "refused without waiting")
			time.Sleep(10 * time.Second)
			require.ErrorIs(t, g.Status().Refusal, replication.ErrNoSpace)
			require.False(t, g.Status().Leading)
			require.ErrorIs(t, propose(g, "refused").err, replication.ErrNoSpace)
			n.log.set(func(l *fakeLog) { l.full = false })
			start = time.Now()
			n.lead(t)
			require.LessOrEqual(t, time.Since(start), 4*time.Second)
			require.NoError(t, g.Status().Refusal)
		}
		require.Equal(t, want, n.machine.payloads())
		require.Empty(t, n.stopped)
		require.NoError(t, g.Close())
	})
}

// Aim: after a failed write nothing is acknowledged any more, what was in flight has an unknown outcome, and the group ends.
// Method: the log breaks under load; later it would work again.
func TestPoisonedLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		g := n.open(t)
		n.lead(t)
		o := &outcomes{t: t}
		for i := range 100 {
			o.propose(g, i)
		}
		o.wg.Wait()
		n.log.set(func(l *fakeLog) { l.broken = true })
		for i := 100; i < 200; i++ {
			o.propose(g, i)
		}
		err := <-n.stopped
		require.ErrorIs(t, err, replication.ErrStopped)
		require.ErrorIs(t, err, errBroken)
		n.log.set(func(l *fakeLog) { l.broken, l.poisoned = false, nil })
		o.propose(g, 200)
		o.wg.Wait()
		require.ErrorIs(t, o.errs[100], replication.ErrOutcomeUnknown)
		require.ErrorIs(t, o.errs[100], errBroken)
		for i, err := range o.errs {
			if i < 100 {
				require.NoError(t, err)
			} else {
				require.Error(t, err)
			}
		}
		require.ErrorIs(t, o.errs[200], replication.ErrStopped)
		require.ErrorIs(t, o.errs[200], errBroken)
		require.NotErrorIs(t, o.errs[200], replication.ErrOutcomeUnknown)
		require.Equal(t, "stopped", g.Status().State)
		require.ErrorIs(t, g.Status().Err, errBroken)
		require.ErrorIs(t, g.Snapshot(), replication.ErrStopped)
		require.NoError(t, g.Close())
	})
}

// Aim: a failed vote file ends the group and not the process. Method: its sync fails at an election, which follows a full
// disk.
func TestFailedVoteFile(t *testing.T) {
	n := newNode()
	fault := vfs.NewFault(n.fs)
	n.fs = fault
	g := n.open(t, func(o *replication.Options) { o.ElectionTimeout = 20 * time.Millisecond })
	n.lead(t)
	fault.Inject(vfs.Rule{Op: vfs.OpSyncData, Path: ".vote", Err: errBroken})
	n.log.set(func(l *fakeLog) { l.full = true })
	require.ErrorIs(t, propose(g, "x").err, replication.ErrNoSpace)
	err := <-n.stopped
	require.ErrorIs(t, err, errBroken)
	require.ErrorContains(t, err, ".vote")
	n.log.set(func(l *fakeLog) { l.full = false })
	require.ErrorIs(t, propose(g, "x").err, replication.ErrStopped)
	require.NoError(t, g.Close())
}

// Aim: a damaged entry that a running Raft asks for stops the group: every proposal is answered, the owner is told, the log
// is not touched, and Close returns. Method: Raft's own method reads the entry while proposals are under way.
func TestDamageWhileRunning(t *testing.T) {
	n := newNode()
	n.machine.gate = make(chan struct{})
	g := n.open(t)
	n.lead(t)
	o := &outcomes{t: t}
	for i := range 50 {
		o.propose(g, i)
	}
	n.log.set(func(l *fakeLog) { l.rotten[1] = true })
	go replication.ReadEntry(g, 1)
	err := <-n.stopped
	require.ErrorIs(t, err, replication.ErrDamaged)
	require.ErrorIs(t, err, errCorrupt)
	require.ErrorContains(t, err, "entry 1")
	o.wg.Wait()
	for _, err := range o.errs {
		require.ErrorIs(t, err, replication.ErrOutcomeUnknown)
	}
	o.propose(g, 50)
	o.wg.Wait()
	require.ErrorIs(t, o.errs[50], replication.ErrStopped)
	close(n.machine.gate)
	before := len(n.log.copyEntries())
	require.NoError(t, g.Close())
	require.Len(t, n.log.copyEntries(), before)
	for term := range n.machine.leads {
		if term == 0 {
			break // Follow came
		}
	}
}

// Aim: Close ends while a goroutine of Raft is parked, whichever came first. Method: damage and Close at once, many times.
func TestDamageWhileClosing(t *testing.T) {
	for range 50 {
		n := newNode()
		g := n.open(t)
		n.lead(t)
		o := &outcomes{t: t}
		for i := range 20 {
			o.propose(g, i)
		}
		n.log.set(func(l *fakeLog) { l.rotten[1] = true })
		go replication.ReadEntry(g, 1)
		require.NoError(t, g.Close())
		o.wg.Wait()
		require.Len(t, o.errs, 20)
	}
}

// Aim: a proposal of one leadership never enters the log in another one. Method: let a proposal through with the mark of an
// earlier term; Raft steps down, and the next leadership works.
func TestProposalOfEarlierTerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		g := n.open(t)
		now := n.lead(t)
		g.SetLeadership(now - 1)
		require.ErrorIs(t, propose(g, "stale").err, replication.ErrNotLeader)
		require.Zero(t, <-n.machine.leads, "the machine is told to follow")
		require.Greater(t, n.lead(t), now)
		mustPropose(t, g, "fresh")
		require.Equal(t, []string{"fresh"}, n.machine.payloads())
		require.NoError(t, g.Close())
	})
}

// Aim: Close answers every proposal once and in order, whether it came before, at the same time or after. Method: close
// under load, with the race detector watching.
func TestCloseWhileProposing(t *testing.T) {
	for range 20 {
		n := newNode()
		g := n.open(t)
		n.lead(t)
		o := &outcomes{t: t}
		var stop atomic.Bool
		finished := make(chan int)
		go func() {
			i := 0
			for ; !stop.Load(); i++ {
				o.propose(g, i)
			}
			finished <- i
		}()
		for n.machine.Applied() < 50 {
			time.Sleep(100 * time.Microsecond)
		}
		require.NoError(t, g.Close())
		time.Sleep(time.Millisecond)
		stop.Store(true)
		total := <-finished
		o.wg.Wait()
		require.Len(t, o.errs, total)
		acked := 0
		for i, err := range o.errs {
			if err == nil {
				require.Equal(t, acked, i, "nothing is written behind a refusal")
				acked++
				continue
			}
			require.ErrorIs(t, err, replication.ErrClosed)
		}
		require.Len(t, n.machine.payloads(), acked)
	}
}

// Aim: a payload that no entry can hold is refused before Raft sees it. Method: one byte too many.
func TestPayloadTooLarge(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	require.NoError(t, propose(g, string(make([]byte, 1<<20))).err)
	require.ErrorIs(t, propose(g, string(make([]byte, 1<<20+1))).err, replication.ErrTooLarge)
	require.NoError(t, propose(g, "next").err)
	require.NoError(t, g.Close())
}

// Aim: a log that refuses an entry for a reason of its own, and is as it was, does not end the group. Method: it has no file
// descriptors for a while.
func TestRefusingLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		g := n.open(t)
		n.lead(t)
		n.log.set(func(l *fakeLog) { l.refuse = syscall.EMFILE })
		for range 2 {
			err := propose(g, "refused").err
			require.ErrorIs(t, err, replication.ErrRefused)
			require.ErrorIs(t, err, syscall.EMFILE)
		}
		n.log.set(func(l *fakeLog) { l.refuse = nil })
		n.lead(t)
		mustPropose(t, g, "kept")
		require.Equal(t, []string{"kept"}, n.machine.payloads())
		require.NoError(t, g.Close())
	})
}
