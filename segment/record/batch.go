package record

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// BatchHeaderBytes is the size of the fixed part of a batch.
const BatchHeaderBytes = 72

// A batch, 8-byte aligned in its file:
//
//	 0  u32  batchBytes     whole batch with its padding, a multiple of 8
//	 4  u32  crc            CRC32C over everything behind this field, padding too
//	 8  u8   kind           1 data, 2 command
//	 9  u8   codec          of the body: 0 none, 1 s2, 2 zstd
//	10  u8   encoding       of the body: 0 Leat's records; others keep a front-end's own bytes
//	11  u8   nameBytes      length of the channel's name; 0 for a command
//	12  u32  count          records; for a command its number of operations
//	16  u64  channel        ChannelID; 0 for a command
//	24  u64  baseOffset     offset of the first record; 0 for a command
//	32  i64  time           leader's time, ns since 1970
//	40  u64  producerID     idempotent producer, 0 none
//	48  u16  producerEpoch
//	50  u16  flags          0
//	52  u32  producerSeq    the producer's sequence of the first record
//	56  u32  bodyBytes      as stored
//	60  u32  rawBytes       as inflated; equal to bodyBytes when codec is 0
//	64  u64  term           Raft term under which the leader proposed it
//	72       name ‖ body ‖ zero padding to a multiple of 8
//
// The body of a data batch, once inflated, is the records back to back and
// behind them a table of count u32: where each record starts in the body. So
// record k is found without reading the ones before it.
const (
	offBatchBytes    = 0
	offBatchCRC      = 4
	offKind          = 8
	offCodec         = 9
	offEncoding      = 10
	offNameBytes     = 11
	offCount         = 12
	offChannel       = 16
	offBaseOffset    = 24
	offTime          = 32
	offProducerID    = 40
	offProducerEpoch = 48
	offBatchFlags    = 50
	offProducerSeq   = 52
	offBodyBytes     = 56
	offRawBytes      = 60
	offBatchTerm     = 64
)

// Kind says what a batch is for.
type Kind uint8

// The kinds of batches.
const (
	KindData    Kind = 1
	KindCommand Kind = 2
)

// Codec says how a body is compressed.
type Codec uint8

// The codecs of a body.
const (
	CodecNone Codec = 0
	CodecS2   Codec = 1
	CodecZstd Codec = 2
)

// String returns the name that settings and the inspector use.
func (c Codec) String() string {
	switch c {
	case CodecNone:
		return "none"
	case CodecS2:
		return "s2"
	case CodecZstd:
		return "zstd"
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// ParseCodec is the inverse of Codec.String for known codecs.
func ParseCodec(s string) (Codec, error) {
	for _, c := range []Codec{CodecNone, CodecS2, CodecZstd} {
		if s == c.String() {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%w: codec %q, want none, s2 or zstd", ErrFormat, s)
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum is the CRC32C that all of Leat's structures carry.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, castagnoli) }

// UpdateChecksum continues a checksum over more bytes.
func UpdateChecksum(sum uint32, p []byte) uint32 { return crc32.Update(sum, castagnoli, p) }

// Batch is a view of an encoded batch. ParseBatch checks that all lengths fit;
// only after Verify are the bytes known to be those that were written.
type Batch struct {
	Kind          Kind
	Codec         Codec
	Encoding      uint8
	Count         uint32
	Channel       ChannelID
	Base          Offset
	Time          int64
	ProducerID    uint64
	ProducerEpoch uint16
	ProducerSeq   uint32
	RawBytes      uint32
	Term          uint64

	Name []byte // the channel's name
	Body []byte // as stored: compressed unless Codec is CodecNone

	raw []byte // the whole batch
}

// Last is the offset of the batch's last record.
func (b *Batch) Last() Offset { return b.Base + Offset(b.Count) - 1 }

// Raw returns the whole encoded batch.
func (b *Batch) Raw() []byte { return b.raw }

// BatchBytes returns the length of the batch that begins at src, or an error
// when no batch can begin there.
func BatchBytes(src []byte) (int, error) {
	if len(src) < BatchHeaderBytes {
		return 0, ErrShort
	}
	n := binary.LittleEndian.Uint32(src)
	if n > BatchBytesMax {
		return 0, fmt.Errorf("%w: batch of %d bytes", ErrTooLarge, n)
	}
	if n < BatchHeaderBytes || n%8 != 0 {
		return 0, fmt.Errorf("%w: batch of %d bytes", ErrFormat, n)
	}
	if int(n) > len(src) {
		return 0, ErrShort
	}
	return int(n), nil
}

// ParseBatch reads the batch at the front of src and returns its length. It
// checks structure, not checksums.
func ParseBatch(src []byte, b *Batch) (int, error) {
	n, err := BatchBytes(src)
	if err != nil {
		return 0, err
	}
	src = src[:n:n]
	le := binary.LittleEndian
	*b = Batch{
		Kind:          Kind(src[offKind]),
		Codec:         Codec(src[offCodec]),
		Encoding:      src[offEncoding],
		Count:         le.Uint32(src[offCount:]),
		Channel:       ChannelID(le.Uint64(src[offChannel:])),
		Base:          Offset(le.Uint64(src[offBaseOffset:])),
		Time:          int64(le.Uint64(src[offTime:])),
		ProducerID:    le.Uint64(src[offProducerID:]),
		ProducerEpoch: le.Uint16(src[offProducerEpoch:]),
		ProducerSeq:   le.Uint32(src[offProducerSeq:]),
		RawBytes:      le.Uint32(src[offRawBytes:]),
		Term:          le.Uint64(src[offBatchTerm:]),
		raw:           src,
	}
	name, body := int(src[offNameBytes]), int(le.Uint32(src[offBodyBytes:]))
	if want := pad8(BatchHeaderBytes + name + body); want != n {
		return 0, fmt.Errorf("%w: batch of %d bytes whose parts make %d", ErrFormat, n, want)
	}
	b.Name = src[BatchHeaderBytes : BatchHeaderBytes+name : BatchHeaderBytes+name]
	b.Body = src[BatchHeaderBytes+name : BatchHeaderBytes+name+body : BatchHeaderBytes+name+body]
	return n, b.check(le.Uint16(src[offBatchFlags:]))
}

func (b *Batch) check(flags uint16) error {
	switch {
	case flags != 0:
		return fmt.Errorf("%w: unknown batch flags %#x", ErrFormat, flags)
	case b.Codec > CodecZstd:
		return fmt.Errorf("%w: unknown codec %d", ErrFormat, b.Codec)
	case b.RawBytes > BodyBytesMax:
		return fmt.Errorf("%w: body inflates to %d bytes", ErrTooLarge, b.RawBytes)
	case b.Codec == CodecNone && int(b.RawBytes) != len(b.Body):
		return fmt.Errorf("%w: plain body of %d bytes said to be %d", ErrFormat, len(b.Body), b.RawBytes)
	case b.Kind == KindCommand:
		return nil
	case b.Kind != KindData:
		return fmt.Errorf("%w: unknown batch kind %d", ErrFormat, b.Kind)
	case b.Count == 0 || uint64(b.Count)*5 > uint64(b.RawBytes):
		return fmt.Errorf("%w: %d records in %d bytes", ErrFormat, b.Count, b.RawBytes)
	}
	return nil
}

// Verify compares the checksum.
func (b *Batch) Verify() error {
	want := binary.LittleEndian.Uint32(b.raw[offBatchCRC:])
	if got := Checksum(b.raw[8:]); got != want {
		return fmt.Errorf("%w: batch has CRC %08x, its header says %08x", ErrChecksum, got, want)
	}
	return nil
}

// Inflate makes the records readable: it replaces a compressed Body by its
// inflated bytes, which are appended to buf and returned for use again. A plain
// body stays where it is. Verify first: it trusts no length, but spends work.
func (b *Batch) Inflate(buf []byte) ([]byte, error) {
	if b.Codec == CodecNone {
		return buf, nil
	}
	buf, err := inflate(buf[:0], b.Codec, b.Body, int(b.RawBytes))
	if err != nil {
		return buf, err
	}
	b.Body, b.Codec = buf, CodecNone
	return buf, nil
}

// Record fills r with record k (from 0) of an inflated data batch. The view is
// valid as long as the batch's bytes are.
func (b *Batch) Record(k int, r *Record) error {
	table := len(b.Body) - 4*int(b.Count)
	if k < 0 || k >= int(b.Count) || table < 0 || b.Codec != CodecNone {
		return fmt.Errorf("%w: record %d of %d", ErrFormat, k, b.Count)
	}
	start := int(binary.LittleEndian.Uint32(b.Body[table+4*k:]))
	end := table
	if k+1 < int(b.Count) {
		end = int(binary.LittleEndian.Uint32(b.Body[table+4*k+4:]))
	}
	if start > end || end > table {
		return fmt.Errorf("%w: record %d lies at %d to %d of %d bytes", ErrFormat, k, start, end, table)
	}
	if err := parseRecord(b.Body[start:end:end], r); err != nil {
		return fmt.Errorf("record %d: %w", k, err)
	}
	r.Offset, r.Time = b.Base+Offset(k), b.Time
	return nil
}

func pad8(n int) int { return (n + 7) &^ 7 }
