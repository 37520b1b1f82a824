package replication

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/raft"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// A snapshot file is a header, Raft's encoding of the configuration, and the manifest (manifest.go), little-endian:
//
//	 0  u32  magic        "LSNP"
//	 4  u32  crc          CRC32C over everything behind it
//	 8  u32  version      1
//	12  u32  partition
//	16  u64  index        of the last entry that it covers
//	24  u64  term         of that entry
//	32  u64  confIndex    index of the configuration
//	40  u32  confBytes
//	44  u32  manifestBytes
//	48       configuration, manifest
//
// Its name is partition-PPPP-<index>-<term>.snap, both numbers with 20 digits. One that came from a leader ends in
// .pending until the machine has what it covers. Raft would offer it at the next start as soon as it is received, although
// its contents are missing.
const (
	snapshotHeaderBytes = 48
	snapshotBytesMax    = 64 << 20
	snapshotVersion     = 1
	snapshotsKept       = 2

	snapshotMagic uint32 = 'L' | 'S'<<8 | 'N'<<16 | 'P'<<24

	offSnapCRC       = 4
	offSnapVersion   = 8
	offSnapPartition = 12
	offSnapIndex     = 16
	offSnapTerm      = 24
	offSnapConfIndex = 32
	offSnapConfBytes = 40
	offSnapManifest  = 44

	snapshotSuffix = ".snap"
	pendingSuffix  = ".pending"
)

// A snapshot is a decoded snapshot file.
type snapshot struct {
	index, term uint64
	conf        raft.Configuration
	confIndex   uint64
	manifest    []byte
}

func snapshotID(index, term uint64) string { return fmt.Sprintf("%020d-%020d", index, term) }

func (s *snapshot) meta() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version: 1, ID: snapshotID(s.index, s.term), Index: s.index, Term: s.term,
		Configuration: s.conf, ConfigurationIndex: s.confIndex, Size: int64(len(s.manifest)),
	}
}

func (s *snapshot) encode(partition uint32) []byte {
	conf := raft.EncodeConfiguration(s.conf)
	b := make([]byte, snapshotHeaderBytes, snapshotHeaderBytes+len(conf)+len(s.manifest))
	le := binary.LittleEndian
	le.PutUint32(b, snapshotMagic)
	le.PutUint32(b[offSnapVersion:], snapshotVersion)
	le.PutUint32(b[offSnapPartition:], partition)
	le.PutUint64(b[offSnapIndex:], s.index)
	le.PutUint64(b[offSnapTerm:], s.term)
	le.PutUint64(b[offSnapConfIndex:], s.confIndex)
	le.PutUint32(b[offSnapConfBytes:], uint32(len(conf)))
	le.PutUint32(b[offSnapManifest:], uint32(len(s.manifest)))
	b = append(append(b, conf...), s.manifest...)
	le.PutUint32(b[offSnapCRC:], record.Checksum(b[offSnapVersion:]))
	return b
}

func decodeSnapshot(b []byte, partition uint32) (*snapshot, error) {
	if len(b) < snapshotHeaderBytes {
		return nil, fmt.Errorf("%w: %d bytes, the header has %d", ErrDamaged, len(b), snapshotHeaderBytes)
	}
	le := binary.LittleEndian
	confBytes, manifestBytes := uint64(le.Uint32(b[offSnapConfBytes:])), uint64(le.Uint32(b[offSnapManifest:]))
	switch {
	case le.Uint32(b) != snapshotMagic:
		return nil, fmt.Errorf("%w: magic %08x, want %08x", ErrDamaged, le.Uint32(b), snapshotMagic)
	case record.Checksum(b[offSnapVersion:]) != le.Uint32(b[offSnapCRC:]):
		return nil, fmt.Errorf("%w: CRC %08x, it says %08x", ErrDamaged, record.Checksum(b[offSnapVersion:]), le.Uint32(b[offSnapCRC:]))
	case le.Uint32(b[offSnapVersion:]) != snapshotVersion:
		return nil, fmt.Errorf("%w: version %d, this program knows %d", ErrDamaged, le.Uint32(b[offSnapVersion:]), snapshotVersion)
	case le.Uint32(b[offSnapPartition:]) != partition:
		return nil, fmt.Errorf("%w: partition %d, want %d", ErrDamaged, le.Uint32(b[offSnapPartition:]), partition)
	case snapshotHeaderBytes+confBytes+manifestBytes != uint64(len(b)):
		return nil, fmt.Errorf("%w: %d bytes, its header says %d", ErrDamaged, len(b), snapshotHeaderBytes+confBytes+manifestBytes)
	}
	s := &snapshot{
		index: le.Uint64(b[offSnapIndex:]), term: le.Uint64(b[offSnapTerm:]), confIndex: le.Uint64(b[offSnapConfIndex:]),
		manifest: b[snapshotHeaderBytes+confBytes:],
	}
	var err error
	s.conf, err = decodeConfiguration(b[snapshotHeaderBytes : snapshotHeaderBytes+confBytes])
	return s, err
}

// decodeConfiguration is Raft's own decoder, which panics on what it does not understand.
func decodeConfiguration(b []byte) (conf raft.Configuration, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: configuration: %v", ErrDamaged, r)
		}
	}()
	return raft.DecodeConfiguration(b), nil
}

// snapshotStore keeps the newest snapshots of a partition. It implements raft.SnapshotStore.
type snapshotStore struct {
	fs        vfs.FS
	dir       string
	partition uint32

	mu    sync.Mutex
	start *snapshot   // guarded by mu; where Raft starts from, only while NewRaft runs
	kept  []*snapshot // guarded by mu; newest first
}

// openSnapshots reads the snapshots of a partition. Damaged ones are returned as an error beside the store, which is fit
// for use without them: whether they are needed shows when the log is looked at.
func openSnapshots(fsys vfs.FS, dir string, partition uint32) (s *snapshotStore, damaged, err error) {
	s = &snapshotStore{fs: fsys, dir: dir, partition: partition}
	names, err := fsys.List(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("list snapshots: %w", err)
	}
	prefix := s.prefix()
	for _, name := range names {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		path := filepath.Join(dir, name)
		if !strings.HasSuffix(name, snapshotSuffix) {
			// A received snapshot that was never completed, or a file that was being written.
			if err := fsys.Remove(path); err != nil {
				return nil, nil, fmt.Errorf("remove left-over snapshot: %w", err)
			}
			continue
		}
		snap, err := s.read(path)
		switch {
		case errors.Is(err, ErrDamaged):
			damaged = errors.Join(damaged, err)
		case err != nil:
			return nil, nil, fmt.Errorf("read snapshot: %w", err)
		default:
			s.kept = append(s.kept, snap)
		}
	}
	slices.SortFunc(s.kept, newestFirst)
	return s, damaged, nil
}

func newestFirst(a, b *snapshot) int {
	return cmp.Or(cmp.Compare(b.index, a.index), cmp.Compare(b.term, a.term))
}

func (s *snapshotStore) prefix() string { return fmt.Sprintf("partition-%04d-", s.partition) }

func (s *snapshotStore) path(id, suffix string) string {
	return filepath.Join(s.dir, s.prefix()+id+suffix)
}

func (s *snapshotStore) read(path string) (*snapshot, error) {
	info, err := s.fs.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.SizeBytes > snapshotHeaderBytes+2*snapshotBytesMax {
		return nil, fmt.Errorf("%w: snapshot %s has %d bytes", ErrDamaged, path, info.SizeBytes)
	}
	b, err := vfs.ReadFile(s.fs, path)
	if err != nil {
		return nil, err
	}
	snap, err := decodeSnapshot(b, s.partition)
	if err != nil {
		return nil, fmt.Errorf("snapshot %s: %w", path, err)
	}
	return snap, nil
}

// newest returns the newest complete snapshot, or one of index 0.
func (s *snapshotStore) newest() *snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.kept) == 0 {
		return &snapshot{}
	}
	return s.kept[0]
}

// startAt makes Raft, while it starts, see one snapshot more; nil ends it.
func (s *snapshotStore) startAt(start *snapshot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.start = start
}

// List implements raft.SnapshotStore. Pending snapshots are not in it.
func (s *snapshotStore) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var metas []*raft.SnapshotMeta
	if s.start != nil {
		metas = append(metas, s.start.meta())
	}
	for _, snap := range s.kept {
		metas = append(metas, snap.meta())
	}
	return metas, nil
}

// Open implements raft.SnapshotStore. It opens pending snapshots, too: Raft restores from what it has received.
func (s *snapshotStore) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	snap, err := s.read(s.path(id, snapshotSuffix))
	if errors.Is(err, fs.ErrNotExist) {
		snap, err = s.read(s.path(id, pendingSuffix))
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open snapshot: %w", err)
	}
	return snap.meta(), io.NopCloser(bytes.NewReader(snap.manifest)), nil
}

// Create implements raft.SnapshotStore. A sink is one for a received snapshot unless Persist of this package's own
// snapshots marks it.
func (s *snapshotStore) Create(_ raft.SnapshotVersion, index, term uint64, conf raft.Configuration, confIndex uint64,
	_ raft.Transport,
) (raft.SnapshotSink, error) {
	return &snapshotSink{store: s, snap: &snapshot{index: index, term: term, conf: conf, confIndex: confIndex}}, nil
}

// complete makes a pending snapshot one that Raft may start from.
func (s *snapshotStore) complete(index, term uint64) error {
	id := snapshotID(index, term)
	pending := s.path(id, pendingSuffix)
	snap, err := s.read(pending)
	if err != nil {
		return fmt.Errorf("complete snapshot: %w", err)
	}
	if err := s.fs.Rename(pending, s.path(id, snapshotSuffix)); err != nil {
		return fmt.Errorf("complete snapshot: %w", err)
	}
	if err := s.fs.SyncDir(s.dir); err != nil {
		return fmt.Errorf("complete snapshot: %w", err)
	}
	return s.keep(snap)
}

// keep adds a snapshot that is on disk and removes the oldest ones.
func (s *snapshotStore) keep(snap *snapshot) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, snap)
	slices.SortFunc(s.kept, newestFirst)
	s.kept = slices.CompactFunc(s.kept, func(a, b *snapshot) bool { return newestFirst(a, b) == 0 })
	for len(s.kept) > snapshotsKept {
		oldest := s.kept[len(s.kept)-1]
		s.kept = s.kept[:len(s.kept)-1]
		if err := s.fs.Remove(s.path(snapshotID(oldest.index, oldest.term), snapshotSuffix)); err != nil {
			return fmt.Errorf("remove old snapshot: %w", err)
		}
	}
	return nil
}

// snapshotSink takes a manifest in memory and writes the file when closed. Raft uses it from one goroutine.
type snapshotSink struct {
	store *snapshotStore
	snap  *snapshot
	local bool // taken here, so that what it covers is here
	done  bool
}

// ID implements raft.SnapshotSink.
func (k *snapshotSink) ID() string { return snapshotID(k.snap.index, k.snap.term) }

// Write implements io.Writer.
func (k *snapshotSink) Write(p []byte) (int, error) {
	if len(k.snap.manifest)+len(p) > snapshotBytesMax {
		return 0, fmt.Errorf("write snapshot: more than %d bytes", snapshotBytesMax)
	}
	k.snap.manifest = append(k.snap.manifest, p...)
	return len(p), nil
}

// Cancel implements raft.SnapshotSink.
func (k *snapshotSink) Cancel() error {
	k.done = true
	return nil
}

// Close writes the file. The snapshot is durable when it returns nil.
func (k *snapshotSink) Close() error {
	if k.done {
		return nil
	}
	k.done = true
	suffix := pendingSuffix
	if k.local {
		suffix = snapshotSuffix
	}
	if err := vfs.WriteFileAtomic(k.store.fs, k.store.path(k.ID(), suffix), k.snap.encode(k.store.partition)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if !k.local {
		return nil
	}
	return k.store.keep(k.snap)
}
