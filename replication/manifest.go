package replication

import (
	"encoding/binary"
	"fmt"

	"leat.dev/leat/segment/record"
)

// A manifest is the contents of a snapshot, what a machine must have to go on behind it, little-endian:
//
//	 0  u32  magic      "LMAN"
//	 4  u32  crc        CRC32C over everything behind it
//	 8  u32  version    1
//	12  u32  partition
//	16  u64  index      of the last entry that it covers
//	24  u64  term       of that entry
//	32  u64  applied    last data entry that the machine had applied
//	40  u64  first      first entry of the log
const (
	manifestBytes   = 48
	manifestVersion = 1

	manifestMagic uint32 = 'L' | 'M'<<8 | 'A'<<16 | 'N'<<24

	offManCRC       = 4
	offManVersion   = 8
	offManPartition = 12
	offManIndex     = 16
	offManTerm      = 24
	offManApplied   = 32
	offManFirst     = 40
)

type manifest struct {
	partition      uint32
	index, term    uint64
	applied, first uint64
}

func (m *manifest) encode() []byte {
	b := make([]byte, manifestBytes)
	le := binary.LittleEndian
	le.PutUint32(b, manifestMagic)
	le.PutUint32(b[offManVersion:], manifestVersion)
	le.PutUint32(b[offManPartition:], m.partition)
	le.PutUint64(b[offManIndex:], m.index)
	le.PutUint64(b[offManTerm:], m.term)
	le.PutUint64(b[offManApplied:], m.applied)
	le.PutUint64(b[offManFirst:], m.first)
	le.PutUint32(b[offManCRC:], record.Checksum(b[offManVersion:]))
	return b
}

func decodeManifest(b []byte) (*manifest, error) {
	le := binary.LittleEndian
	switch {
	case len(b) != manifestBytes:
		return nil, fmt.Errorf("%w: manifest of %d bytes, want %d", ErrDamaged, len(b), manifestBytes)
	case le.Uint32(b) != manifestMagic:
		return nil, fmt.Errorf("%w: manifest magic %08x, want %08x", ErrDamaged, le.Uint32(b), manifestMagic)
	case record.Checksum(b[offManVersion:]) != le.Uint32(b[offManCRC:]):
		return nil, fmt.Errorf("%w: manifest has CRC %08x, it says %08x", ErrDamaged,
			record.Checksum(b[offManVersion:]), le.Uint32(b[offManCRC:]))
	case le.Uint32(b[offManVersion:]) != manifestVersion:
		return nil, fmt.Errorf("%w: manifest version %d, this program knows %d", ErrDamaged,
			le.Uint32(b[offManVersion:]), manifestVersion)
	}
	return &manifest{
		partition: le.Uint32(b[offManPartition:]),
		index:     le.Uint64(b[offManIndex:]), term: le.Uint64(b[offManTerm:]),
		applied: le.Uint64(b[offManApplied:]), first: le.Uint64(b[offManFirst:]),
	}, nil
}
