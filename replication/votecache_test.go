package replication_test

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
)

// Aim: after a failed sync a restart takes what the disk has, not what the cache kept, so that both copies of a vote hold
// what is acknowledged from then on. Method: lose the first copy of a term in a failed sync, open again, set nothing, cut
// the power, damage the second copy; the term must be the one that was read before.
func TestVoteFileDoesNotTrustCache(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	v := mustVotes(t, fault)
	require.NoError(t, v.SetUint64(keyTerm, 3))
	fault.Inject(vfs.Rule{Op: vfs.OpSyncData, Count: 1, Err: syscall.EIO, LoseDirty: true})
	require.Error(t, v.SetUint64(keyTerm, 4))
	require.NoError(t, v.Close())

	v = mustVotes(t, mem)
	read, err := v.GetUint64(keyTerm)
	require.NoError(t, err)
	require.NoError(t, v.Close())
	after := mem.CrashClone(vfs.CrashOptions{})
	f, err := after.OpenReadWrite("raft/partition-0000.vote")
	require.NoError(t, err)
	_, err = f.WriteAt([]byte{0xff}, 4096+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	v = mustVotes(t, after)
	term, err := v.GetUint64(keyTerm)
	require.NoError(t, err)
	require.NoError(t, v.Close())
	require.Equal(t, read, term)
}
