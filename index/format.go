package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"leat.dev/leat/segment/record"
)

// Keys. Numbers in keys are big endian, so that bytes sort as numbers; numbers in values are little endian. A name is the
// rest of its key and may hold any byte.
//
//	+------+
//	| 0x00 |                              node: format version, u32
//	+------+
//	+------+-----------+------+--------------------+
//	| 0x01 | partition | kind | by kind            |
//	|  u8  |    u32    |  u8  |                    |
//	+------+-----------+------+--------------------+
//
//	kind           rest of key                    value
//	0x01 loading   -                              empty; there while a checkpoint is being loaded
//	0x02 applied   -                              index u64, term u64, crc u32
//	0x03 channel   channel u64                    of the caller
//	0x04 cursor    channel u64, name              of the caller
//	0x05 session   kind u8, name                  of the caller
//	0x06 segment   segment u64                    first u64, last u64, extents u64, crc u32
//	0x07 extent    channel u64, last u64, seg u64 see below
//	0x08 holding   segment u64, channel u64, last u64   empty
//
// An extent is keyed by its *last* offset, so that the first extent that ends at or after an offset, which is the one that
// holds it or, when there is a hole, the one after the hole, is a single seek forward. The segment is in the key as well, so
// that after a truncation the extents of a replaced and of a replacing segment never share a key. Kind 0x08 is the same set
// in the order of segments, for DeleteSegment; it has no information of its own and is not part of dumps and checkpoints.
//
// The value of an extent:
//
//	+--------------+-------------+-----------+----------------+-------------------+---------+
//	| last - first | records - 1 |   bytes   |    last time   | last - first time |   crc   |
//	|    uvarint   |   uvarint   |  uvarint  | varint, ns     |   uvarint, ns     | u32 LE  |
//	+--------------+-------------+-----------+----------------+-------------------+---------+
//
// A crc is CRC32C over the key from its kind on and the value before the crc, so a value is never taken for that of another
// key. It leaves out the partition: a checkpoint carries values as they are.
const (
	tagNode      = 0x00
	tagPartition = 0x01

	kindLoading = 0x01
	kindApplied = 0x02
	kindChannel = 0x03
	kindCursor  = 0x04
	kindSession = 0x05
	kindSegment = 0x06
	kindExtent  = 0x07
	kindHolding = 0x08

	// formatVersion is raised with every change of the layout above.
	formatVersion = 1

	partitionBytes = 1 + 4              // tag, partition
	prefixBytes    = partitionBytes + 1 // and kind
	crcBytes       = 4
	appliedBytes   = 8 + 8 + crcBytes
	segmentBytes   = 8 + 8 + 8 + crcBytes
	extentMaxBytes = 5*binary.MaxVarintLen64 + crcBytes

	// MaxNameBytes is the longest name of a cursor or a session.
	MaxNameBytes = 4 << 10

	// MaxValueBytes is the largest value of a channel, a cursor or a session.
	MaxValueBytes = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Extent is the part of a channel that lies in one segment.
type Extent struct {
	First, Last         record.Offset // inclusive
	FirstTime, LastTime int64         // ns since 1970, of the first and the last record
	Records             uint64        // at least 1; less than Last-First+1 when the channel has holes
	Bytes               uint64        // of the batches, as stored
}

// validate says what contradicts itself.
func (e Extent) validate() error {
	switch {
	case e.First > e.Last:
		return fmt.Errorf("extent's first offset %d is after its last, %d", e.First, e.Last)
	case e.FirstTime > e.LastTime:
		return fmt.Errorf("extent's first time %d is after its last, %d", e.FirstTime, e.LastTime)
	case e.Records == 0 || e.Records-1 > uint64(e.Last-e.First):
		return fmt.Errorf("extent of offsets %d to %d claims %d records", e.First, e.Last, e.Records)
	}
	return nil
}

// SegmentMark says that the extents of a sealed segment are all in the index.
type SegmentMark struct {
	FirstIndex, LastIndex uint64 // Raft entries of the segment that the extents cover, inclusive
	Extents               uint64 // how many there are
}

func appendPartition(dst []byte, partition uint32) []byte {
	return binary.BigEndian.AppendUint32(append(dst, tagPartition), partition)
}

func appendPrefix(dst []byte, partition uint32, kind byte) []byte {
	return append(appendPartition(dst, partition), kind)
}

func appendKey(dst []byte, partition uint32, kind byte, parts ...uint64) []byte {
	dst = appendPrefix(dst, partition, kind)
	for _, v := range parts {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return dst
}

// successor is the first key after all keys that begin with prefix, in place. A prefix of ours begins with tagPartition, so
// there always is one.
func successor(prefix []byte) []byte {
	for i := len(prefix) - 1; i >= 0; i-- {
		prefix[i]++
		if prefix[i] != 0 {
			return prefix[:i+1]
		}
	}
	return nil
}

// appendCRC closes a value that begins at start of dst.
func appendCRC(dst []byte, start int, key []byte) []byte {
	return binary.LittleEndian.AppendUint32(dst, valueCRC(key, dst[start:]))
}

func valueCRC(key, value []byte) uint32 {
	return crc32.Update(crc32.Checksum(key[partitionBytes:], castagnoli), castagnoli, value)
}

// checked returns the value without its crc.
func checked(key, value []byte) ([]byte, error) {
	if len(value) < crcBytes {
		return nil, fmt.Errorf("value has %d bytes, want at least %d", len(value), crcBytes)
	}
	body, crc := value[:len(value)-crcBytes], binary.LittleEndian.Uint32(value[len(value)-crcBytes:])
	if want := valueCRC(key, body); crc != want {
		return nil, fmt.Errorf("value has crc %08x, want %08x", crc, want)
	}
	return body, nil
}

func appendExtent(dst, key []byte, e Extent) []byte {
	start := len(dst)
	dst = binary.AppendUvarint(dst, uint64(e.Last-e.First))
	dst = binary.AppendUvarint(dst, e.Records-1)
	dst = binary.AppendUvarint(dst, e.Bytes)
	dst = binary.AppendVarint(dst, e.LastTime)
	dst = binary.AppendUvarint(dst, uint64(e.LastTime)-uint64(e.FirstTime))
	return appendCRC(dst, start, key)
}

func decodeExtent(key, value []byte) (ch record.ChannelID, seg record.SegmentID, e Extent, err error) {
	if len(key) != prefixBytes+24 {
		return 0, 0, e, fmt.Errorf("key of an extent has %d bytes, want %d", len(key), prefixBytes+24)
	}
	ch = record.ChannelID(binary.BigEndian.Uint64(key[prefixBytes:]))
	e.Last = record.Offset(binary.BigEndian.Uint64(key[prefixBytes+8:]))
	seg = record.SegmentID(binary.BigEndian.Uint64(key[prefixBytes+16:]))
	body, err := checked(key, value)
	if err != nil {
		return 0, 0, e, fmt.Errorf("extent: %w", err)
	}
	d := decoder{b: body}
	span := d.uvarint()
	e.Records = d.uvarint() + 1
	e.Bytes = d.uvarint()
	e.LastTime = d.varint()
	elapsed := d.uvarint()
	if d.bad || len(d.b) != 0 {
		return 0, 0, e, errors.New("extent: value is not of the length that its parts have")
	}
	if span > uint64(e.Last) {
		return 0, 0, e, fmt.Errorf("extent: %d offsets before offset %d", span, e.Last)
	}
	e.First = e.Last - record.Offset(span)
	e.FirstTime = int64(uint64(e.LastTime) - elapsed)
	if err := e.validate(); err != nil {
		return 0, 0, e, err
	}
	return ch, seg, e, nil
}

// decoder takes varints off the front of b; bad tells that one was not there.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func appendApplied(dst, key []byte, index, term uint64) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, index)
	dst = binary.LittleEndian.AppendUint64(dst, term)
	return appendCRC(dst, start, key)
}

func decodeApplied(key, value []byte) (index, term uint64, err error) {
	body, err := checked(key, value)
	if err != nil {
		return 0, 0, fmt.Errorf("applied: %w", err)
	}
	if len(value) != appliedBytes {
		return 0, 0, fmt.Errorf("applied: value has %d bytes, want %d", len(value), appliedBytes)
	}
	return binary.LittleEndian.Uint64(body), binary.LittleEndian.Uint64(body[8:]), nil
}

func appendMark(dst, key []byte, m SegmentMark) []byte {
	start := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, m.FirstIndex)
	dst = binary.LittleEndian.AppendUint64(dst, m.LastIndex)
	dst = binary.LittleEndian.AppendUint64(dst, m.Extents)
	return appendCRC(dst, start, key)
}

func decodeMark(key, value []byte) (record.SegmentID, SegmentMark, error) {
	var m SegmentMark
	if len(key) != prefixBytes+8 {
		return 0, m, fmt.Errorf("key of a segment has %d bytes, want %d", len(key), prefixBytes+8)
	}
	body, err := checked(key, value)
	if err != nil {
		return 0, m, fmt.Errorf("segment: %w", err)
	}
	if len(value) != segmentBytes {
		return 0, m, fmt.Errorf("segment: value has %d bytes, want %d", len(value), segmentBytes)
	}
	m.FirstIndex = binary.LittleEndian.Uint64(body)
	m.LastIndex = binary.LittleEndian.Uint64(body[8:])
	m.Extents = binary.LittleEndian.Uint64(body[16:])
	return record.SegmentID(binary.BigEndian.Uint64(key[prefixBytes:])), m, nil
}
