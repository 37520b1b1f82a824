package replication_test

import (
	"io"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// sealedInfos are two sealed segments and one that is appended to, entries 1 to 12.
func sealedInfos() []segment.Info {
	return []segment.Info{
		{ID: 2, State: segment.StateSealed, First: 1, Last: 4, LastTerm: 1, Chain: 0x1111, Hash: 0xaaaa, Bytes: 5000, FileBytes: 65536, Records: 40},
		{ID: 5, State: segment.StateSealed, First: 5, Last: 9, LastTerm: 2, Chain: 0x2222, Hash: 0xbbbb, Bytes: 6000, FileBytes: 65536, Records: 50},
		{ID: 6, State: segment.StateActive, First: 10, Last: 12, LastTerm: 2, Chain: 0x3333, Bytes: 4800, FileBytes: 65536, Records: 3},
	}
}

// Aim: a manifest says what it was made of. Method: round trips, with all segments covered, with the index inside of a sealed
// one, which is left out then, and with a front that retention took.
func TestManifestRoundTrip(t *testing.T) {
	infos := sealedInfos()
	for _, c := range []struct {
		index, first uint64
		from, to     int
	}{{12, 1, 0, 2}, {9, 1, 0, 2}, {8, 1, 0, 1}, {3, 1, 0, 0}, {9, 5, 1, 2}} {
		b := replication.EncodeManifest(3, c.index, 2, 0x77, infos[c.from:]...)
		m, err := replication.DecodeManifest(b)
		require.NoError(t, err, "%+v", c)
		require.Equal(t, append([]segment.Info(nil), infos[c.from:c.to]...), m.Sealed, "%+v", c)
		require.Equal(t, []uint64{c.index, 2, 0x77, c.first}, []uint64{m.Index, m.Term, m.Chain, m.First}, "%+v", c)
		require.True(t, m.Chained)
		require.Equal(t, b, m.Again)
	}
}

// Aim: a manifest of version 1 is still read, and is known to say less; one of a later version is refused by its number.
// Method: both, with right checksums.
func TestManifestVersions(t *testing.T) {
	m, err := replication.DecodeManifest(replication.EncodeManifestV1(3, 9, 2))
	require.NoError(t, err)
	require.False(t, m.Chained)
	require.Empty(t, m.Sealed)
	require.Equal(t, []uint64{9, 2}, []uint64{m.Index, m.Term})

	later := replication.EncodeManifest(3, 9, 2, 7)
	later[8] = 3
	_, err = replication.DecodeManifest(replication.SealManifest(later))
	require.ErrorIs(t, err, replication.ErrDamaged)
	require.ErrorContains(t, err, "version 3")
}

// Aim: no part of a manifest is taken for a whole one, and no bit of it can change. Method: cut it at every byte, with the
// checksum as it was and with a right one; flip every bit; make rows lie, with a right checksum.
func TestManifestDamage(t *testing.T) {
	for _, whole := range [][]byte{
		replication.EncodeManifest(3, 9, 2, 7, sealedInfos()...), replication.EncodeManifestV1(3, 9, 2),
	} {
		refused := func(b []byte, what string, i int) {
			_, err := replication.DecodeManifest(b)
			require.ErrorIs(t, err, replication.ErrDamaged, "%s %d", what, i)
		}
		for i := range whole {
			refused(whole[:i], "cut at", i)
			if i >= 8 {
				refused(replication.SealManifest(append([]byte(nil), whole[:i]...)), "cut and sealed at", i)
			}
		}
		refused(append(append([]byte(nil), whole...), 0), "longer by", 1)
		for i := range 8 * len(whole) {
			b := append([]byte(nil), whole...)
			b[i/8] ^= 1 << (i % 8)
			refused(b, "bit", i)
		}
	}
	for what, change := range map[string]func(s []segment.Info){
		"gap":               func(s []segment.Info) { s[1].First++ },
		"overlap":           func(s []segment.Info) { s[1].First-- },
		"ids go back":       func(s []segment.Info) { s[1].ID = 1 },
		"ends before front": func(s []segment.Info) { s[0].Last, s[1].First = 4, 5; s[1].Last = 3 },
		"later term":        func(s []segment.Info) { s[1].LastTerm = 3 },
		"end behind file":   func(s []segment.Info) { s[0].Bytes = 65537 },
		"no first entry":    func(s []segment.Info) { s[0].First = 0 },
	} {
		infos := sealedInfos()
		change(infos)
		_, err := replication.DecodeManifest(replication.EncodeManifest(3, 9, 2, 7, infos...))
		require.ErrorIs(t, err, replication.ErrDamaged, what)
	}
}

// contents is the manifest of a group's newest snapshot.
func contents(t *testing.T, s raft.SnapshotStore) *replication.DecodedManifest {
	t.Helper()
	metas, err := s.List()
	require.NoError(t, err)
	require.NotEmpty(t, metas)
	_, r, err := s.Open(metas[0].ID)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	m, err := replication.DecodeManifest(b)
	require.NoError(t, err)
	require.Equal(t, metas[0].Index, m.Index)
	return m
}

// segmentGroup is a group over real segments, and its log.
func segmentGroup(t *testing.T, fsys vfs.FS, machine *fakeMachine) (*replication.Group, *segment.Log) {
	t.Helper()
	l := openSegments(t, fsys)
	g, err := replication.Open(replication.Options{Dir: "raft", FS: fsys, Log: l, Machine: machine})
	require.NoError(t, err)
	(&node{machine: machine}).lead(t)
	return g, l
}

// Aim: a snapshot of a real log lists exactly what is sealed, with the hashes that the files have, before and after the
// front of the log was dropped, and a restart finds log and snapshot to be one. Method: fill some segments, compare the
// manifest with the log's own list and with what a verification of the files computes.
func TestSnapshotListsSealedSegments(t *testing.T) {
	mem := vfs.NewMem()
	m := newFakeMachine()
	g, l := segmentGroup(t, mem, m)
	i := 0
	fill := func(segments int) {
		for ; len(l.Segments()) < segments; i++ {
			mustPropose(t, g, string(dataPayload(i)))
		}
		require.Eventually(t, func() bool {
			all := l.Segments()
			return all[len(all)-2].State == segment.StateSealed
		}, 20*time.Second, time.Millisecond)
	}
	check := func() {
		require.NoError(t, g.Snapshot())
		got := contents(t, g.Snapshots())
		want := l.Segments()
		want = want[:len(want)-1]
		for k := range want {
			require.Equal(t, segment.StateSealed, want[k].State)
			scan, err := segment.ScanFile(mem, want[k].Path, nil)
			require.NoError(t, err)
			require.Equal(t, scan.Footer.Hash, want[k].Hash)
			require.Equal(t, scan.Tip.Chain, want[k].Chain)
			want[k].Path = ""
		}
		require.Equal(t, want, got.Sealed)
		h, err := l.Header(got.Index)
		require.NoError(t, err)
		require.Equal(t, h.Chain, got.Chain)
		require.Equal(t, l.First(), got.First)
		require.Equal(t, m.Applied(), got.Applied)
	}
	fill(2)
	check()
	fill(4)
	check()
	require.NoError(t, l.TruncatePrefix(l.Segments()[1].Last))
	fill(5)
	check()
	require.NoError(t, g.Close())
	require.NoError(t, l.Close())
	g, l = segmentGroup(t, mem, m)
	mustPropose(t, g, string(dataPayload(i)))
	require.NoError(t, g.Close())
	require.NoError(t, l.Close())
}

// Aim: a log that does not have the history of the node's own snapshot is not used: terms and indexes alone would let it
// pass. Method: two groups with other payloads and equal terms; the folder of one gets the log of the other.
func TestSnapshotOfAnotherLog(t *testing.T) {
	mems := [2]*vfs.MemFS{vfs.NewMem(), vfs.NewMem()}
	for k, mem := range mems {
		g, l := segmentGroup(t, mem, newFakeMachine())
		for i := range 5 {
			mustPropose(t, g, string(dataPayload(10*k+i)))
		}
		require.NoError(t, g.Snapshot())
		require.NoError(t, g.Close())
		require.NoError(t, l.Close())
	}
	l := openSegments(t, mems[0])
	defer func() { require.NoError(t, l.Close()) }()
	_, err := replication.Open(replication.Options{Dir: "raft", FS: mems[1], Log: l, Machine: newFakeMachine()})
	require.ErrorIs(t, err, replication.ErrForked)
	require.ErrorContains(t, err, "this node's newest snapshot")
}

// Aim: a manifest of a leader whose log has another history stops the group, whatever its segments are called and however it
// was rolled; one with the same history does not. Method: manifests with rows that end where segments end here and elsewhere,
// right, wrong in one chain, and of version 1.
func TestRestoreComparesChains(t *testing.T) {
	for _, c := range []struct {
		name   string
		v1     bool
		term   uint64 // how much later
		change func(chain *uint64, infos []segment.Info)
		want   error
	}{
		{name: "same history, other files", change: func(_ *uint64, infos []segment.Info) { infos[1].ID, infos[1].Hash = 77, 1 }},
		{name: "rolled elsewhere", change: func(_ *uint64, infos []segment.Info) { infos[0].Last, infos[1].First, infos[0].Chain = 3, 4, 99 }},
		{name: "version 1", v1: true},
		{name: "an entry of another term, never committed here", term: 1, want: replication.ErrNeedsBootstrap},
		{name: "another chain at the index", change: func(chain *uint64, _ []segment.Info) { *chain++ }, want: replication.ErrForked},
		{name: "another chain at a segment's end", change: func(_ *uint64, infos []segment.Info) { infos[1].Chain++ }, want: replication.ErrForked},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newNode()
			g := n.open(t)
			n.lead(t)
			for range 12 {
				mustPropose(t, g, "x")
			}
			last, term := n.log.Last()
			term += c.term
			infos := sealedInfos()
			infos[1].LastTerm = term
			n.log.set(func(l *fakeLog) { l.segments = sealedInfos() })
			chain := n.log.chain(t, last)
			if c.change != nil {
				c.change(&chain, infos)
			}
			b := replication.EncodeManifest(0, last, term, chain, infos...)
			if c.v1 {
				b = replication.EncodeManifestV1(0, last, term)
			}
			sink, err := g.Snapshots().Create(1, last, term, soleConf, 1, nil)
			require.NoError(t, err)
			_, err = sink.Write(b)
			require.NoError(t, err)
			require.NoError(t, sink.Close())
			_, r, err := g.Snapshots().Open(sink.ID())
			require.NoError(t, err)
			err = g.FSM().Restore(r)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
				require.ErrorIs(t, <-n.stopped, c.want)
				require.Zero(t, g.Status().Snapshot, "not offered at the next start")
			} else {
				require.NoError(t, err)
				require.Equal(t, last, g.Status().Snapshot)
			}
			require.NoError(t, g.Close())
		})
	}
}
