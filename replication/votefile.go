package replication

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// A vote file holds what a voter must not forget: its term, and for whom it voted. It is two slots of 4,096 bytes, each a
// whole copy, little-endian:
//
//	 0  u32  magic          "LVOT"
//	 4  u32  crc            CRC32C over bytes 8..4095
//	 8  u32  version        1
//	12  u32  partition
//	16  u64  sequence       of the change, from 1
//	24  u64  term           current term; 0 none yet
//	32  u64  voteTerm       term of the last vote; 0 none yet
//	40  u32  candidateBytes at most 1,024; 0 no vote
//	44  u32  0
//	48       candidate      for whom, then zeros to 4,096
//
// Problem. With one copy per change, in alternating slots, a damaged newest slot has two readings: a write that a power
// cut tore, which was never acknowledged, or an acknowledged vote that rotted. Taking the older slot is right in the first
// case and lets the node vote twice in the second.
//
// Invariants. (1) When a change is acknowledged, both slots hold it. (2) One slot is written at a time, and the other one
// is not touched until that write is synced. (3) Nobody reads a change that is not in both slots.
//
// Algorithm. A change is written to slot 0 and synced, then to slot 1 and synced, then acknowledged. On open, the valid
// slot with the higher sequence is the truth: by (1) it is not older than what was acknowledged, whichever slot is damaged
// and why. The other slot is rewritten from it before the file is used, which keeps (1) and (3). Two damaged slots are an
// error. It costs a second sync for each change, and an election has three.
const (
	voteSlotBytes     = 4096
	voteFileBytes     = 2 * voteSlotBytes
	voteVersion       = 1
	candidateBytesMax = 1024

	voteMagic uint32 = 'L' | 'V'<<8 | 'O'<<16 | 'T'<<24

	offVoteCRC       = 4
	offVoteVersion   = 8
	offVotePartition = 12
	offVoteSequence  = 16
	offVoteTerm      = 24
	offVoteVoteTerm  = 32
	offVoteCandLen   = 40
	offVoteReserved  = 44
	offVoteCandidate = 48
)

// A vote is the contents of a slot.
type vote struct {
	sequence  uint64
	term      uint64
	voteTerm  uint64
	candidate string
}

func (v *vote) put(slot []byte, partition uint32) {
	clear(slot)
	le := binary.LittleEndian
	le.PutUint32(slot, voteMagic)
	le.PutUint32(slot[offVoteVersion:], voteVersion)
	le.PutUint32(slot[offVotePartition:], partition)
	le.PutUint64(slot[offVoteSequence:], v.sequence)
	le.PutUint64(slot[offVoteTerm:], v.term)
	le.PutUint64(slot[offVoteVoteTerm:], v.voteTerm)
	le.PutUint32(slot[offVoteCandLen:], uint32(len(v.candidate)))
	copy(slot[offVoteCandidate:], v.candidate)
	le.PutUint32(slot[offVoteCRC:], record.Checksum(slot[offVoteVersion:voteSlotBytes]))
}

func parseVote(slot []byte, partition uint32) (vote, error) {
	le := binary.LittleEndian
	if m := le.Uint32(slot); m != voteMagic {
		return vote{}, fmt.Errorf("magic %08x, want %08x", m, voteMagic)
	}
	want := le.Uint32(slot[offVoteCRC:])
	if got := record.Checksum(slot[offVoteVersion:voteSlotBytes]); got != want {
		return vote{}, fmt.Errorf("CRC %08x, it says %08x", got, want)
	}
	n := le.Uint32(slot[offVoteCandLen:])
	switch {
	case le.Uint32(slot[offVoteVersion:]) != voteVersion:
		return vote{}, fmt.Errorf("version %d, this program knows %d", le.Uint32(slot[offVoteVersion:]), voteVersion)
	case le.Uint32(slot[offVotePartition:]) != partition:
		return vote{}, fmt.Errorf("partition %d, want %d", le.Uint32(slot[offVotePartition:]), partition)
	case n > candidateBytesMax:
		return vote{}, fmt.Errorf("candidate of %d bytes", n)
	}
	return vote{
		sequence:  le.Uint64(slot[offVoteSequence:]),
		term:      le.Uint64(slot[offVoteTerm:]),
		voteTerm:  le.Uint64(slot[offVoteVoteTerm:]),
		candidate: string(slot[offVoteCandidate : offVoteCandidate+n]),
	}, nil
}

// voteFile keeps a vote in its file. After a failed write or sync it is poisoned: what is on disk is not known, so every
// later set returns the error.
type voteFile struct {
	partition uint32
	file      vfs.File

	mu      sync.Mutex
	current vote   // guarded by mu; what is in both slots
	poison  error  // guarded by mu
	slot    []byte // guarded by mu; scratch of voteSlotBytes
}

func voteFileName(dir string, partition uint32) string {
	return filepath.Join(dir, fmt.Sprintf("partition-%04d.vote", partition))
}

// openVoteFile opens the vote file of a partition, or makes it.
func openVoteFile(fsys vfs.FS, dir string, partition uint32) (*voteFile, error) {
	name := voteFileName(dir, partition)
	v := &voteFile{partition: partition, slot: make([]byte, voteSlotBytes)}
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		both := make([]byte, voteFileBytes)
		v.current.sequence = 1
		v.current.put(both[:voteSlotBytes], partition)
		v.current.put(both[voteSlotBytes:], partition)
		err = vfs.WriteFileAtomic(fsys, name, both)
	}
	if err != nil {
		return nil, fmt.Errorf("make vote file %s: %w", name, err)
	}
	if v.file, err = fsys.OpenReadWrite(name); err != nil {
		return nil, fmt.Errorf("open vote file: %w", err)
	}
	if err := v.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("vote file %s: %w", name, err), v.file.Close())
	}
	return v, nil
}

// recover reads both slots and makes them equal. It reads from disk: after a failed sync the cache may hold a slot that the
// disk does not, and that no later sync would write.
func (v *voteFile) recover() error {
	if err := errors.Join(v.file.SyncData(), v.file.DropCache()); err != nil {
		return err
	}
	both := make([]byte, voteFileBytes)
	if n, err := v.file.ReadAt(both, 0); n < voteFileBytes {
		return fmt.Errorf("%w: read %d bytes, want %d: %w", ErrVoteLost, n, voteFileBytes, err)
	}
	a, errA := parseVote(both[:voteSlotBytes], v.partition)
	b, errB := parseVote(both[voteSlotBytes:], v.partition)
	if errA != nil && errB != nil {
		return fmt.Errorf("%w: both copies are damaged (first: %w; second: %w); restore the file, or replace the node; "+
			"a partition of one voter makes a new one from its log when the file is moved away", ErrVoteLost, errA, errB)
	}
	v.current = a
	if errA != nil || (errB == nil && b.sequence > a.sequence) {
		v.current = b
	}
	for i, same := range [2]bool{errA == nil && a == v.current, errB == nil && b == v.current} {
		if same {
			continue
		}
		if err := v.writeSlotLocked(i); err != nil {
			return fmt.Errorf("write copy %d anew: %w", i, err)
		}
	}
	return nil
}

func (v *voteFile) writeSlotLocked(i int) error {
	v.current.put(v.slot, v.partition)
	if _, err := v.file.WriteAt(v.slot, int64(i)*voteSlotBytes); err != nil {
		return err
	}
	return v.file.SyncData()
}

// get returns what was set last.
func (v *voteFile) get() vote {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.current
}

// set changes the vote. The change is durable when it returns nil; otherwise a restart finds either.
func (v *voteFile) set(change func(*vote)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.poison != nil {
		return v.poison
	}
	before := v.current
	change(&v.current)
	if v.current == before {
		return nil
	}
	if len(v.current.candidate) > candidateBytesMax {
		n := len(v.current.candidate)
		v.current = before
		return fmt.Errorf("write vote file: candidate has %d bytes, the limit is %d", n, candidateBytesMax)
	}
	v.current.sequence++
	for i := range 2 {
		if err := v.writeSlotLocked(i); err != nil {
			v.current = before
			v.poison = fmt.Errorf("write vote file %s: %w", v.file.Name(), err)
			return v.poison
		}
	}
	return nil
}

func (v *voteFile) close() error { return v.file.Close() }
