package replication_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

var _ replication.Log = (*segment.Log)(nil)

func openSegments(t testing.TB, fsys vfs.FS) *segment.Log {
	t.Helper()
	l, err := segment.Open(segment.Options{
		FS: fsys, Dir: "partition-0000", ClusterID: "test", SegmentBytes: segment.SegmentBytesMin, MarkerDelay: -1, FillBytesMax: -1,
	})
	require.NoError(t, err)
	return l
}

// dataPayload is a payload as the segment log wants them: a batch with one record.
func dataPayload(i int) []byte {
	return record.AppendCommand(nil, 1, 1, int64(i), fmt.Appendf(nil, "payload %d", i))
}

// Aim: a group over real segments survives power cuts: what was acknowledged is applied again after the cut, nothing twice,
// in order. Method: proposals one after the other and in bunches, over small segments; crash clones of everything, logs and
// votes and snapshots, before sampled file operations, each opened as a node of its own with a machine that knows nothing
// and proposing once more.
func TestSegmentsSurvivePowerCut(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	rnd, cutRnd := rand.New(rand.NewPCG(5, 6)), rand.New(rand.NewPCG(7, 8)) // the hook has its own
	l := openSegments(t, fault)
	m := newFakeMachine()
	g, err := replication.Open(replication.Options{Dir: "raft", FS: fault, Log: l, Machine: m, SnapshotEntries: 100})
	require.NoError(t, err)
	(&node{machine: m}).lead(t)

	type cut struct {
		fs    *vfs.MemFS
		acked int
	}
	var cuts []cut
	acked := make(chan int, 1)
	acked <- 0
	ops := 0
	fault.Inject(vfs.Rule{Hook: func() {
		// What is acknowledged is read before the clone, so that the clone must have it.
		n := <-acked
		if ops++; ops%7 == 0 && len(cuts) < 120 {
			cuts = append(cuts, cut{mem.CrashClone(vfs.CrashOptions{UnsyncedShare: cutRnd.Float64(), TearBytes: 512, Rand: cutRnd}), n})
		}
		acked <- n
	}})
	const total = 600
	for i := 0; i < total; {
		bunch := min(1+rnd.IntN(4), total-i)
		done := make(chan error, bunch)
		for range bunch {
			g.Propose(dataPayload(i), func(_ uint64, err error) {
				n := <-acked
				acked <- n + 1
				done <- err
			})
			i++
		}
		for range bunch {
			require.NoError(t, <-done)
		}
		if i%97 == 0 {
			require.NoError(t, g.Snapshot())
		}
	}
	fault.Clear()
	require.NoError(t, g.Close())
	require.NoError(t, l.Close())
	require.Greater(t, len(cuts), 50)

	for i, c := range cuts {
		l := openSegments(t, c.fs)
		m := newFakeMachine()
		g, err := replication.Open(replication.Options{Dir: "raft", FS: c.fs, Log: l, Machine: m})
		require.NoError(t, err, "cut %d", i)
		(&node{machine: m}).lead(t)
		got := m.payloads()
		require.GreaterOrEqual(t, len(got), c.acked, "cut %d", i)
		for k, p := range got {
			require.Equal(t, string(dataPayload(k)), p, "cut %d", i)
		}
		require.NoError(t, propose(g, string(dataPayload(len(got)))).err)
		require.NoError(t, g.Close())
		require.NoError(t, l.Close())
	}
}

// Aim: rot in a segment under a running group ends the group and is not hidden. Method: flip a byte of an early entry in the
// file, then read it as Raft does.
func TestSegmentRot(t *testing.T) {
	mem := vfs.NewMem()
	l := openSegments(t, mem)
	m := newFakeMachine()
	stopped := make(chan error, 1)
	g, err := replication.Open(replication.Options{
		Dir: "raft", FS: mem, Log: l, Machine: m, OnStop: func(err error) { stopped <- err },
	})
	require.NoError(t, err)
	(&node{machine: m}).lead(t)
	index := mustPropose(t, g, string(dataPayload(0)))
	mustPropose(t, g, string(dataPayload(1)))

	files, err := mem.List("partition-0000")
	require.NoError(t, err)
	flipped := false
	for _, name := range files {
		b, err := vfs.ReadFile(mem, "partition-0000/"+name)
		require.NoError(t, err)
		at := indexOf(b, "payload 0")
		if at < 0 {
			continue
		}
		f, err := mem.OpenReadWrite("partition-0000/" + name)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte{b[at] ^ 1}, int64(at))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		flipped = true
	}
	require.True(t, flipped)
	go replication.ReadEntry(g, index)
	err = <-stopped
	var corrupt *segment.CorruptionError
	require.ErrorAs(t, err, &corrupt)
	require.Equal(t, index, corrupt.Index)
	require.NoError(t, g.Close())
	require.NoError(t, l.Close())
}

func indexOf(b []byte, s string) int {
	for i := 0; i+len(s) <= len(b); i++ {
		if string(b[i:i+len(s)]) == s {
			return i
		}
	}
	return -1
}

// Aim: a full file system refuses proposals and ends by itself. Method: a capacity for MemFS that the next segment does not
// fit into.
func TestSegmentsOnFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	l := openSegments(t, mem)
	n := &node{machine: newFakeMachine()}
	g, err := replication.Open(replication.Options{
		Dir: "raft", FS: mem, Log: l, Machine: n.machine, ElectionTimeout: 20e6,
	})
	require.NoError(t, err)
	n.lead(t)
	usage, err := mem.Usage(".")
	require.NoError(t, err)
	used := usage.TotalBytes - usage.AvailableBytes
	mem.SetCapacity(used)
	kept := 0
	for ; kept < 10_000; kept++ {
		if err = propose(g, string(dataPayload(kept))).err; err != nil {
			break
		}
	}
	require.ErrorIs(t, err, replication.ErrNoSpace)
	require.ErrorIs(t, propose(g, string(dataPayload(kept))).err, replication.ErrNoSpace)
	mem.SetCapacity(used + 1<<20)
	n.lead(t)
	require.NoError(t, propose(g, string(dataPayload(kept))).err)
	require.Len(t, n.machine.payloads(), kept+1)
	require.NoError(t, g.Close())
	require.NoError(t, l.Close())
}

// segmentStore is a LogStore over real segments, for the contract.
func segmentStore(t *testing.T, h replication.LogStoreHooks) raft.LogStore {
	l := openSegments(t, vfs.NewMem())
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return replication.NewLogStore(l, h)
}
