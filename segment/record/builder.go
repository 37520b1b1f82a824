package record

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Builder makes one data batch, copying each record once. The zero value is
// ready after Reset. Use by one goroutine at a time.
type Builder struct {
	buf    []byte   // header, name, records
	body   int      // where the records begin in buf
	starts []uint32 // start of each record in the body
}

// Reset begins a batch for the named channel, in the memory of the last one.
// The name must not be longer than ChannelNameBytesMax.
func (b *Builder) Reset(channel string) {
	b.ResetBuffer(channel, b.buf)
}

// ResetBuffer is Reset into the memory of buf, whose contents are lost. The
// batch that Finish returned before is no longer the builder's.
func (b *Builder) ResetBuffer(channel string, buf []byte) {
	if len(channel) > ChannelNameBytesMax {
		panic(fmt.Sprintf("record: channel name of %d bytes", len(channel)))
	}
	var header [BatchHeaderBytes]byte
	header[offNameBytes] = byte(len(channel))
	b.buf = append(buf[:0], header[:]...)
	b.buf = append(b.buf, channel...)
	b.body = len(b.buf)
	b.starts = b.starts[:0]
}

// Count is the number of records so far.
func (b *Builder) Count() int { return len(b.starts) }

// Bytes is the size of the batch if it were finished now without compression.
func (b *Builder) Bytes() int { return pad8(len(b.buf) + 4*len(b.starts)) }

// Append adds a record; its value is r.Value followed by more, and is null when
// both are nil. Offset and Time of r are not used.
func (b *Builder) Append(r *Record, more []byte) {
	b.starts = append(b.starts, uint32(len(b.buf)-b.body))
	b.buf = appendRecord(b.buf, r, more)
}

// AppendValue adds a record that is a value only (null when nil).
func (b *Builder) AppendValue(value []byte) {
	b.starts = append(b.starts, uint32(len(b.buf)-b.body))
	if value == nil {
		b.buf = append(b.buf, flagNull)
		return
	}
	b.buf = append(b.buf, 0)
	b.buf = append(b.buf, value...)
}

// Finish completes the batch but for what Stamp sets, and returns it. It lies
// in the builder's memory until ResetBuffer gives the builder other memory.
// Compression that does not make the body smaller by an eighth is left out.
func (b *Builder) Finish(codec Codec) []byte {
	if len(b.starts) == 0 {
		panic("record: finish of an empty batch")
	}
	for _, s := range b.starts {
		b.buf = binary.LittleEndian.AppendUint32(b.buf, s)
	}
	raw := len(b.buf) - b.body
	if raw > BodyBytesMax || raw > math.MaxUint32 {
		panic(fmt.Sprintf("record: batch body of %d bytes", raw))
	}
	if codec != CodecNone {
		packed := deflate(codec, b.buf[b.body:])
		if len(packed) < raw-raw/8 {
			b.buf = append(b.buf[:b.body], packed...)
			b.buf[offCodec] = byte(codec)
		}
	}
	stored := len(b.buf) - b.body
	for len(b.buf)%8 != 0 {
		b.buf = append(b.buf, 0)
	}
	le := binary.LittleEndian
	le.PutUint32(b.buf[offBatchBytes:], uint32(len(b.buf)))
	b.buf[offKind] = byte(KindData)
	le.PutUint32(b.buf[offCount:], uint32(len(b.starts)))
	le.PutUint32(b.buf[offBodyBytes:], uint32(stored))
	le.PutUint32(b.buf[offRawBytes:], uint32(raw))
	return b.buf
}

// Stamp completes a finished batch in place: where its records go, when they
// came, the leader's term, and the checksum.
func Stamp(batch []byte, channel ChannelID, base Offset, term uint64, time int64) {
	le := binary.LittleEndian
	le.PutUint64(batch[offBatchTerm:], term)
	le.PutUint64(batch[offChannel:], uint64(channel))
	le.PutUint64(batch[offBaseOffset:], uint64(base))
	le.PutUint64(batch[offTime:], uint64(time))
	le.PutUint32(batch[offBatchCRC:], Checksum(batch[8:]))
}

// AppendCommand appends a whole command batch: count operations of the state
// machine, encoded in body.
func AppendCommand(dst []byte, count int, term uint64, time int64, body []byte) []byte {
	at := len(dst)
	var header [BatchHeaderBytes]byte
	dst = append(dst, header[:]...)
	dst = append(dst, body...)
	for (len(dst)-at)%8 != 0 {
		dst = append(dst, 0)
	}
	batch := dst[at:]
	le := binary.LittleEndian
	le.PutUint32(batch[offBatchBytes:], uint32(len(batch)))
	batch[offKind] = byte(KindCommand)
	le.PutUint32(batch[offCount:], uint32(count))
	le.PutUint64(batch[offBatchTerm:], term)
	le.PutUint64(batch[offTime:], uint64(time))
	le.PutUint32(batch[offBodyBytes:], uint32(len(body)))
	le.PutUint32(batch[offRawBytes:], uint32(len(body)))
	le.PutUint32(batch[offBatchCRC:], Checksum(batch[8:]))
	return dst
}
