package partition_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
)

// slow is a Proposer that holds up Propose.
type slow struct {
	*leader
	proposing, hold chan struct{}
}

func (s *slow) Propose(payload []byte, done func(uint64, error)) {
	s.proposing <- struct{}{}
	<-s.hold
	s.leader.Propose(payload, done)
}

// Aim: no entry gets into the log under another term than it was made for, so
// Follow waits for the one that is being proposed. Method: hold Propose up, call
// Follow.
func TestFollowWaitsForPropose(t *testing.T) {
	n := newNode(t)
	hold, proposing := make(chan struct{}), make(chan struct{}, 1)
	n.wrap = func(l *leader) partition.Proposer { return &slow{l, proposing, hold} }
	n.open()
	defer n.close()
	n.lead()
	outcome := n.give(n.ensure("a"), "x")
	<-proposing
	followed := make(chan struct{})
	go func() {
		n.part.Follow()
		close(followed)
	}()
	select {
	case <-followed:
		require.Fail(t, "an entry is still on its way")
	case <-time.After(20 * time.Millisecond):
	}
	close(hold)
	<-followed
	require.NoError(t, <-outcome)
}

// Aim: as above, for an entry that is made when the term ends. Method: the clock
// is read while an entry is made; there the term ends and the next begins. The
// entry is refused (logged under the next, it could not be applied), and what
// comes after goes on without a gap.
func TestTermEndsWhileAnEntryIsMade(t *testing.T) {
	n := newNode(t)
	var armed atomic.Int32
	n.opts.Now = func() int64 {
		if armed.Load() > 0 && armed.Add(-1) == 0 {
			n.leader.depose()
			n.lead()
		}
		return epochStart
	}
	n.open()
	defer n.close()
	n.lead()
	for range 20 {
		armed.Store(2) // once in Append, then where the entry is made
		_, err := n.append(n.ensure("a"), "x")
		require.ErrorIs(t, err, partition.ErrNotLeader)
		n.store("a", "y")
	}
	require.EqualValues(t, 20, n.ensure("a").Last())
}

// Aim: each Append is done exactly once, whatever ends the partition. Method:
// close it under publishers.
func TestCloseUnderLoad(t *testing.T) {
	for range 20 {
		n := newNode(t)
		n.open()
		n.lead()
		var given, done atomic.Int64
		var sources sync.WaitGroup
		begun := make(chan struct{}, 100)
		part := n.part
		for range 4 {
			sources.Go(func() {
				for range 200 {
					c, err := part.Ensure("a")
					if err != nil {
						panic(err)
					}
					a := c.NewAppend()
					if err := a.AddValue([]byte("x")); err != nil {
						panic(err)
					}
					a.Done = func(*partition.Append) { done.Add(1) }
					given.Add(1)
					c.Append(a)
					select {
					case begun <- struct{}{}:
					default:
					}
				}
			})
		}
		for range 50 {
			<-begun
		}
		n.close()
		sources.Wait()
		require.Equal(t, given.Load(), done.Load())
	}
}
