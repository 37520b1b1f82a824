package record

import (
	"encoding/binary"
	"fmt"

	"github.com/cespare/xxhash/v2"
)

// FrameHeaderBytes is the size of a frame's header.
const FrameHeaderBytes = 96

// A frame, 8-byte aligned in its file, is a header, the payload, and zero
// padding to a multiple of 8:
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
//	84       12 bytes zero
//
// segment, position (by the seed), syncedThrough and commitHint are local to a
// replica; everything else, and the chain, is equal on all of them. The seed
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
	offFrameReserved = 84
)

// FrameMagic is "LFRM" read as a little-endian number.
const FrameMagic uint32 = 'L' | 'F'<<8 | 'R'<<16 | 'M'<<24

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
	Index         uint64
	Term          uint64
	Chain         uint64
	Time          int64
	SyncedThrough uint64
	CommitHint    uint64
}

// FrameBytes is the space that a frame with a payload of n bytes takes.
func FrameBytes(n int) int { return FrameHeaderBytes + pad8(n) }

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
	clear(dst[offFrameReserved:FrameHeaderBytes])
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
	case le.Uint16(src[offAttrs:]) != 0 || !isZero(src[offFrameReserved:]):
		return fmt.Errorf("%w: reserved bytes of a frame header are set", ErrFormat)
	}
	return nil
}

// VerifyPayload checks the payload and the padding behind it; body must hold
// the FrameBytes−FrameHeaderBytes bytes that follow the header.
func (h *FrameHeader) VerifyPayload(body []byte) error {
	if len(body) < int(h.FrameBytes)-FrameHeaderBytes {
		return ErrShort
	}
	if got := Checksum(body[:h.PayloadBytes]); got != h.PayloadCRC {
		return fmt.Errorf("%w: payload has CRC %08x, its header says %08x", ErrChecksum, got, h.PayloadCRC)
	}
	if !isZero(body[h.PayloadBytes : int(h.FrameBytes)-FrameHeaderBytes]) {
		return fmt.Errorf("%w: padding of a frame is not zero", ErrFormat)
	}
	return nil
}

func isZero(p []byte) bool {
	for _, c := range p {
		if c != 0 {
			return false
		}
	}
	return true
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
