package replication_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
)

// Aim: one voter proposes, applies and answers. Method: a group over a log in memory, closed and opened again.
func TestSoleVoter(t *testing.T) {
	n := newNode()
	start := time.Now()
	g := n.open(t)
	require.EqualValues(t, 2, n.lead(t))
	t.Logf("leads after %v", time.Since(start))
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint("entry ", i))
		index := mustPropose(t, g, want[i])
		require.Equal(t, index, n.machine.Applied(), "done comes after apply")
	}
	require.Equal(t, want, n.machine.payloads())
	s := g.Status()
	require.Equal(t, "leader", s.State)
	require.True(t, s.Leading)
	require.NoError(t, g.Close())
	require.ErrorContains(t, propose(g, "late").err, "closed")

	g = n.open(t)
	require.EqualValues(t, 3, n.lead(t))
	mustPropose(t, g, "after")
	require.Equal(t, append(want, "after"), n.machine.payloads())
	require.NoError(t, g.Close())
}

// Aim: 100,000 proposals come back once, in order, and are applied in that order. Method: as many as fit in flight.
func TestManyProposals(t *testing.T) {
	const total = 100_000
	n := newNode()
	n.machine.keep = true
	g := n.open(t)
	n.lead(t)
	o := &outcomes{t: t}
	for i := range total {
		o.propose(g, i)
	}
	o.wg.Wait()
	require.Len(t, o.errs, total)
	for _, err := range o.errs {
		require.NoError(t, err)
	}
	require.Len(t, n.machine.entries, total)
	for i, e := range n.machine.entries {
		if string(e.Payload) != string(number(i)) || e.Time == 0 {
			require.FailNow(t, "wrong entry", "%d: %x at %d", i, e.Payload, e.Time)
		}
	}
	require.Less(t, n.log.appends, total, "proposals share writes")
	require.NoError(t, g.Close())
}

// Aim: snapshots are taken after so many entries, not more often than once a second, and after so much time if anything was
// applied. Method: a fake clock.
func TestSnapshotSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		g := n.open(t, func(o *replication.Options) { o.SnapshotEntries = 100 })
		n.lead(t)
		for range 350 {
			mustPropose(t, g, "x")
		}
		synctest.Wait()
		first := g.Status().Snapshot
		require.NotZero(t, first)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		require.Greater(t, g.Status().Snapshot, first)
		mustPropose(t, g, "y")
		last := g.Status().Last
		time.Sleep(time.Second)
		require.Less(t, g.Status().Snapshot, last)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.Equal(t, last, g.Status().Snapshot)
		require.NoError(t, g.Close())
	})
}

// Aim: a sole voter leads at once, and an idle group does next to nothing. Method: a fake clock, which does not move while
// anything can run.
func TestLeadsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode()
		start := time.Now()
		g := n.open(t)
		n.lead(t)
		require.Zero(t, time.Since(start))
		appends := n.log.appends
		time.Sleep(time.Hour)
		require.Equal(t, appends, n.log.appends)
		require.EqualValues(t, 2, g.Status().Term)
		require.NoError(t, g.Close())
	})
}
