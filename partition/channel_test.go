package partition_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
)

// Aim: names that are only asked for cost nothing for long, whatever a client
// does, and those that are held stay one channel. Method: ask for many names and
// fail to write to many more; collect; then the same with a handle held, which
// must be the channel that is made in the end.
func TestNamesAreNotKept(t *testing.T) {
	n := start(t)
	n.leader.setDecide(func([]byte) (verdict, error) { return refuse, partition.ErrNoSpace })
	held := n.ensure("held")
	for i := range 1000 {
		n.ensure(fmt.Sprint("asked-", i))
		require.Same(t, held, n.ensure("held"))
		c := n.ensure(fmt.Sprint("written-", i))
		_, err := n.append(c, "x")
		require.ErrorIs(t, err, partition.ErrNoSpace)
		n.leader.depose()
		n.lead()
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		return n.part.FreshNames() <= 1+2 // those of a pooled buffer may be left
	}, 20*time.Second, time.Millisecond)
	n.leader.setDecide(nil)
	require.EqualValues(t, 1, n.store("held", "x"))
	require.True(t, held.Exists())
	got, ok := n.part.Channel("held")
	require.True(t, ok)
	require.Same(t, held, got)
	runtime.KeepAlive(held)
}

// Aim: records for a name that several ask for at once go to one channel. Method:
// many goroutines ensure and append to the same few new names; collections in
// between.
func TestCreationRace(t *testing.T) {
	n := start(t)
	for round := range 20 {
		var all sync.WaitGroup
		for g := range 8 {
			all.Go(func() {
				for i := range 4 {
					c, err := n.part.Ensure(fmt.Sprintf("r%d-%d", round, i))
					if err != nil {
						t.Error(err)
						return
					}
					if g%2 == 0 {
						runtime.GC()
					}
					if _, err := n.append(c, "x"); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		for i := range 4 {
			require.Len(t, read(t, n.ensure(fmt.Sprintf("r%d-%d", round, i)), 1), 8)
		}
	}
}

// Aim: of many who create a channel at once with different settings one wins,
// and only those who wanted the same are told that it is there. Method: creators
// and a publisher at once, over and over.
func TestCreateRace(t *testing.T) {
	n := start(t)
	for round := range 30 {
		name := fmt.Sprint("c", round)
		var all sync.WaitGroup
		errs := make([]error, 6)
		for g := range errs {
			all.Go(func() {
				_, errs[g] = n.part.Create(context.Background(), name, partition.Config{MaxRecords: uint64(g % 3)})
			})
		}
		if round%2 == 0 {
			all.Go(func() {
				if c, err := n.part.Ensure(name); err == nil {
					_, err = n.append(c, "x")
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		won := n.ensure(name).Config().MaxRecords
		for g, err := range errs {
			if uint64(g%3) == won {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, partition.ErrChannelExists)
			}
		}
	}
}

// Aim: what is given to a channel that is being deleted is refused, and only
// when it is sure that it goes; Ensure gives the old handle until then and a new
// one afterwards. Method: hold the deletion, append and create meanwhile, then
// let it through or not.
func TestBetweenDeleteAndDone(t *testing.T) {
	for _, through := range []bool{true, false} {
		t.Run(strconv.FormatBool(through), func(t *testing.T) {
			n := start(t)
			n.store("a", "1")
			c := n.ensure("a")
			held, proposed := make(chan struct{}), make(chan struct{}, 1)
			n.leader.setDecide(func([]byte) (verdict, error) {
				select {
				case proposed <- struct{}{}:
					<-held
				default:
				}
				if through {
					return accept, nil
				}
				return refuse, partition.ErrNoSpace
			})
			outcome := make(chan error, 3)
			go func() { outcome <- c.Delete(context.Background()) }()
			require.Eventually(t, func() bool { return len(proposed) == 1 }, 10*time.Second, time.Millisecond)
			require.Same(t, c, n.ensure("a"))
			go func() { _, err := n.append(c, "2"); outcome <- err }()
			go func() { outcome <- c.Set(context.Background(), partition.Config{MaxRecords: 1}) }()
			select {
			case err := <-outcome:
				require.Fail(t, "an answer before the deletion is durable", "%v", err)
			case <-time.After(20 * time.Millisecond):
			}
			close(held)
			var ok, gone int
			for range 3 {
				switch err := <-outcome; {
				case err == nil:
					ok++
				case through:
					require.ErrorIs(t, err, partition.ErrNoChannel)
					gone++
				default:
					require.NotErrorIs(t, err, partition.ErrNoChannel)
				}
			}
			n.leader.setDecide(nil)
			n.leader.depose()
			n.lead()
			if !through {
				require.Zero(t, ok)
				require.EqualValues(t, 2, n.store("a", "2"))
				require.Same(t, c, n.ensure("a"))
				return
			}
			require.Equal(t, []int{1, 2}, []int{ok, gone})
			require.True(t, c.Deleted())
			require.NotSame(t, c, n.ensure("a"))
			require.EqualValues(t, 1, n.store("a", "anew"))
			_, err := n.append(c, "old")
			require.ErrorIs(t, err, partition.ErrNoChannel)
		})
	}
}

// Aim: who watches is told of every change after it can be seen. Method: watch a
// channel that does not exist yet; make it, write, trim, delete; stop watching.
func TestWatch(t *testing.T) {
	n := start(t)
	c := n.ensure("a")
	var seen []string
	state := func() string {
		return fmt.Sprintf("%t %d-%d", c.Exists(), c.First(), c.Last())
	}
	cancel := c.Watch(func() { seen = append(seen, state()) })
	other := c.Watch(func() {})
	var changes []string
	stop := n.part.WatchChannels(func(ch partition.Change) {
		changes = append(changes, fmt.Sprintf("%s %t", ch.Channel.Name(), ch.Deleted))
	})
	n.store("a", "1", "2")
	other()
	n.store("b", "1")
	require.NoError(t, c.Trim(context.Background(), 2))
	require.NoError(t, c.Delete(context.Background()))
	require.Equal(t, []string{"true 1-2", "true 2-2", "false 2-2"}, seen)
	require.Equal(t, []string{"a false", "b false", "a true"}, changes)
	cancel()
	cancel()
	stop()
	n.store("a", "1")
	require.Len(t, seen, 3)
	require.Len(t, changes, 3)
}

// Aim: the partition of a name never changes. Method: values written down.
func TestRoute(t *testing.T) {
	for name, want := range routes {
		for n, p := range want {
			require.Equal(t, p, partition.Route(name, n), "%s of %d", name, n)
		}
	}
}
