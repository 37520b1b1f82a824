package record

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// FrameHeaderBytes is the size of a frame's header.
const FrameHeaderBytes = 96

// A frame, 8-byte aligned in its file, is a header and, when there is a payload,
// the payload and one to eight end bytes, up to a multiple of 8:
//
//	 0  u32  magic          "LFRM"
//	 4  u32  headerCRC      CRC32C over bytes 8..95, seeded with (partition, segment, position)
//	 8  u32  frameBytes     header + payload + padding, a multiple of 8
//	12  u32  payloadBytes
//	16  u64  segment        SegmentID of the file
//	24  u64  index          Raft index
//	32  u64  term           Raft term
//	40  u64  chain          hash over the log up to and with this entry
//	48  u32  payloadCRC     CRC32C of the payload, unseeded: equal on all replicas
//	52  u16  type           1 data, 2 noop, 3 barrier, 4 configuration, 5 sync marker
//	54  u16  attrs          0
//	56  i64  time           leader's time, ns since 1970; 0 unknown
//	64  u64  syncedThrough  file position known durable when this frame was written
//	72  u64  commitHint     Raft index known committed when this frame was written
//	80  u32  batches        batches in the payload of a data frame
//	84  u32  zeroSectors    sectors of the file in which the payload has only zeros
//	88  u32  0
//	92  u32  endMark        "LEND"
//	96       payload ‖ 1 to 8 end bytes 0xe5; nothing when payloadBytes is 0
//
// endMark and end bytes are the last that a write of the frame gets to, and no
// flip of one bit makes a byte of theirs zero: a frame that ends in a zero was
// not written to its end. With zeroSectors, a sector that was not written is
// told from one that holds zeros. So a write that stopped, at any byte, and one
// of which sectors were lost are told from damage; see segment/FORMAT.md.
//
// segment, position (by the seed), syncedThrough, commitHint and zeroSectors are
// local to a replica; everything else, and the chain, is equal on all of them. The seed
// makes a frame that was read from another place than it was written to fail
// its check. A sync marker repeats the index, term and chain of the frame before
// it; it is not an entry of the log.
const (
	offFrameMagic    = 0
	offHeaderCRC     = 4
	offFrameBytes    = 8
	offPayloadBytes  = 12
	offSegment       = 16
	offIndex         = 24
	offTerm          = 32
	offChain         = 40
	offPayloadCRC    = 48
	offType          = 52
	offAttrs         = 54
	offFrameTime     = 56
	offSyncedThrough = 64
	offCommitHint    = 72
	offBatches       = 80
	offZeroSectors   = 84
	offFrameReserved = 88
	offEndMark       = 92
)

// FrameMagic is "LFRM" read as a little-endian number.
const FrameMagic uint32 = 'L' | 'F'<<8 | 'R'<<16 | 'M'<<24

// SectorBytes is the smallest part of a file that a power cut leaves old or new
// as a whole.
const SectorBytes = 512

const (
	endMark uint32 = 'L' | 'E'<<8 | 'N'<<16 | 'D'<<24
	endByte byte   = 0xe5
)

// FrameType says what a frame is to Raft.
type FrameType uint16

// The types of frames.
const (
	FrameData          FrameType = 1
	FrameNoop          FrameType = 2
	FrameBarrier       FrameType = 3
	FrameConfiguration FrameType = 4
	FrameSyncMarker    FrameType = 5
)

// String returns the name that the inspector prints.
func (t FrameType) String() string {
	switch t {
	case FrameData:
		return "data"
	case FrameNoop:
		return "noop"
	case FrameBarrier:
		return "barrier"
	case FrameConfiguration:
		return "configuration"
	case FrameSyncMarker:
		return "sync-marker"
	}
	return fmt.Sprintf("type(%d)", uint16(t))
}

// Place is where a frame lies. It seeds the header's checksum.
type Place struct {
	Partition uint32
	Segment   SegmentID
	Position  uint32 // in the file, bytes
}

// FrameHeader is a decoded frame header. After ParseFrameHeader returned nil
// its bytes are those that were written at that place; the payload's are so
// after VerifyPayload.
type FrameHeader struct {
	Type          FrameType
	FrameBytes    uint32
	PayloadBytes  uint32
	PayloadCRC    uint32
	Batches       uint32
	ZeroSectors   uint32
	Index         uint64
	Term          uint64
	Chain         uint64
	Time          int64
	SyncedThrough uint64
	CommitHint    uint64
}

// FrameBytes is the space that a frame with a payload of n bytes takes.
func FrameBytes(n int) int {
	if n == 0 {
		return FrameHeaderBytes
	}
	return FrameHeaderBytes + pad8(n+1)
}

var endBytes = [8]byte{endByte, endByte, endByte, endByte, endByte, endByte, endByte, endByte}

// EndBytes are what follows a payload of n bytes. They must not be changed.
func EndBytes(n int) []byte { return endBytes[:FrameBytes(n)-FrameHeaderBytes-n] }

// ZeroSectors counts the sectors of the file in which a payload that lies at pos
// has bytes, all of them zero.
func ZeroSectors(pos uint32, payload []byte) uint32 {
	count := uint32(0)
	for len(payload) > 0 {
		part := payload[:min(int(SectorBytes-pos%SectorBytes), len(payload))]
		if bytes.Equal(part, zeroSector[:len(part)]) {
			count++
		}
		pos, payload = pos+uint32(len(part)), payload[len(part):]
	}
	return count
}

var zeroSector [SectorBytes]byte

// Unfinished tells whether the frame at the front of src, at that place, is one
// that a write has not finished: the write stopped before its end, or a sector of
// it is missing. src must reach to the end of the file.
func Unfinished(src []byte, at Place) bool {
	if len(src) < FrameHeaderBytes {
		return false
	}
	var h FrameHeader
	if ParseFrameHeader(src, at, &h) != nil {
		// No sector has a part of a header without a byte that is set.
		return src[FrameHeaderBytes-1] == 0 || ZeroSectors(at.Position, src[:FrameHeaderBytes]) > 0
	}
	if int64(h.FrameBytes) > int64(len(src)) || h.PayloadBytes == 0 {
		return false
	}
	body := src[FrameHeaderBytes:h.FrameBytes]
	// The end bytes alone may lie in the last sector. None of theirs counts in a
	// frame that is whole, and the last one is looked at.
	return body[len(body)-1] == 0 || ZeroSectors(at.Position+FrameHeaderBytes, body[:h.PayloadBytes]) > h.ZeroSectors
}

// NextChain continues the chain over one more entry.
func NextChain(prev uint64, h *FrameHeader) uint64 {
	var b [40]byte
	le := binary.LittleEndian
	le.PutUint64(b[0:], prev)
	le.PutUint64(b[8:], h.Index)
	le.PutUint64(b[16:], h.Term)
	le.PutUint32(b[24:], uint32(h.Type))
	le.PutUint32(b[28:], h.PayloadBytes)
	le.PutUint32(b[32:], h.PayloadCRC)
	return xxhash.Sum64(b[:36])
}

func headerChecksum(header []byte, at Place) uint32 {
	var seed [16]byte
	le := binary.LittleEndian
	le.PutUint32(seed[0:], at.Partition)
	le.PutUint64(seed[4:], uint64(at.Segment))
	le.PutUint32(seed[12:], at.Position)
	return UpdateChecksum(Checksum(seed[:]), header[8:FrameHeaderBytes])
}

// PutFrameHeader encodes h into dst, which must have FrameHeaderBytes bytes, for
// the given place. FrameBytes is set from PayloadBytes.
func PutFrameHeader(dst []byte, h *FrameHeader, at Place) {
	_ = dst[FrameHeaderBytes-1]
	le := binary.LittleEndian
	le.PutUint32(dst[offZeroSectors:], h.ZeroSectors)
	clear(dst[offFrameReserved:offEndMark])
	le.PutUint32(dst[offEndMark:], endMark)
	le.PutUint32(dst[offFrameMagic:], FrameMagic)
	le.PutUint32(dst[offFrameBytes:], uint32(FrameBytes(int(h.PayloadBytes))))
	le.PutUint32(dst[offPayloadBytes:], h.PayloadBytes)
	le.PutUint64(dst[offSegment:], uint64(at.Segment))
	le.PutUint64(dst[offIndex:], h.Index)
	le.PutUint64(dst[offTerm:], h.Term)
	le.PutUint64(dst[offChain:], h.Chain)
	le.PutUint32(dst[offPayloadCRC:], h.PayloadCRC)
	le.PutUint16(dst[offType:], uint16(h.Type))
	le.PutUint16(dst[offAttrs:], 0)
	le.PutUint64(dst[offFrameTime:], uint64(h.Time))
	le.PutUint64(dst[offSyncedThrough:], h.SyncedThrough)
	le.PutUint64(dst[offCommitHint:], h.CommitHint)
	le.PutUint32(dst[offBatches:], h.Batches)
	le.PutUint32(dst[offHeaderCRC:], headerChecksum(dst, at))
}

// ParseFrameHeader reads and checks the header at the front of src: magic,
// checksum for that place, and that every field makes sense.
func ParseFrameHeader(src []byte, at Place, h *FrameHeader) error {
	if len(src) < FrameHeaderBytes {
		return ErrShort
	}
	src = src[:FrameHeaderBytes]
	le := binary.LittleEndian
	if m := le.Uint32(src); m != FrameMagic {
		return fmt.Errorf("%w: frame magic %08x, want %08x", ErrFormat, m, FrameMagic)
	}
	want := le.Uint32(src[offHeaderCRC:])
	if got := headerChecksum(src, at); got != want {
		return fmt.Errorf("%w: frame header has CRC %08x, it says %08x", ErrChecksum, got, want)
	}
	*h = FrameHeader{
		Type:          FrameType(le.Uint16(src[offType:])),
		FrameBytes:    le.Uint32(src[offFrameBytes:]),
		PayloadBytes:  le.Uint32(src[offPayloadBytes:]),
		PayloadCRC:    le.Uint32(src[offPayloadCRC:]),
		Batches:       le.Uint32(src[offBatches:]),
		ZeroSectors:   le.Uint32(src[offZeroSectors:]),
		Index:         le.Uint64(src[offIndex:]),
		Term:          le.Uint64(src[offTerm:]),
		Chain:         le.Uint64(src[offChain:]),
		Time:          int64(le.Uint64(src[offFrameTime:])),
		SyncedThrough: le.Uint64(src[offSyncedThrough:]),
		CommitHint:    le.Uint64(src[offCommitHint:]),
	}
	switch {
	case h.PayloadBytes > PayloadBytesMax:
		return fmt.Errorf("%w: frame payload of %d bytes", ErrTooLarge, h.PayloadBytes)
	case int(h.FrameBytes) != FrameBytes(int(h.PayloadBytes)):
		return fmt.Errorf("%w: frame of %d bytes with a payload of %d", ErrFormat, h.FrameBytes, h.PayloadBytes)
	case SegmentID(le.Uint64(src[offSegment:])) != at.Segment:
		return fmt.Errorf("%w: frame of segment %d", ErrFormat, le.Uint64(src[offSegment:]))
	case h.Type < FrameData || h.Type > FrameSyncMarker:
		return fmt.Errorf("%w: frame type %d", ErrFormat, h.Type)
	case le.Uint16(src[offAttrs:]) != 0 || le.Uint32(src[offFrameReserved:]) != 0 || le.Uint32(src[offEndMark:]) != endMark:
		return fmt.Errorf("%w: reserved bytes of a frame header are set", ErrFormat)
	}
	return nil
}

// VerifyPayload checks the payload and the end bytes behind it; body must hold
// the FrameBytes−FrameHeaderBytes bytes that follow the header.
func (h *FrameHeader) VerifyPayload(body []byte) error {
	if len(body) < int(h.FrameBytes)-FrameHeaderBytes {
		return ErrShort
	}
	if got := Checksum(body[:h.PayloadBytes]); got != h.PayloadCRC {
		return fmt.Errorf("%w: payload has CRC %08x, its header says %08x", ErrChecksum, got, h.PayloadCRC)
	}
	if !bytes.Equal(body[h.PayloadBytes:int(h.FrameBytes)-FrameHeaderBytes], EndBytes(int(h.PayloadBytes))) {
		return fmt.Errorf("%w: end bytes of a frame", ErrFormat)
	}
	return nil
}

// CountBatches walks the batches of a data payload by their lengths, calls visit
// with each one's position in the payload, and returns their number.
func CountBatches(payload []byte, visit func(pos int, b *Batch) error) (int, error) {
	var b Batch
	n := 0
	for pos := 0; pos < len(payload); n++ {
		size, err := ParseBatch(payload[pos:], &b)
		if err != nil {
			return n, fmt.Errorf("batch %d at %d of the payload: %w", n, pos, err)
		}
		if visit != nil {
			if err := visit(pos, &b); err != nil {
				return n, err
			}
		}
		pos += size
	}
	return n, nil
}
