package index

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
)

// A checkpoint is the state of one partition as a stream: a header, chunks of entries, and a trailer. Integers are little
// endian, crcs are CRC32C.
//
//	header, 24 bytes
//	+------------+------------+------------+------------+------------+------------+
//	| magic u32  | version u16| reserved u16| partition  | reserved   | crc of the |
//	| "LCKP"     | 1          | 0          | u32        | u64, 0     | 20 bytes   |
//	+------------+------------+------------+------------+------------+------------+
//
//	chunk
//	+------------+------------+----------------------------------------------------+
//	| length u32 | crc u32 of | entries: { key length uvarint, key,                |
//	| 1 to 2 MiB | payload    |            value length uvarint, value } ...       |
//	+------------+------------+----------------------------------------------------+
//
//	trailer, 24 bytes
//	+------------+------------+------------+------------+
//	| length u32 | crc u32 of | count u64  | total u32  |  total: crc of all payloads, in a row
//	| 0          | the rest   | of entries | reserved 0 |  reserved u32
//	+------------+------------+------------+------------+
//
// Keys are without tag and partition, begin with the kind, and strictly ascend, so the same state always gives the same
// bytes. Kinds 0x01 and 0x08 are left out: loading makes them.
const (
	checkpointMagic   = 0x504b434c // "LCKP"
	checkpointVersion = 1
	headerBytes       = 24
	chunkHeaderBytes  = 8
	trailerBytes      = 16 // after the chunk header
	chunkTargetBytes  = 256 << 10
	chunkMaxBytes     = 2 << 20 // an entry of the largest size and its lengths fit on top of the target

	// loadBatchBytes is when LoadCheckpoint commits what it has.
	loadBatchBytes = 4 << 20
)

// WriteCheckpoint writes the state of the partition as it is when the call begins, while batches go on. The bytes are the
// same for the same state, on any node.
func (p *Partition) WriteCheckpoint(w io.Writer) error {
	if !p.x.gate.enter() {
		return ErrClosed
	}
	defer p.x.gate.leave()
	snap := p.x.db.NewSnapshot()
	err := p.writeCheckpoint(w, snap)
	if err := errors.Join(err, snap.Close()); err != nil {
		return fmt.Errorf("write checkpoint of partition %d: %w", p.id, err)
	}
	return nil
}

func (p *Partition) writeCheckpoint(w io.Writer, snap *pebble.Snapshot) error {
	head := make([]byte, headerBytes)
	binary.LittleEndian.PutUint32(head, checkpointMagic)
	binary.LittleEndian.PutUint16(head[4:], checkpointVersion)
	binary.LittleEndian.PutUint32(head[8:], p.id)
	binary.LittleEndian.PutUint32(head[20:], crc32.Checksum(head[:20], castagnoli))
	if _, err := w.Write(head); err != nil {
		return err
	}
	c := chunkWriter{w: w, buf: make([]byte, chunkHeaderBytes, chunkHeaderBytes+2*chunkTargetBytes)}
	if err := p.entries(snap, c.add); err != nil {
		return err
	}
	return c.finish()
}

// entries visits all that a checkpoint and a dump have, with the partition cut off the keys.
func (p *Partition) entries(from pebble.Reader, visit func(key, value []byte) error) error {
	for kind := byte(kindApplied); kind <= kindExtent; kind++ {
		err := p.scanIn(from, "read all", appendPrefix(nil, p.id, kind), func(key, value []byte) error {
			return visit(key[partitionBytes:], value)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// chunkWriter gathers entries in buf, behind the room for a chunk header.
type chunkWriter struct {
	w     io.Writer
	buf   []byte
	count uint64
	total uint32
}

func (c *chunkWriter) add(key, value []byte) error {
	c.buf = binary.AppendUvarint(c.buf, uint64(len(key)))
	c.buf = append(c.buf, key...)
	c.buf = binary.AppendUvarint(c.buf, uint64(len(value)))
	c.buf = append(c.buf, value...)
	c.count++
	if len(c.buf) >= chunkTargetBytes {
		return c.flush()
	}
	return nil
}

func (c *chunkWriter) flush() error {
	payload := c.buf[chunkHeaderBytes:]
	if len(payload) == 0 {
		return nil
	}
	binary.LittleEndian.PutUint32(c.buf, uint32(len(payload)))
	binary.LittleEndian.PutUint32(c.buf[4:], crc32.Checksum(payload, castagnoli))
	c.total = crc32.Update(c.total, castagnoli, payload)
	_, err := c.w.Write(c.buf)
	c.buf = c.buf[:chunkHeaderBytes]
	return err
}

func (c *chunkWriter) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	end := make([]byte, chunkHeaderBytes+trailerBytes)
	binary.LittleEndian.PutUint64(end[8:], c.count)
	binary.LittleEndian.PutUint32(end[16:], c.total)
	binary.LittleEndian.PutUint32(end[4:], crc32.Checksum(end[8:], castagnoli))
	_, err := c.w.Write(end)
	return err
}

// LoadCheckpoint fills an empty partition from what WriteCheckpoint wrote, and reads no further than its end. It returns
// ErrNotEmpty, with the partition as it was, or ErrCheckpoint or an error of r, with the partition empty. When it returns
// nil all is visible; like any commit it is not durable, and a crash that loses a part of it makes Applied return
// ErrLoadInterrupted or zeros. The input may be hostile: lengths are bounded before memory is taken, and entries that no
// batch could have written are refused.
func (p *Partition) LoadCheckpoint(r io.Reader) error {
	err := p.scan("look for keys", appendPartition(nil, p.id), func([]byte, []byte) error { return ErrNotEmpty })
	if err != nil {
		return fmt.Errorf("load checkpoint of partition %d: %w", p.id, err)
	}
	l := loader{p: p, batch: p.NewBatch()}
	defer func() { l.batch.Discard() }()
	l.batch.set(l.batch.key(kindLoading), nil)
	if err := l.load(r); err != nil {
		err = fmt.Errorf("load checkpoint of partition %d: %w", p.id, err)
		if !l.committed {
			return err
		}
		return errors.Join(err, p.Reset())
	}
	return nil
}

// loader is one call of LoadCheckpoint.
type loader struct {
	p         *Partition
	batch     *Batch
	committed bool // something of it
	last      []byte
	count     uint64
	total     uint32
}

func (l *loader) load(r io.Reader) error {
	if err := l.header(r); err != nil {
		return err
	}
	var payload []byte
	for {
		var head [chunkHeaderBytes]byte
		if err := readFull(r, head[:]); err != nil {
			return err
		}
		size, crc := binary.LittleEndian.Uint32(head[:]), binary.LittleEndian.Uint32(head[4:])
		if size == 0 {
			return l.trailer(r, crc)
		}
		if size > chunkMaxBytes {
			return fmt.Errorf("%w: chunk of %d bytes, want at most %d", ErrCheckpoint, size, chunkMaxBytes)
		}
		if uint32(cap(payload)) < size {
			payload = make([]byte, size)
		}
		payload = payload[:size]
		if err := readFull(r, payload); err != nil {
			return err
		}
		if got := crc32.Checksum(payload, castagnoli); got != crc {
			return fmt.Errorf("%w: chunk after entry %d has crc %08x, want %08x", ErrCheckpoint, l.count, got, crc)
		}
		l.total = crc32.Update(l.total, castagnoli, payload)
		if err := l.chunk(payload); err != nil {
			return err
		}
	}
}

func (l *loader) header(r io.Reader) error {
	var head [headerBytes]byte
	if err := readFull(r, head[:]); err != nil {
		return err
	}
	version, partition := binary.LittleEndian.Uint16(head[4:]), binary.LittleEndian.Uint32(head[8:])
	switch {
	case binary.LittleEndian.Uint32(head[:]) != checkpointMagic:
		return fmt.Errorf("%w: it does not begin with the magic of a checkpoint", ErrCheckpoint)
	case binary.LittleEndian.Uint32(head[20:]) != crc32.Checksum(head[:20], castagnoli):
		return fmt.Errorf("%w: header is damaged", ErrCheckpoint)
	case version != checkpointVersion:
		return fmt.Errorf("%w: version %d, this program reads %d", ErrCheckpoint, version, checkpointVersion)
	case partition != l.p.id:
		return fmt.Errorf("%w: it is of partition %d, want %d", ErrCheckpoint, partition, l.p.id)
	case binary.LittleEndian.Uint16(head[6:]) != 0 || binary.LittleEndian.Uint64(head[12:]) != 0:
		return fmt.Errorf("%w: reserved bytes of the header are not zero", ErrCheckpoint)
	}
	return nil
}

func (l *loader) chunk(payload []byte) error {
	d := decoder{b: payload}
	for len(d.b) > 0 {
		key := d.bytes()
		value := d.bytes()
		if d.bad {
			return fmt.Errorf("%w: entry %d does not fit its chunk", ErrCheckpoint, l.count)
		}
		if l.count > 0 && bytes.Compare(key, l.last) <= 0 {
			return fmt.Errorf("%w: key of entry %d is not after the one before", ErrCheckpoint, l.count)
		}
		l.last = append(l.last[:0], key...)
		if err := l.entry(key, value); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrCheckpoint, l.count, err)
		}
		l.count++
	}
	if l.batch.Len() < loadBatchBytes {
		return nil
	}
	return l.commit()
}

func (l *loader) commit() error {
	l.committed = true // after an error of Commit it may be, so clean up all the same
	err := l.batch.Commit()
	l.batch = l.p.NewBatch()
	return err
}

// entry checks what is known of a kind, and writes the entry.
func (l *loader) entry(short, value []byte) error {
	if len(short) == 0 {
		return errors.New("key is empty")
	}
	key := append(appendPartition(make([]byte, 0, partitionBytes+len(short)), l.p.id), short...)
	rest, named := len(short)-1, 0
	switch short[0] {
	case kindApplied:
		if rest != 0 {
			return errors.New("key of applied is too long")
		}
		if _, _, err := decodeApplied(key, value); err != nil {
			return err
		}
	case kindChannel:
		if rest != 8 {
			return fmt.Errorf("key of a channel has %d bytes, want 9", len(short))
		}
	case kindCursor:
		named = 8
	case kindSession:
		named = 1
	case kindSegment:
		if _, _, err := decodeMark(key, value); err != nil {
			return err
		}
	case kindExtent:
		ch, seg, e, err := decodeExtent(key, value)
		if err != nil {
			return err
		}
		l.batch.PutExtent(ch, seg, e)
		return l.batch.err
	default:
		return fmt.Errorf("kind %d is not one of a checkpoint", short[0])
	}
	if named > 0 && (rest < named || rest > named+MaxNameBytes) {
		return fmt.Errorf("key of kind %d has %d bytes", short[0], len(short))
	}
	if len(value) > MaxValueBytes {
		return fmt.Errorf("value has %d bytes, want at most %d", len(value), MaxValueBytes)
	}
	l.batch.set(key, value)
	return l.batch.err
}

// trailer checks the end, and commits what is left together with the end of loading.
func (l *loader) trailer(r io.Reader, crc uint32) error {
	var end [trailerBytes]byte
	if err := readFull(r, end[:]); err != nil {
		return err
	}
	switch count := binary.LittleEndian.Uint64(end[:]); {
	case crc32.Checksum(end[:], castagnoli) != crc:
		return fmt.Errorf("%w: trailer is damaged", ErrCheckpoint)
	case count != l.count:
		return fmt.Errorf("%w: it has %d entries, its trailer says %d", ErrCheckpoint, l.count, count)
	case binary.LittleEndian.Uint32(end[8:]) != l.total:
		return fmt.Errorf("%w: crc of all chunks is %08x, its trailer says %08x", ErrCheckpoint, l.total,
			binary.LittleEndian.Uint32(end[8:]))
	case binary.LittleEndian.Uint32(end[12:]) != 0:
		return fmt.Errorf("%w: reserved bytes of the trailer are not zero", ErrCheckpoint)
	}
	l.batch.delete(l.batch.key(kindLoading))
	return l.commit()
}

// bytes takes a length and as many bytes off the front.
func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.bad || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

// readFull tells an end that comes too early from a reader that fails.
func readFull(r io.Reader, b []byte) error {
	_, err := io.ReadFull(r, b)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it is cut short", ErrCheckpoint)
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	return nil
}
