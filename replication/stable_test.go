package replication_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment/vfs"
)

var (
	keyTerm      = []byte("CurrentTerm")
	keyVoteTerm  = []byte("LastVoteTerm")
	keyCandidate = []byte("LastVoteCand")
)

func mustVotes(t *testing.T, fsys vfs.FS) *replication.VoteFile {
	t.Helper()
	require.NoError(t, vfs.MkdirAllSync(fsys, "raft"))
	v, err := replication.OpenVoteFile(fsys, "raft", 0, func(error) {})
	require.NoError(t, err)
	return v
}

// Aim: our StableStore behaves as Raft expects. Method: the same steps on the library's own store and on ours; a missing
// key may be an error with the text that Raft compares, or none.
func TestStableStoreContract(t *testing.T) {
	ours := mustVotes(t, vfs.NewMem())
	defer func() { require.NoError(t, ours.Close()) }()
	for name, s := range map[string]raft.StableStore{"inmem": raft.NewInmemStore(), "votefile": ours} {
		t.Run(name, func(t *testing.T) {
			for _, key := range [][]byte{keyTerm, keyVoteTerm, []byte("Other")} {
				v, err := s.GetUint64(key)
				if err != nil {
					require.Equal(t, "not found", err.Error())
				}
				require.Zero(t, v)
			}
			b, err := s.Get(keyCandidate)
			if err != nil {
				require.Equal(t, "not found", err.Error())
			}
			require.Nil(t, b)
			for i := uint64(1); i < 4; i++ {
				require.NoError(t, s.SetUint64(keyTerm, i))
				require.NoError(t, s.SetUint64(keyVoteTerm, 10*i))
				require.NoError(t, s.Set(keyCandidate, []byte(fmt.Sprint("node ", i))))
				term, err := s.GetUint64(keyTerm)
				require.NoError(t, err)
				voteTerm, err := s.GetUint64(keyVoteTerm)
				require.NoError(t, err)
				candidate, err := s.Get(keyCandidate)
				require.NoError(t, err)
				require.Equal(t, []any{i, 10 * i, fmt.Sprint("node ", i)}, []any{term, voteTerm, string(candidate)})
			}
		})
	}
	require.Error(t, ours.Set([]byte("Other"), nil))
	require.Error(t, ours.SetUint64([]byte("Other"), 1))
	require.Error(t, ours.Set(keyCandidate, make([]byte, 2000)))
}

func term(t *testing.T, v *replication.VoteFile) uint64 {
	t.Helper()
	got, err := v.GetUint64(keyTerm)
	require.NoError(t, err)
	return got
}

// Aim: a vote that was acknowledged is there after a power cut at any moment, and one that was not is there or not. Method:
// crash clones before every operation of a history of sets, with random sectors of the unsynced writes.
func TestVoteSurvivesPowerCut(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	rnd := rand.New(rand.NewPCG(1, 2))
	acked, asked := uint64(0), uint64(0)
	opened := false
	cuts := 0
	check := func() {
		for _, share := range []float64{0, 0.3, 0.7, 1} {
			clone := mem.CrashClone(vfs.CrashOptions{UnsyncedShare: share, TearBytes: 512, Rand: rnd})
			if _, err := clone.Stat(replication.VoteFileName("raft", 0)); err != nil {
				require.False(t, opened, "the file is there once it was opened")
				continue
			}
			v, err := replication.OpenVoteFile(clone, "raft", 0, func(error) {})
			require.NoError(t, err)
			got := term(t, v)
			require.GreaterOrEqual(t, got, acked)
			require.LessOrEqual(t, got, asked)
			require.NoError(t, v.Close())
			// What one start has read, the next must read as well: Raft has acted on it.
			again := clone.CrashClone(vfs.CrashOptions{})
			v, err = replication.OpenVoteFile(again, "raft", 0, func(error) {})
			require.NoError(t, err)
			require.Equal(t, got, term(t, v))
			require.NoError(t, v.Close())
			cuts++
		}
	}
	fault.Inject(vfs.Rule{Hook: check})
	v := mustVotes(t, fault)
	opened = true
	for i := uint64(1); i <= 20; i++ {
		asked = i
		require.NoError(t, v.SetUint64(keyTerm, i))
		acked = i
		check()
	}
	fault.Clear()
	require.NoError(t, v.Close())
	require.Greater(t, cuts, 200)
}

// Aim: rot of either copy of an acknowledged vote loses nothing, rot of both is refused. Method: flip single bits all over
// the file.
func TestVoteRot(t *testing.T) {
	write := func(t *testing.T) *vfs.MemFS {
		fsys := vfs.NewMem()
		v := mustVotes(t, fsys)
		require.NoError(t, v.SetUint64(keyTerm, 7))
		require.NoError(t, v.SetUint64(keyVoteTerm, 7))
		require.NoError(t, v.Set(keyCandidate, []byte("me")))
		require.NoError(t, v.Close())
		return fsys
	}
	flip := func(t *testing.T, fsys vfs.FS, off int64, bit int) {
		f, err := fsys.OpenReadWrite(replication.VoteFileName("raft", 0))
		require.NoError(t, err)
		var b [1]byte
		_, err = f.ReadAt(b[:], off)
		require.NoError(t, err)
		b[0] ^= 1 << bit
		_, err = f.WriteAt(b[:], off)
		require.NoError(t, err)
		require.NoError(t, f.SyncData())
		require.NoError(t, f.Close())
	}
	offsets := []int64{}
	for off := range int64(64) {
		offsets = append(offsets, off, replication.VoteSlotBytes+off)
	}
	offsets = append(offsets, 4095, 8191, 3000, 5000)
	for _, off := range offsets {
		fsys := write(t)
		flip(t, fsys, off, int(off)%8)
		v := mustVotes(t, fsys)
		require.EqualValues(t, 7, term(t, v), "offset %d", off)
		c, err := v.Get(keyCandidate)
		require.NoError(t, err)
		require.Equal(t, "me", string(c))
		require.NoError(t, v.Close())
		// It was mended: the other copy may rot now.
		flip(t, fsys, (off+replication.VoteSlotBytes)%(2*replication.VoteSlotBytes), 3)
		v = mustVotes(t, fsys)
		require.EqualValues(t, 7, term(t, v))
		require.NoError(t, v.Close())
	}
	fsys := write(t)
	flip(t, fsys, 20, 0)
	flip(t, fsys, 20+replication.VoteSlotBytes, 0)
	_, err := replication.OpenVoteFile(fsys, "raft", 0, func(error) {})
	require.ErrorIs(t, err, replication.ErrVoteLost)
	require.ErrorContains(t, err, replication.VoteFileName("raft", 0))
}

// Aim: a vote file of another partition is not taken. Method: rename it.
func TestVoteOfAnotherPartition(t *testing.T) {
	fsys := vfs.NewMem()
	require.NoError(t, mustVotes(t, fsys).Close())
	require.NoError(t, fsys.Rename(replication.VoteFileName("raft", 0), replication.VoteFileName("raft", 1)))
	_, err := replication.OpenVoteFile(fsys, "raft", 1, func(error) {})
	require.ErrorIs(t, err, replication.ErrVoteLost)
}

// Aim: after a failed write or sync nothing is acknowledged any more, and a restart finds the old vote or the new one.
// Method: every write and sync of a set fails in turn, with the kernel's way of forgetting dirty pages.
func TestVoteFaults(t *testing.T) {
	for _, op := range []vfs.Op{vfs.OpWriteAt, vfs.OpSyncData} {
		for after := range 2 {
			t.Run(fmt.Sprint(op, after), func(t *testing.T) {
				mem := vfs.NewMem()
				fault := vfs.NewFault(mem)
				var halted error
				require.NoError(t, vfs.MkdirAllSync(fault, "raft"))
				v, err := replication.OpenVoteFile(fault, "raft", 0, func(err error) { halted = err })
				require.NoError(t, err)
				require.NoError(t, v.SetUint64(keyTerm, 5))
				fault.Inject(vfs.Rule{Op: op, After: after, Count: 1, Err: errBroken, Short: 600, LoseDirty: true})
				require.ErrorIs(t, v.SetUint64(keyTerm, 6), errBroken)
				require.ErrorIs(t, halted, errBroken)
				require.EqualValues(t, 5, term(t, v))
				require.ErrorIs(t, v.SetUint64(keyTerm, 7), errBroken, "poisoned, though the disk works again")
				require.NoError(t, v.Close())
				again := mustVotes(t, mem.CrashClone(vfs.CrashOptions{}))
				require.Contains(t, []uint64{5, 6}, term(t, again))
				require.NoError(t, again.Close())
			})
		}
	}
}

// Aim: what a start finds under raft/ is durable before it is relied on: a process that ended between the renaming of a file
// and the sync of its folder has left a name that a power cut takes back, with votes and snapshots in it. Method: that sync
// fails for a vote file and for a snapshot; the node starts again and goes on; then the power goes.
func TestNamesAreMadeDurable(t *testing.T) {
	n, mem := newNode(), vfs.NewMem()
	fault := vfs.NewFault(mem)
	n.fs = fault
	require.NoError(t, vfs.MkdirAllSync(mem, "raft"))
	rule := fault.Inject(vfs.Rule{Op: vfs.OpSyncDir, Path: "raft", After: 1, Count: 1}) // the first is of what is found
	_, err := replication.Open(n.options())
	require.Error(t, err)
	require.Equal(t, 1, rule.Hits())
	require.Len(t, names(t, n, ".vote"), 1)

	g := n.open(t)
	n.lead(t)
	mustPropose(t, g, "one")
	rule = fault.Inject(vfs.Rule{Op: vfs.OpSyncDir, Path: "raft", Count: 1})
	require.Error(t, g.Snapshot())
	require.Equal(t, 1, rule.Hits())
	require.Len(t, names(t, n, ".snap"), 1)
	require.NoError(t, g.Close())

	g = n.open(t)
	term := n.lead(t)
	covered := g.Status().Snapshot
	require.NotZero(t, covered)
	require.NoError(t, g.Close())
	n.fs = mem.CrashClone(vfs.CrashOptions{})
	n.log.trim(covered)
	g = n.open(t)
	require.GreaterOrEqual(t, n.lead(t), term)
	require.Equal(t, covered, g.Status().Snapshot)
	require.NoError(t, g.Close())
}
