package replication_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// fill writes a log of a sole voter without a group: a configuration, then data entries up to last.
func fill(n *node, last uint64) {
	n.log.entries = append(n.log.entries, replication.LogEntry{
		Index: 1, Term: 1, Type: record.FrameConfiguration, Payload: raft.EncodeConfiguration(soleConf),
	})
	for i := uint64(2); i <= last; i++ {
		n.log.entries = append(n.log.entries, replication.LogEntry{
			Index: i, Term: 1, Type: record.FrameData, CommitHint: i - 2, Payload: number(int(i)),
		})
	}
}

// Aim: a start with far more committed entries than NewRaft of v1.8.0 can take does not hang, and the machine gets each one
// once. Method: a log of 20,000 entries and a machine that knows nothing, with small writes so that the library's limit
// (128 × 16) is passed nine times over.
func TestStartWithManyEntries(t *testing.T) {
	n := newNode()
	fill(n, 20_000)
	g := n.open(t, func(o *replication.Options) { o.EntriesPerWriteMax = 16 })
	require.EqualValues(t, 20_000, n.machine.Applied(), "everything is applied when Open returns")
	n.lead(t)
	require.Len(t, n.machine.entries, 19_999)
	mustPropose(t, g, "next")
	require.NoError(t, g.Close())
}

// Aim: the time to start does not depend on what is stored. Method: count the payloads that a start reads, with a machine
// that is up to date.
func TestStartReadsNoPayloads(t *testing.T) {
	n := newNode()
	fill(n, 20_000)
	n.machine.applied = 20_000
	g := n.open(t)
	n.lead(t)
	reads := 0
	for _, r := range n.log.reads {
		reads += r
	}
	require.LessOrEqual(t, reads, 3, "the configuration, and the last entry: %v", n.log.reads)
	require.NoError(t, g.Snapshot())
	require.NoError(t, g.Close())

	n.log.headers = 0
	g = n.open(t)
	n.lead(t)
	require.LessOrEqual(t, n.log.headers, 10, "the scan begins at the snapshot")
	require.NoError(t, g.Close())
}

// Aim: after a crash the machine gets what it lacks, no more and no less, from wherever it stands. Method: a group that is
// dropped; machines that forgot different parts; with and without a snapshot above what they know.
func TestRestartAppliesWhatIsMissing(t *testing.T) {
	for _, snap := range []bool{false, true} {
		n := newNode()
		g := n.open(t)
		n.lead(t)
		var want []string
		for i := range 50 {
			want = append(want, strconv.Itoa(i))
			mustPropose(t, g, want[i])
		}
		if snap {
			require.NoError(t, g.Snapshot())
			require.NotZero(t, g.Status().Snapshot)
		}
		require.NoError(t, g.Close())
		old := n.machine
		for _, known := range []uint64{0, 10, old.applied - 1, old.applied} {
			t.Run(fmt.Sprint("snapshot ", snap, " known ", known), func(t *testing.T) {
				n.machine = old.forget(known)
				g := n.open(t)
				n.lead(t)
				require.Equal(t, want, n.machine.payloads())
				require.NoError(t, g.Close())
			})
		}
	}
}

// Aim: a log that lost its end, or all of it, is not taken for a shorter history. Method: cut what was applied, what a
// snapshot covers, and everything after a vote.
func TestLostLog(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	for i := range 20 {
		mustPropose(t, g, strconv.Itoa(i))
	}
	require.NoError(t, g.Snapshot())
	require.NoError(t, g.Close())
	all := n.log.entries

	n.log.entries = all[:10]
	_, err := replication.Open(n.options())
	require.ErrorIs(t, err, replication.ErrLogLost)
	n.machine = newFakeMachine()
	_, err = replication.Open(n.options())
	require.ErrorIs(t, err, replication.ErrLogLost, "the snapshot covers more")
	n.log.entries = nil
	_, err = replication.Open(n.options())
	require.ErrorIs(t, err, replication.ErrLogLost)

	fresh := newNode()
	fresh.fs = n.fs
	for _, name := range names(t, n, ".snap") {
		require.NoError(t, n.fs.Remove("raft/"+name))
	}
	_, err = replication.Open(fresh.options())
	require.ErrorIs(t, err, replication.ErrLogLost, "this node has voted")
}

func names(t *testing.T, n *node, suffix string) (found []string) {
	t.Helper()
	all, err := n.fs.List("raft")
	require.NoError(t, err)
	for _, name := range all {
		if len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix {
			found = append(found, name)
		}
	}
	return found
}

// Aim: a lost vote file is made anew from the log where that is safe, and refused where it is not. Method: remove it from
// under a sole voter and from under a member of a cluster.
func TestLostVoteFile(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	mustPropose(t, g, "one")
	require.NoError(t, g.Close())
	g = n.open(t)
	before := n.lead(t)
	mustPropose(t, g, "two")
	require.NoError(t, g.Close())
	require.NoError(t, n.fs.Remove(replication.VoteFileName("raft", 0)))
	g = n.open(t)
	require.Greater(t, n.lead(t), before, "terms go on rising")
	mustPropose(t, g, "three")
	require.Equal(t, []string{"one", "two", "three"}, n.machine.payloads())
	require.NoError(t, g.Close())

	n = newNode()
	three := raft.Configuration{Servers: []raft.Server{
		{ID: "node", Address: "a"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"},
	}}
	n.log.entries = []replication.LogEntry{{
		Index: 1, Term: 1, Type: record.FrameConfiguration, Payload: raft.EncodeConfiguration(three),
	}}
	_, err := replication.Open(n.options())
	require.ErrorIs(t, err, replication.ErrVoteLost)
	require.ErrorContains(t, err, replication.VoteFileName("raft", 0))
}

// Aim: a machine that needs entries which retention took is told so. Method: trim behind a snapshot, forget the machine.
func TestNeedsBootstrap(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	for i := range 20 {
		mustPropose(t, g, strconv.Itoa(i))
	}
	require.NoError(t, g.Snapshot())
	covered := g.Status().Snapshot
	require.NoError(t, g.Close())
	old := n.machine
	n.log.trim(covered - 2)

	g = n.open(t)
	n.lead(t)
	mustPropose(t, g, "goes on")
	require.NoError(t, g.Close())

	n.machine = old.forget(5)
	_, err := replication.Open(n.options())
	require.ErrorIs(t, err, replication.ErrNeedsBootstrap)
}

// Aim: a log that retention emptied goes on where it ended. Method: trim everything that a snapshot covers.
func TestWholeLogTrimmed(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	mustPropose(t, g, "one")
	require.NoError(t, g.Snapshot())
	last := g.Status().Last
	require.Equal(t, last, g.Status().Snapshot)
	require.NoError(t, g.Close())
	n.log.trim(last + 1)
	g = n.open(t)
	n.lead(t)
	require.Greater(t, mustPropose(t, g, "two"), last)
	require.NoError(t, g.Close())
	require.Equal(t, last+1, n.log.First())
}

// Aim: without a readable snapshot a trimmed log is not enough, and the error says which file. Method: damage both.
func TestSnapshotNeededAndDamaged(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	mustPropose(t, g, "one")
	require.NoError(t, g.Snapshot())
	covered := g.Status().Snapshot
	require.NoError(t, g.Close())
	snaps := names(t, n, ".snap")
	require.Len(t, snaps, 1)
	f, err := n.fs.OpenReadWrite("raft/" + snaps[0])
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 20)
	require.NoError(t, err)
	require.NoError(t, f.Close())

	g = n.open(t)
	n.lead(t)
	require.NoError(t, g.Close(), "the log alone is enough")

	n.log.trim(covered)
	_, err = replication.Open(n.options())
	require.ErrorIs(t, err, replication.ErrDamaged)
	require.ErrorContains(t, err, snaps[0])
}

// Aim: a crash between the steps of the first start does not stop the second. Method: the log is full at the first.
func TestBootstrapAgain(t *testing.T) {
	n := newNode()
	n.log.full = true
	_, err := replication.Open(n.options())
	require.ErrorIs(t, err, segment.ErrNoSpace)
	n.log.full = false
	g := n.open(t)
	n.lead(t)
	require.NoError(t, g.Close())
}

// Aim: damage that a start meets is an error of Open that says what and where, and leaves nothing running. Method: rot of an
// entry that the machine lacks, of a configuration, and of the last entry, which only Raft reads.
func TestOpenFindsDamage(t *testing.T) {
	for _, index := range []uint64{1, 50, 100} {
		n := newNode()
		fill(n, 100)
		n.log.rotten[index] = true
		if index == 100 {
			n.machine.applied = 100
		}
		_, err := replication.Open(n.options())
		require.ErrorIs(t, err, replication.ErrDamaged, "entry %d", index)
		require.ErrorIs(t, err, errCorrupt)
		require.ErrorContains(t, err, fmt.Sprint("entry ", index))
		require.Len(t, n.log.entries, 100, "nothing was cut")
		require.Empty(t, n.stopped)
	}
}

// Aim: FSM.Restore takes a manifest when the log has what it covers, and else stops the group. Method: call it as Raft does.
func TestRestoreManifest(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	for i := range 5 {
		mustPropose(t, g, strconv.Itoa(i))
	}
	last, term := n.log.Last()
	restore := func(index, term, chain uint64) error {
		sink, err := g.Snapshots().Create(1, index, term, soleConf, 1, nil)
		require.NoError(t, err)
		_, err = sink.Write(replication.EncodeManifest(0, index, term, chain))
		require.NoError(t, err)
		require.NoError(t, sink.Close())
		_, r, err := g.Snapshots().Open(sink.ID())
		require.NoError(t, err)
		return g.FSM().Restore(r)
	}
	require.NoError(t, restore(last, term, n.log.chain(t, last)))
	require.Equal(t, last, g.Status().Snapshot)
	require.ErrorIs(t, restore(last+5, term, 0), replication.ErrNeedsBootstrap)
	require.ErrorIs(t, <-n.stopped, replication.ErrNeedsBootstrap)
	require.Equal(t, last, g.Status().Snapshot, "not offered at the next start")
	require.ErrorIs(t, propose(g, "x").err, replication.ErrStopped)
	require.NoError(t, g.Close())
}

// Aim: entries that Raft hands over a second time do not reach the machine. Method: call the FSM as Raft does, with entries
// around what was applied.
func TestAppliedEntriesAreSkipped(t *testing.T) {
	n := newNode()
	g := n.open(t)
	n.lead(t)
	last := mustPropose(t, g, "one")
	f, ok := g.FSM().(raft.BatchingFSM)
	require.True(t, ok)
	var logs []*raft.Log
	for i := last - 1; i <= last+2; i++ {
		logs = append(logs, &raft.Log{Index: i, Term: 2, Type: raft.LogCommand, Data: []byte(strconv.FormatUint(i, 10))})
	}
	logs[2].Type = raft.LogConfiguration
	require.Len(t, f.ApplyBatch(logs), len(logs), "Raft panics otherwise")
	require.Equal(t, []string{"one", strconv.FormatUint(last+2, 10)}, n.machine.payloads())
	require.NoError(t, g.Close())
}

// Aim: a member of a cluster applies at start what is known to be committed, and nothing that may still be cut. Method: a
// log whose last header says less than its end; the peers are not there.
func TestUncommittedEntriesWait(t *testing.T) {
	n := newNode()
	fill(n, 100)
	n.log.entries[0].Payload = raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
		{ID: "node", Address: "node"}, {ID: "b", Address: "b"}, {ID: "c", Address: "c"},
	}})
	v, err := openVotes(n)
	require.NoError(t, err)
	require.NoError(t, v.SetUint64(keyTerm, 1))
	require.NoError(t, v.Close())
	_, trans := raft.NewInmemTransport("node")
	g := n.open(t, func(o *replication.Options) { o.Transport = trans })
	require.EqualValues(t, 98, n.machine.Applied())
	require.NoError(t, g.Close())
	require.EqualValues(t, 98, n.machine.Applied())
	require.Empty(t, n.machine.leads)
}

func openVotes(n *node) (*replication.VoteFile, error) {
	if err := n.fs.MkdirAll("raft"); err != nil {
		return nil, err
	}
	return replication.OpenVoteFile(n.fs, "raft", 0, func(error) {})
}

// Aim: a configuration with a second member that is not committed yet keeps a node from treating its log as committed, since
// that member may elect another leader. Method: as above, with the configuration as the last entry.
func TestUncommittedConfiguration(t *testing.T) {
	n := newNode()
	fill(n, 10)
	n.log.entries[9] = replication.LogEntry{
		Index: 10, Term: 1, Type: record.FrameConfiguration, CommitHint: 7,
		Payload: raft.EncodeConfiguration(raft.Configuration{Servers: []raft.Server{
			{ID: "node", Address: "node"}, {ID: "b", Address: "b"},
		}}),
	}
	v, err := openVotes(n)
	require.NoError(t, err)
	require.NoError(t, v.SetUint64(keyTerm, 1))
	require.NoError(t, v.Close())
	_, trans := raft.NewInmemTransport("node")
	g := n.open(t, func(o *replication.Options) { o.Transport = trans })
	require.EqualValues(t, 7, n.machine.Applied())
	require.NoError(t, g.Close())
}
