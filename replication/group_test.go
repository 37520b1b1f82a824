package replication_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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
