package partition_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
)

// outcomes remembers what publishers were told.
type outcomes struct {
	mu      sync.Mutex
	stored  map[string]record.Offset // value → where
	refused map[string]bool
	unknown map[string]bool
}

func (o *outcomes) note(values []string, a *partition.Append) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i, v := range values {
		switch {
		case a.Err == nil:
			o.stored[v] = a.Base + record.Offset(i)
		case errors.Is(a.Err, partition.ErrUnknownOutcome):
			o.unknown[v] = true
		default:
			o.refused[v] = true
		}
	}
}

// check compares a channel with what its publishers were told.
func (o *outcomes) check(t *testing.T, channel string, values []string) {
	t.Helper()
	seen := map[string]bool{}
	for i, v := range values {
		require.False(t, seen[v], "%s: %s is there twice", channel, v)
		seen[v] = true
		require.False(t, o.refused[v], "%s: %s was refused and is there", channel, v)
		if at, ok := o.stored[v]; ok {
			require.Equal(t, at, record.Offset(i+1), "%s: %s", channel, v)
		}
	}
	for v := range o.stored {
		if v[:len(channel)] == channel {
			require.True(t, seen[v], "%s: %s was acknowledged and is lost", channel, v)
		}
	}
}

// Aim: whatever a leader does with an entry, publishers are told the truth, and
// after it is led again offsets go on without gap or double. Method: publishers
// on a few channels, small and large, while entries are refused, lost and lost
// after they were written, and the term ends; in the end and after a restart
// without flushing all is read and compared.
func TestFaultyLeader(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) { faultyLeader(t, seed) })
	}
}

func faultyLeader(t *testing.T, seed uint64) {
	n := newNode(t)
	n.seg.SegmentBytes = 1 << 20
	n.open()
	n.lead()
	t.Cleanup(n.close)
	rng := rand.New(rand.NewPCG(seed, 4))
	n.leader.setDecide(func([]byte) (verdict, error) {
		switch rng.IntN(12) {
		case 0:
			return refuse, partition.ErrNotLeader
		case 1:
			return refuse, fmt.Errorf("%w: quota", partition.ErrNoSpace)
		case 2:
			return lose, nil
		case 3:
			return loseWritten, nil
		}
		return accept, nil
	})
	o := &outcomes{stored: map[string]record.Offset{}, refused: map[string]bool{}, unknown: map[string]bool{}}
	stop := make(chan struct{})
	var elections, publishers sync.WaitGroup
	elections.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			if i%20 == 0 {
				n.leader.depose()
			}
			n.leader.electIfNone()
		}
	})
	for p := range 4 {
		publishers.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(p)))
			var pending sync.WaitGroup
			for i := range 150 {
				channel := fmt.Sprintf("channel-%d", rng.IntN(5))
				c, err := n.part.Ensure(channel)
				if err != nil {
					panic(err)
				}
				a := c.NewAppend()
				var values []string
				for k := range 1 + rng.IntN(4) {
					v := fmt.Sprintf("%s p%d i%d k%d %0*d", channel, p, i, k, 1+rng.IntN(8)*rng.IntN(8)*1000, 0)
					values = append(values, v)
					if err := a.AddValue([]byte(v)); err != nil {
						panic(err)
					}
				}
				pending.Add(1)
				a.Done = func(a *partition.Append) { o.note(values, a); pending.Done() }
				c.Append(a)
				if rng.IntN(10) == 0 {
					pending.Wait()
				}
			}
			pending.Wait()
		})
	}
	publishers.Wait()
	close(stop)
	elections.Wait()
	n.leader.setDecide(nil)
	n.leader.depose()
	n.lead()
	for c := range 5 {
		n.store(fmt.Sprintf("channel-%d", c), fmt.Sprintf("channel-%d last", c))
	}
	require.NotEmpty(t, o.stored)
	require.NotEmpty(t, o.refused)
	require.NotEmpty(t, o.unknown)
	want := contents(t, n.part)
	for name, values := range want {
		o.check(t, name, values)
	}
	n.restart(nil)
	require.Equal(t, want, contents(t, n.part))
}

// electIfNone begins a term unless one is under way.
func (l *leader) electIfNone() {
	l.mu.Lock()
	leads := l.term != 0
	l.mu.Unlock()
	if !leads {
		l.elect()
	}
}

// Aim: each operation gets the error that its entry got, wherever in a run of
// entries it is. Method: each kind of error at each of a few entries; what comes
// behind the failed one is refused too; after the next term all works.
func TestErrorsOfOperations(t *testing.T) {
	ctx := context.Background()
	for _, kind := range []struct {
		verdict verdict
		err     error
		want    error
	}{
		{refuse, partition.ErrNotLeader, partition.ErrNotLeader},
		{refuse, partition.ErrNoSpace, partition.ErrNoSpace},
		{refuse, partition.ErrClosed, partition.ErrClosed},
		{lose, nil, partition.ErrUnknownOutcome},
		{loseWritten, nil, partition.ErrUnknownOutcome},
	} {
		for at := range 5 {
			t.Run(fmt.Sprintf("%v at %d", kind.want, at), func(t *testing.T) {
				n := start(t)
				entry := 0
				n.leader.setDecide(func([]byte) (verdict, error) {
					entry++
					if entry-1 == at {
						return kind.verdict, kind.err
					}
					return accept, nil
				})
				steps := []func() error{
					func() error { _, err := n.part.Create(ctx, "a", partition.Config{MaxRecords: 9}); return err },
					func() error { _, err := n.append(n.ensure("a"), "1"); return err },
					func() error { return n.ensure("a").Set(ctx, partition.Config{MaxRecords: 8}) },
					func() error { return n.ensure("a").Trim(ctx, 2) },
					func() error { return await(func(done func(error)) { n.part.PutSession(1, "s", nil, done) }) },
				}
				for i, step := range steps {
					err := step()
					if i != at {
						require.NoError(t, err, "step %d", i)
						continue
					}
					require.ErrorIs(t, err, kind.want)
					n.leader.depose()
					n.lead()
					if kind.verdict != loseWritten {
						require.NoError(t, step(), "again")
					}
				}
				want := dump(n.part)
				n.restart(nil)
				require.Equal(t, want, dump(n.part))
			})
		}
	}
}

// Aim: entries under way behind one that fails do not get through. Method: hold
// the first until the second is proposed, refuse the first.
func TestPipelineIsRefused(t *testing.T) {
	n := start(t)
	c := n.ensure("a")
	_, err := n.append(c, "first")
	require.NoError(t, err)
	held := make(chan struct{})
	n.leader.setDecide(func([]byte) (verdict, error) {
		<-held
		n.leader.setDecide(nil)
		return refuse, partition.ErrNoSpace
	})
	var mu sync.Mutex
	var errs []error
	var all sync.WaitGroup
	for range 20 {
		all.Add(1)
		a := c.NewAppend()
		require.NoError(t, a.AddValue([]byte("x")))
		a.Done = func(a *partition.Append) {
			mu.Lock()
			errs = append(errs, a.Err)
			mu.Unlock()
			all.Done()
		}
		c.Append(a)
		require.Eventually(t, func() bool { return n.part.Watermarks().Check() == nil }, time.Second, time.Millisecond)
	}
	close(held)
	all.Wait()
	require.NotContains(t, errs, nil)
	require.True(t, slices.ContainsFunc(errs, func(err error) bool { return errors.Is(err, partition.ErrNoSpace) }))
	n.leader.depose()
	n.lead()
	require.EqualValues(t, 2, n.store("a", "second"))
	require.Equal(t, []string{"first", "second"}, read(t, c, 1))
}
