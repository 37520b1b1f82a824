package replication

import (
	"encoding/binary"
	"fmt"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// A manifest is the contents of a snapshot: no state, but what says which log the state follows from, little-endian:
//
//	 0  u32  magic      "LMAN"
//	 4  u32  crc        CRC32C over everything behind it
//	 8  u32  version    2
//	12  u32  partition
//	16  u64  index      of the last entry that it covers
//	24  u64  term       of that entry
//	32  u64  applied    last data entry that the machine had applied
//	40  u64  first      first entry of the log
//	48  u64  chain      over all entries up to index (segment/FORMAT.md)
//	56  u32  segments   sealed ones, listed behind
//	60  u32  0
//	64       for each of them, oldest first, 64 bytes:
//
//	 0  u64  segment    its id, on the node that took the snapshot
//	 8  u64  first      its first entry; the first one's is that of the log, then each follows the one before
//	16  u64  last       its last entry, not above index; first − 1 when it has none
//	24  u64  lastTerm   of that entry
//	32  u64  chain      over all entries up to it
//	40  u64  hash       xxhash64 of the file up to its footer, on the node that took the snapshot
//	48  u64  records
//	56  u32  end        where the last entry ends in the file
//	60  u32  fileBytes  of the file
//
// Version 1 ends at 48. Nothing is known then of chain and segments, and less can be checked; it is read all the same.
//
// A segment with an entry above index is left out, even if it is sealed: such an entry may not be committed, and be cut.
// What follows the last segment, up to index, is told by the chain alone.
//
// Id, hash, end and fileBytes are those of one node: a frame's header holds the segment's id and the frame's position, and
// each node rolls its segments when it likes. They say what to ask that node for, and whether all of it came. The chains
// cover index, term, type and payload of every entry from the log's beginning on, and nothing that is local, so only they
// compare two logs: equal chains at an index mean equal entries up to it.
const (
	manifestBytes        = 64
	manifestSegmentBytes = 64
	manifestVersion      = 2

	manifestBytesV1   = 48
	manifestVersionV1 = 1

	manifestMagic uint32 = 'L' | 'M'<<8 | 'A'<<16 | 'N'<<24

	offManCRC       = 4
	offManVersion   = 8
	offManPartition = 12
	offManIndex     = 16
	offManTerm      = 24
	offManApplied   = 32
	offManFirst     = 40
	offManChain     = 48
	offManSegments  = 56
	offManReserved  = 60
)

type manifest struct {
	partition      uint32
	index, term    uint64
	applied, first uint64
	chained        bool // chain and sealed are known: not of version 1
	chain          uint64
	sealed         []sealedSegment
}

// sealedSegment is a row of a manifest.
type sealedSegment struct {
	id                  uint64
	first, last         uint64
	lastTerm            uint64
	chain               uint64
	hash                uint64
	records             uint64
	endBytes, fileBytes uint32
}

// list takes over what the log has sealed, up to the manifest's index.
func (m *manifest) list(infos []segment.Info) {
	for i := range infos {
		s := &infos[i]
		if s.State != segment.StateSealed || s.Last > m.index {
			break
		}
		m.sealed = append(m.sealed, sealedSegment{
			id: uint64(s.ID), first: s.First, last: s.Last, lastTerm: s.LastTerm, chain: s.Chain, hash: s.Hash,
			records: s.Records, endBytes: uint32(s.Bytes), fileBytes: uint32(s.FileBytes),
		})
	}
	if len(m.sealed) > 0 {
		m.first = m.sealed[0].first // retention may have been faster than who asked for it
	}
}

func (m *manifest) encode() []byte {
	b := make([]byte, manifestBytes, manifestBytes+len(m.sealed)*manifestSegmentBytes)
	le := binary.LittleEndian
	le.PutUint32(b, manifestMagic)
	le.PutUint32(b[offManVersion:], manifestVersion)
	le.PutUint32(b[offManPartition:], m.partition)
	le.PutUint64(b[offManIndex:], m.index)
	le.PutUint64(b[offManTerm:], m.term)
	le.PutUint64(b[offManApplied:], m.applied)
	le.PutUint64(b[offManFirst:], m.first)
	le.PutUint64(b[offManChain:], m.chain)
	le.PutUint32(b[offManSegments:], uint32(len(m.sealed)))
	for i := range m.sealed {
		s := &m.sealed[i]
		for _, v := range [...]uint64{s.id, s.first, s.last, s.lastTerm, s.chain, s.hash, s.records} {
			b = le.AppendUint64(b, v)
		}
		b = le.AppendUint32(le.AppendUint32(b, s.endBytes), s.fileBytes)
	}
	le.PutUint32(b[offManCRC:], record.Checksum(b[offManVersion:]))
	return b
}

func decodeManifest(b []byte) (*manifest, error) {
	if len(b) < manifestBytesV1 {
		return nil, fmt.Errorf("%w: manifest of %d bytes, the shortest has %d", ErrDamaged, len(b), manifestBytesV1)
	}
	le := binary.LittleEndian
	version := le.Uint32(b[offManVersion:])
	switch {
	case le.Uint32(b) != manifestMagic:
		return nil, fmt.Errorf("%w: manifest magic %08x, want %08x", ErrDamaged, le.Uint32(b), manifestMagic)
	case record.Checksum(b[offManVersion:]) != le.Uint32(b[offManCRC:]):
		return nil, fmt.Errorf("%w: manifest has CRC %08x, it says %08x", ErrDamaged,
			record.Checksum(b[offManVersion:]), le.Uint32(b[offManCRC:]))
	case version != manifestVersion && version != manifestVersionV1:
		return nil, fmt.Errorf("%w: manifest version %d, this program knows %d and %d", ErrDamaged, version,
			manifestVersionV1, manifestVersion)
	}
	m := &manifest{
		partition: le.Uint32(b[offManPartition:]),
		index:     le.Uint64(b[offManIndex:]), term: le.Uint64(b[offManTerm:]),
		applied: le.Uint64(b[offManApplied:]), first: le.Uint64(b[offManFirst:]),
	}
	if version == manifestVersionV1 {
		if len(b) != manifestBytesV1 {
			return nil, fmt.Errorf("%w: manifest of %d bytes, one of version 1 has %d", ErrDamaged, len(b), manifestBytesV1)
		}
		return m, nil
	}
	return m, m.decodeSealed(b)
}

// decodeSealed reads what version 1 does not have.
func (m *manifest) decodeSealed(b []byte) error {
	if len(b) < manifestBytes {
		return fmt.Errorf("%w: manifest of %d bytes, the shortest of version 2 has %d", ErrDamaged, len(b), manifestBytes)
	}
	le := binary.LittleEndian
	m.chained, m.chain = true, le.Uint64(b[offManChain:])
	n := uint64(le.Uint32(b[offManSegments:]))
	if rows := uint64(len(b) - manifestBytes); n*manifestSegmentBytes != rows || le.Uint32(b[offManReserved:]) != 0 {
		return fmt.Errorf("%w: manifest of %d bytes says that it lists %d segments", ErrDamaged, len(b), n)
	}
	m.sealed = make([]sealedSegment, n)
	next, after := m.first, uint64(0)
	for i := range m.sealed {
		row := b[manifestBytes+i*manifestSegmentBytes:]
		s := &m.sealed[i]
		for k, v := range [...]*uint64{&s.id, &s.first, &s.last, &s.lastTerm, &s.chain, &s.hash, &s.records} {
			*v = le.Uint64(row[8*k:])
		}
		s.endBytes, s.fileBytes = le.Uint32(row[56:]), le.Uint32(row[60:])
		if s.id <= after || s.first != next || s.first == 0 || s.last < s.first-1 || s.last > m.index || s.lastTerm > m.term ||
			s.endBytes > s.fileBytes {
			return fmt.Errorf("%w: manifest lists segment %d with entries %d to %d behind segment %d; entry %d is next, %d the last",
				ErrDamaged, s.id, s.first, s.last, after, next, m.index)
		}
		next, after = s.last+1, s.id
	}
	return nil
}
