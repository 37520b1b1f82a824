package replication_test

import (
	"io"
	"math/rand/v2"
	"testing"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment/vfs"
)

var soleConf = raft.Configuration{Servers: []raft.Server{{ID: "node", Address: "local"}}}

func mustSnapshots(t *testing.T, fsys vfs.FS) raft.SnapshotStore {
	t.Helper()
	s, damaged, err := replication.OpenSnapshots(fsys, "raft", 3)
	require.NoError(t, err)
	require.NoError(t, damaged)
	return s
}

func snapshotFS(t *testing.T) *vfs.MemFS {
	fsys := vfs.NewMem()
	require.NoError(t, vfs.MkdirAllSync(fsys, "raft"))
	return fsys
}

func take(t *testing.T, s raft.SnapshotStore, index, term uint64, local bool) (id string) {
	t.Helper()
	sink, err := s.Create(1, index, term, soleConf, 1, nil)
	require.NoError(t, err)
	if local {
		replication.MarkLocal(sink)
	}
	_, err = sink.Write(replication.EncodeManifest(3, index, term, 0))
	require.NoError(t, err)
	require.NoError(t, sink.Close())
	return sink.ID()
}

func indexes(t *testing.T, s raft.SnapshotStore) []uint64 {
	t.Helper()
	metas, err := s.List()
	require.NoError(t, err)
	got := []uint64{}
	for _, m := range metas {
		require.Equal(t, soleConf, m.Configuration)
		require.EqualValues(t, 1, m.ConfigurationIndex)
		got = append(got, m.Index)
	}
	return got
}

// Aim: the newest two snapshots are kept, newest first, and read back. Method: take five, open again.
func TestSnapshotsKept(t *testing.T) {
	fsys := snapshotFS(t)
	s := mustSnapshots(t, fsys)
	require.Empty(t, indexes(t, s))
	var id string
	for i := uint64(1); i <= 5; i++ {
		id = take(t, s, 100*i, i, true)
	}
	require.Equal(t, []uint64{500, 400}, indexes(t, s))
	s = mustSnapshots(t, fsys)
	require.Equal(t, []uint64{500, 400}, indexes(t, s))
	meta, r, err := s.Open(id)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	m, err := replication.DecodeManifest(b)
	require.NoError(t, err)
	require.Equal(t, []uint64{500, 5, 500, 5, uint64(len(b))}, []uint64{m.Index, m.Term, meta.Index, meta.Term, uint64(meta.Size)})
}

// Aim: Raft starts from a received snapshot only when what it covers is here. Method: a received one is not listed, can be
// opened for the restore, is gone after a restart, and is listed once complete.
func TestPendingSnapshot(t *testing.T) {
	fsys := snapshotFS(t)
	s := mustSnapshots(t, fsys)
	take(t, s, 10, 1, true)
	id := take(t, s, 50, 2, false)
	require.Equal(t, []uint64{10}, indexes(t, s))
	_, _, err := s.Open(id)
	require.NoError(t, err)

	s = mustSnapshots(t, fsys)
	require.Equal(t, []uint64{10}, indexes(t, s))
	_, _, err = s.Open(id)
	require.Error(t, err)

	id = take(t, s, 50, 2, false)
	require.NoError(t, replication.CompleteSnapshot(s, 50, 2))
	require.Equal(t, []uint64{50, 10}, indexes(t, s))
	cut := fsys.CrashClone(vfs.CrashOptions{})
	require.Equal(t, []uint64{50, 10}, indexes(t, mustSnapshots(t, cut)))
	_, _, err = s.Open(id)
	require.NoError(t, err)
	require.Equal(t, []uint64{50, 10}, indexes(t, mustSnapshots(t, fsys)))
}

// Aim: a cancelled snapshot leaves nothing. Method: cancel, list the folder.
func TestCancelledSnapshot(t *testing.T) {
	fsys := snapshotFS(t)
	s := mustSnapshots(t, fsys)
	sink, err := s.Create(1, 10, 1, soleConf, 1, nil)
	require.NoError(t, err)
	_, err = sink.Write([]byte("half"))
	require.NoError(t, err)
	require.NoError(t, sink.Cancel())
	require.NoError(t, sink.Close())
	names, err := fsys.List("raft")
	require.NoError(t, err)
	require.Empty(t, names)
}

// Aim: at any power cut the newest complete snapshot is there, or the one that was being taken. Method: crash clones before
// every operation.
func TestSnapshotSurvivesPowerCut(t *testing.T) {
	mem := snapshotFS(t)
	fault := vfs.NewFault(mem)
	s := mustSnapshots(t, fault)
	rnd := rand.New(rand.NewPCG(3, 4))
	acked := uint64(0)
	cuts := 0
	check := func() {
		for _, share := range []float64{0, 0.5, 1} {
			clone := mem.CrashClone(vfs.CrashOptions{UnsyncedShare: share, TearBytes: 512, Rand: rnd})
			got := indexes(t, mustSnapshots(t, clone))
			cuts++
			if acked > 0 {
				require.NotEmpty(t, got)
				require.GreaterOrEqual(t, got[0], acked)
			}
		}
	}
	fault.Inject(vfs.Rule{Hook: check})
	for i := uint64(1); i <= 6; i++ {
		take(t, s, i, 1, true)
		acked = i
		check()
	}
	fault.Clear()
	require.Greater(t, cuts, 50)
}

// Aim: damage is reported and does not hide the other snapshot. Method: flip a bit in each byte of the newest.
func TestDamagedSnapshot(t *testing.T) {
	fsys := snapshotFS(t)
	s := mustSnapshots(t, fsys)
	take(t, s, 10, 1, true)
	id := take(t, s, 20, 1, true)
	f, err := fsys.OpenReadWrite("raft/partition-0003-" + id + ".snap")
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	for off := range size {
		var b [1]byte
		n, _ := f.ReadAt(b[:], off)
		require.Equal(t, 1, n)
		_, err = f.WriteAt([]byte{b[0] ^ 4}, off)
		require.NoError(t, err)
		s, damaged, err := replication.OpenSnapshots(fsys, "raft", 3)
		require.NoError(t, err)
		require.ErrorIs(t, damaged, replication.ErrDamaged)
		require.ErrorContains(t, damaged, id)
		require.Equal(t, []uint64{10}, indexes(t, s))
		_, err = f.WriteAt(b[:], off)
		require.NoError(t, err)
	}
	require.NoError(t, f.Close())
	require.Equal(t, []uint64{20, 10}, indexes(t, mustSnapshots(t, fsys)))
}

// Aim: no bytes make the decoders panic, and what decodes encodes to the same bytes. Method: fuzz.
func FuzzDecodeSnapshot(f *testing.F) {
	fsys := vfs.NewMem()
	if err := fsys.MkdirAll("raft"); err != nil {
		f.Fatal(err)
	}
	s, _, err := replication.OpenSnapshots(fsys, "raft", 3)
	if err != nil {
		f.Fatal(err)
	}
	sink, err := s.Create(1, 9, 2, soleConf, 1, nil)
	if err != nil {
		f.Fatal(err)
	}
	replication.MarkLocal(sink)
	if _, err := sink.Write(replication.EncodeManifest(3, 9, 2, 7, sealedInfos()...)); err != nil {
		f.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		f.Fatal(err)
	}
	b, err := vfs.ReadFile(fsys, "raft/partition-0003-"+sink.ID()+".snap")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add(b[:40])
	f.Add(replication.EncodeManifest(3, 9, 2, 7, sealedInfos()...))
	f.Add(replication.EncodeManifestV1(3, 9, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := replication.DecodeManifest(b); err == nil && m.Chained {
			require.Equal(t, b, m.Again)
		}
		if again, err := replication.DecodeSnapshot(b, 3); err == nil {
			require.Len(t, again, len(b))
		}
	})
}
