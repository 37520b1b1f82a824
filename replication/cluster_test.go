package replication_test

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
)

// cluster is three nodes whose transports are in memory.
type cluster struct {
	t      *testing.T
	change func(*replication.Options)
	nodes  []*node
	groups []*replication.Group
	trans  []*raft.InmemTransport
}

func address(i int) raft.ServerAddress { return raft.ServerAddress(fmt.Sprint("node-", i)) }

func newCluster(t *testing.T, change ...func(*replication.Options)) *cluster {
	c := &cluster{t: t, change: func(*replication.Options) {}, groups: make([]*replication.Group, 3), trans: make([]*raft.InmemTransport, 3)}
	for _, f := range change {
		c.change = f
	}
	for range 3 {
		c.nodes = append(c.nodes, newNode())
	}
	for i := range c.nodes {
		c.start(i)
	}
	return c
}

func (c *cluster) start(i int) {
	_, c.trans[i] = raft.NewInmemTransport(address(i))
	c.join(i)
	var servers []raft.Server
	for j := range 3 {
		servers = append(servers, raft.Server{ID: raft.ServerID(address(j)), Address: address(j)})
	}
	c.groups[i] = c.nodes[i].open(c.t, func(o *replication.Options) {
		o.ServerID, o.Transport, o.Servers = string(address(i)), c.trans[i], servers
		c.change(o)
	})
}

// join connects a node with those that run.
func (c *cluster) join(i int) {
	for j, other := range c.trans {
		if j != i && other != nil {
			c.trans[i].Connect(address(j), other)
			other.Connect(address(i), c.trans[i])
		}
	}
}

func (c *cluster) isolate(i int) {
	c.trans[i].DisconnectAll()
	for j, other := range c.trans {
		if j != i && other != nil {
			other.Disconnect(address(i))
		}
	}
}

func (c *cluster) stop(i int) {
	require.NoError(c.t, c.groups[i].Close())
	c.isolate(i)
	c.groups[i], c.trans[i] = nil, nil
}

// leader waits for a group that accepts proposals, other than the one given.
func (c *cluster) leader(not int) int {
	for range 600 {
		for i, g := range c.groups {
			if i != not && g != nil && g.Status().Leading {
				return i
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	require.FailNow(c.t, "nobody leads")
	return -1
}

// requireEqual waits until all machines have exactly these payloads.
func (c *cluster) requireEqual(want []string) {
	c.t.Helper()
	time.Sleep(10 * time.Second)
	synctest.Wait()
	for i, n := range c.nodes {
		if c.groups[i] != nil {
			require.Equal(c.t, want, n.machine.payloads(), "node %d", i)
		}
	}
}

func (c *cluster) close() {
	for i, g := range c.groups {
		if g != nil {
			c.stop(i)
		}
	}
}

// Aim: with peers the log store, the vote file and the machine work as well: entries reach followers with their payloads, a
// new leader goes on, a restarted node with a machine that forgot catches up. Method: three nodes on a fake clock.
func TestCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		var want []string
		say := func(leader int, n int) {
			for range n {
				want = append(want, fmt.Sprint("entry ", len(want)))
				mustPropose(t, c.groups[leader], want[len(want)-1])
			}
		}
		first := c.leader(-1)
		say(first, 50)
		c.requireEqual(want)

		follower := (first + 1) % 3
		require.ErrorIs(t, propose(c.groups[follower], "x").err, replication.ErrNotLeader)

		c.stop(first)
		second := c.leader(-1)
		say(second, 50)
		c.nodes[first].machine = c.nodes[first].machine.forget(10)
		c.start(first)
		say(second, 10)
		c.requireEqual(want)
		for _, n := range c.nodes {
			last, _ := n.log.Last()
			for _, e := range n.log.copyEntries() {
				require.LessOrEqual(t, e.CommitHint, last)
			}
		}
	})
}

// Aim: a leader that was cut off does not acknowledge, and its entries that nobody else has are cut from its log. Method:
// isolate it with proposals under way, let another one lead, join again.
func TestConflictIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		first := c.leader(-1)
		want := []string{"one"}
		mustPropose(t, c.groups[first], "one")
		c.requireEqual(want)
		c.isolate(first)
		for range 5 {
			c.groups[first].Propose([]byte("lost"), func(_ uint64, err error) {
				if err == nil {
					t.Error("acknowledged without a majority")
				}
			})
		}
		second := c.leader(first)
		for i := range 3 {
			want = append(want, fmt.Sprint("new ", i))
			mustPropose(t, c.groups[second], want[i+1])
		}
		c.join(first)
		c.requireEqual(want)
		require.Empty(t, c.nodes[first].stopped)
		mustPropose(t, c.groups[c.leader(-1)], "after")
		c.requireEqual(append(want, "after"))
	})
}

// Aim: a follower that is behind the front of its leader's log does not go on with a hole. Method: stop it, trim the others
// behind their snapshots, start it again with an empty disk's worth of log.
func TestFollowerBehindTheFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		first := c.leader(-1)
		mustPropose(t, c.groups[first], "one")
		c.requireEqual([]string{"one"})
		behind := (first + 1) % 3
		c.stop(behind)
		for i := range 20 {
			mustPropose(t, c.groups[first], strconv.Itoa(i))
		}
		time.Sleep(10 * time.Second)
		for i, g := range c.groups {
			if i != behind {
				require.NoError(t, g.Snapshot())
				c.nodes[i].log.trim(g.Status().Snapshot)
			}
		}
		c.start(behind)
		err := <-c.nodes[behind].stopped
		require.ErrorIs(t, err, replication.ErrNeedsBootstrap)
		require.Equal(t, []string{"one"}, c.nodes[behind].machine.payloads())
		require.Zero(t, c.groups[behind].Status().Snapshot, "nothing to start from")
	})
}

// Aim: a follower whose log ends exactly where its leader's begins goes on from there, and needs no bootstrap: all that it lacks
// is in the leader's log. Method: stop it, trim the others up to its last entry, with a snapshot far behind that, start it.
func TestFollowerAtTheFront(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		defer c.close()
		first := c.leader(-1)
		want := []string{"one"}
		mustPropose(t, c.groups[first], "one")
		c.requireEqual(want)
		at := (first + 1) % 3
		c.stop(at)
		last, _ := c.nodes[at].log.Last()
		for i := range 20 {
			want = append(want, strconv.Itoa(i))
			mustPropose(t, c.groups[first], want[i+1])
		}
		time.Sleep(10 * time.Second)
		for i, g := range c.groups {
			if i != at {
				require.NoError(t, g.Snapshot())
				require.Greater(t, g.Status().Snapshot, last+10)
				c.nodes[i].log.trim(last + 1)
			}
		}
		c.start(at)
		c.requireEqual(want)
		require.Empty(t, c.nodes[at].stopped)
	})
}

// Aim: a leader that cannot read an entry does not send a hole, a wrong error or a snapshot to its follower: its group stops,
// another node leads and feeds the follower. Method: rot of an entry that a follower lacks, in one log; real time, since a
// goroutine of Raft stays parked.
func TestDamagedLeader(t *testing.T) {
	c := newCluster(t, func(o *replication.Options) { o.ElectionTimeout = 100 * time.Millisecond })
	defer c.close()
	first := c.leader(-1)
	behind := (first + 1) % 3
	c.stop(behind)
	var want []string
	for i := range 20 {
		want = append(want, strconv.Itoa(i))
		mustPropose(t, c.groups[first], want[i])
	}
	last, _ := c.nodes[first].log.Last()
	c.nodes[first].log.set(func(l *fakeLog) { l.rotten[last-5] = true })
	c.start(behind)
	err := <-c.nodes[first].stopped
	require.ErrorIs(t, err, replication.ErrDamaged)
	require.ErrorIs(t, propose(c.groups[first], "x").err, replication.ErrStopped)
	second := c.leader(first)
	want = append(want, "after")
	mustPropose(t, c.groups[second], "after")
	for deadline := 0; len(c.nodes[behind].machine.payloads()) < len(want) && deadline < 500; deadline++ {
		time.Sleep(20 * time.Millisecond)
	}
	require.Equal(t, want, c.nodes[behind].machine.payloads())
	require.Equal(t, want[:20], c.nodes[first].machine.payloads())
}

// Aim: a follower that cannot read an entry which its leader's are compared with does not answer with a mismatch, upon which
// more and more of its good log would be overwritten: its group stops, its log stays, and the others go on. Method: a leader
// is cut off with entries that nobody else has; one of them rots; it joins again; real time, since a goroutine of Raft
// stays parked.
func TestDamagedFollower(t *testing.T) {
	c := newCluster(t, func(o *replication.Options) { o.ElectionTimeout = 100 * time.Millisecond })
	defer c.close()
	first := c.leader(-1)
	mustPropose(t, c.groups[first], "one")
	c.isolate(first)
	for range 5 {
		c.groups[first].Propose([]byte("lost"), func(uint64, error) {})
	}
	second := c.leader(first)
	mustPropose(t, c.groups[second], "two")
	third := 3 - first - second
	before := c.nodes[first].log.copyEntries()
	c.nodes[first].log.set(func(l *fakeLog) {
		for i := range before {
			if string(before[i].Payload) == "lost" {
				l.rotten[before[i].Index] = true
			}
		}
		require.NotEmpty(t, l.rotten)
	})
	c.join(first)
	err := <-c.nodes[first].stopped
	require.ErrorIs(t, err, replication.ErrDamaged)
	require.Equal(t, before, c.nodes[first].log.copyEntries(), "nothing was cut")
	mustPropose(t, c.groups[second], "three")
	for deadline := 0; len(c.nodes[third].machine.payloads()) < 3 && deadline < 500; deadline++ {
		time.Sleep(20 * time.Millisecond)
	}
	require.Equal(t, []string{"one", "two", "three"}, c.nodes[third].machine.payloads())
	require.Equal(t, []string{"one"}, c.nodes[first].machine.payloads())
}
