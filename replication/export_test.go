package replication

import (
	"encoding/binary"
	"log/slog"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// LogStoreHooks are what a group gives to its log store.
type LogStoreHooks struct {
	Fail, Halt func(error)
	Committed  uint64
	Start      uint64
}

// NewLogStore makes Raft's view of a log without a group.
func NewLogStore(l Log, h LogStoreHooks) raft.LogStore {
	return &logStore{
		log: l, fail: h.Fail, halt: h.Halt, refused: func(error) {}, wrote: func() {},
		committed: func() uint64 { return h.Committed }, startCommit: h.Start,
	}
}

// VoteFile is a vote file as Raft sees it.
type VoteFile struct {
	raft.StableStore
	votes *voteFile
}

// Close closes the file.
func (v *VoteFile) Close() error { return v.votes.close() }

// OpenVoteFile opens a vote file without a group.
func OpenVoteFile(fsys vfs.FS, dir string, partition uint32, halt func(error)) (*VoteFile, error) {
	votes, err := openVoteFile(fsys, dir, partition)
	if err != nil {
		return nil, err
	}
	return &VoteFile{StableStore: &stableStore{votes: votes, halt: halt}, votes: votes}, nil
}

// VoteFileName is the name of a partition's vote file.
func VoteFileName(dir string, partition uint32) string { return voteFileName(dir, partition) }

// VoteSlotBytes is the size of a slot.
const VoteSlotBytes = voteSlotBytes

// OpenSnapshots opens the snapshots of a partition without a group.
func OpenSnapshots(fsys vfs.FS, dir string, partition uint32) (s raft.SnapshotStore, damaged, err error) {
	return openSnapshots(fsys, dir, partition)
}

// MarkLocal makes a snapshot one that was taken here.
func MarkLocal(sink raft.SnapshotSink) { sink.(*snapshotSink).local = true }

// CompleteSnapshot completes a pending snapshot.
func CompleteSnapshot(s raft.SnapshotStore, index, term uint64) error {
	return s.(*snapshotStore).complete(index, term)
}

// FSM is the group's view of the machine, as Raft has it.
func (g *Group) FSM() raft.FSM { return g.fsm }

// Snapshots is the group's snapshot store.
func (g *Group) Snapshots() raft.SnapshotStore { return g.snapshots }

// EncodeManifest makes the contents of a snapshot of a log with such segments.
func EncodeManifest(partition uint32, index, term, chain uint64, segments ...segment.Info) []byte {
	m := &manifest{partition: partition, index: index, term: term, first: 1, chain: chain}
	m.list(segments)
	return m.encode()
}

// EncodeManifestV1 makes contents as they were before they listed segments.
func EncodeManifestV1(partition uint32, index, term uint64) []byte {
	b := (&manifest{partition: partition, index: index, term: term, first: 1}).encode()[:manifestBytesV1]
	binary.LittleEndian.PutUint32(b[offManVersion:], manifestVersionV1)
	return SealManifest(b)
}

// SealManifest sets the CRC of a manifest that was changed.
func SealManifest(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[offManCRC:], record.Checksum(b[offManVersion:]))
	return b
}

// A DecodedManifest is what a test looks at of a manifest.
type DecodedManifest struct {
	Index, Term, Applied, First uint64
	Chained                     bool
	Chain                       uint64
	Sealed                      []segment.Info // without paths
	Again                       []byte         // what it encodes to, in the present version
}

// DecodeManifest reads a manifest.
func DecodeManifest(b []byte) (*DecodedManifest, error) {
	m, err := decodeManifest(b)
	if err != nil {
		return nil, err
	}
	d := &DecodedManifest{
		Index: m.index, Term: m.term, Applied: m.applied, First: m.first, Chained: m.chained, Chain: m.chain, Again: m.encode(),
	}
	for _, s := range m.sealed {
		d.Sealed = append(d.Sealed, segment.Info{
			ID: record.SegmentID(s.id), State: segment.StateSealed, First: s.first, Last: s.last, LastTerm: s.lastTerm,
			Chain: s.chain, Hash: s.hash, Records: s.records, Bytes: int64(s.endBytes), FileBytes: int64(s.fileBytes),
		})
	}
	return d, nil
}

// DecodeSnapshot decodes a snapshot file and encodes it again.
func DecodeSnapshot(b []byte, partition uint32) ([]byte, error) {
	s, err := decodeSnapshot(b, partition)
	if err != nil {
		return nil, err
	}
	return s.encode(partition), nil
}

// Raft is the group's Raft.
func (g *Group) Raft() *raft.Raft { return g.raft }

// SetLeadership lets proposals through with another term's mark.
func (g *Group) SetLeadership(term uint64) { g.lead.Store(newLeadership(term)) }

// ReadEntry reads an entry as Raft does.
func ReadEntry(g *Group, index uint64) { _ = g.store.GetLog(index, new(raft.Log)) }

// NewRaftLogger makes Raft's logger.
func NewRaftLogger(to *slog.Logger) hclog.Logger { return newRaftLogger(to) }
