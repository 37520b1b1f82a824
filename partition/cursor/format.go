package cursor

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"leat.dev/leat/segment/record"
)

// A cursor, whole or a delta, as bytes. Numbers after the first two bytes are
// unsigned varints (encoding/binary).
//
//	 byte 0   byte 1
//	+--------+--------+-------+----------+--------+---------------------+
//	| version|  kind  | floor | sent −   | ranges | ranges ×            |
//	|   1    | 1 or 2 |       |   floor  |   (n)  | (gap, length − 1)   |
//	+--------+--------+-------+----------+--------+---------------------+
//	+--------+-----------------------------+------------+
//	| counts | counts ×                    | not-before |
//	|  (n)   | (gap, redeliveries)         |  (n) = 0   |
//	+--------+-----------------------------+------------+
//
//	kind       1: the whole cursor. 2: a delta; ranges are those acknowledged
//	           since the one before, counts those that changed
//	gap        of a range: its first offset minus the first that could follow,
//	           which is floor+2 for the first range (floor+1 is not
//	           acknowledged) and the last offset of the range before plus 2
//	           for others in a whole cursor and in a delta alike
//	           of a count: its offset minus the offset before it plus 1; floor
//	           stands before the first
//	not-before times before which an offset is not to be sent; none in this
//	           version, the number is zero
//
// There is no checksum: a cursor travels inside batches, which have one. A
// zero is never written in place of a missing field.
const (
	formatVersion = 1

	kindWhole = 1
	kindDelta = 2
)

// AppendTo appends the whole cursor to dst.
func (c *Cursor) AppendTo(dst []byte) []byte {
	dst = append(dst, formatVersion, kindWhole)
	dst = c.appendPlace(dst)
	dst = binary.AppendUvarint(dst, uint64(c.acked.count()))
	low := c.floor + 2
	for s := range c.acked.all {
		dst = appendSpan(dst, low, s)
		low = s.to + 2
	}
	dst = c.appendCounts(dst, slices.Sorted(maps.Keys(c.counts)))
	return binary.AppendUvarint(dst, 0)
}

// AppendDelta appends what has changed since the last AppendDelta and takes it
// as logged. A new cursor, one after Relog, and one that has changed in very
// many places are written whole. ApplyDelta takes both.
func (c *Cursor) AppendDelta(dst []byte) []byte {
	defer func() { c.log.logged(c.floor, c.lastSent) }()
	if c.log.whole {
		return c.AppendTo(dst)
	}
	dst = append(dst, formatVersion, kindDelta)
	dst = c.appendPlace(dst)
	c.log.compact(c.floor)
	dst = binary.AppendUvarint(dst, uint64(len(c.log.spans)))
	low := c.floor + 2
	for _, s := range c.log.spans {
		dst = appendSpan(dst, low, s)
		low = s.to + 2
	}
	slices.Sort(c.log.counts)
	c.log.counts = slices.Compact(c.log.counts)
	c.log.counts = slices.DeleteFunc(c.log.counts, func(o record.Offset) bool { return c.counts[o] == 0 })
	dst = c.appendCounts(dst, c.log.counts)
	return binary.AppendUvarint(dst, 0)
}

func (c *Cursor) appendPlace(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(c.floor))
	return binary.AppendUvarint(dst, uint64(c.lastSent-c.floor))
}

func appendSpan(dst []byte, low record.Offset, s span) []byte {
	dst = binary.AppendUvarint(dst, uint64(s.from-low))
	return binary.AppendUvarint(dst, uint64(s.to-s.from))
}

func (c *Cursor) appendCounts(dst []byte, offsets []record.Offset) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(offsets)))
	low := c.floor + 1
	for _, o := range offsets {
		dst = binary.AppendUvarint(dst, uint64(o-low))
		dst = binary.AppendUvarint(dst, uint64(c.counts[o]))
		low = o + 1
	}
	return dst
}

// Decode reads a whole cursor. It keeps nothing of src. What it allocates is
// bounded by a small multiple of len(src).
func Decode(src []byte) (*Cursor, error) {
	c := &Cursor{}
	kind, err := c.decode(src)
	if err != nil {
		return nil, fmt.Errorf("decode cursor: %w", err)
	}
	if kind != kindWhole {
		return nil, fmt.Errorf("decode cursor: a delta where a whole cursor belongs: %w", ErrMalformed)
	}
	c.log.logged(c.floor, c.lastSent)
	return c, nil
}

// ApplyDelta brings the cursor up to what AppendDelta wrote, given that it held
// what the delta before left. On an error the cursor is as it was.
func (c *Cursor) ApplyDelta(src []byte) error {
	// Read into a scratch cursor first, so that bytes which turn out to be
	// malformed half way through have changed nothing.
	var d Cursor
	kind, err := d.decode(src)
	if err != nil {
		return fmt.Errorf("apply cursor delta: %w", err)
	}
	if kind == kindWhole {
		d.log = c.log
		*c = d
	} else {
		c.merge(&d)
	}
	c.log.logged(c.floor, c.lastSent)
	return nil
}

// merge takes in a delta.
func (c *Cursor) merge(d *Cursor) {
	c.lastSent = max(c.lastSent, d.lastSent)
	c.MoveFirst(d.floor + 1)
	for s := range d.acked.all {
		c.AckRange(s.from, s.to)
	}
	for o, n := range d.counts {
		if c.Acked(o) {
			continue
		}
		if c.counts == nil {
			c.counts = make(map[record.Offset]uint32)
		}
		c.counts[o] = n
	}
}

// decode fills an empty cursor from src, which must hold nothing else.
func (c *Cursor) decode(src []byte) (kind byte, err error) {
	if len(src) < 2 {
		return 0, fmt.Errorf("%d bytes: %w", len(src), ErrMalformed)
	}
	if src[0] != formatVersion {
		return 0, fmt.Errorf("version %d, want %d: %w", src[0], formatVersion, ErrVersion)
	}
	kind = src[1]
	if kind != kindWhole && kind != kindDelta {
		return 0, fmt.Errorf("kind %d: %w", kind, ErrMalformed)
	}
	r := reader{src: src[2:]}
	c.floor = r.offset(0)
	c.lastSent = r.offset(c.floor)
	c.decodeRanges(&r)
	c.decodeCounts(&r)
	if n := r.number(); n != 0 && !r.bad {
		return 0, fmt.Errorf("%d not-before times, which version %d has not: %w", n, formatVersion, ErrMalformed)
	}
	if r.bad || len(r.src) != 0 {
		return 0, fmt.Errorf("at byte %d of %d: %w", len(src)-len(r.src), len(src), ErrMalformed)
	}
	return kind, nil
}

func (c *Cursor) decodeRanges(r *reader) {
	n := r.count()
	low := c.floor + 2
	for range n {
		s := span{from: r.offset(low)}
		s.to = r.offset(s.from)
		if r.bad || s.to > c.lastSent {
			r.bad = true
			return
		}
		c.acked.add(s.from, s.to)
		low = s.to + 2
	}
}

func (c *Cursor) decodeCounts(r *reader) {
	n := r.count()
	low := c.floor + 1
	for range n {
		o := r.offset(low)
		times := r.number()
		if r.bad || o > c.lastSent || times == 0 || times > 1<<32-1 || c.acked.has(o) {
			r.bad = true
			return
		}
		if c.counts == nil {
			c.counts = make(map[record.Offset]uint32, n)
		}
		c.counts[o] = uint32(times)
		low = o + 1
	}
}

// reader takes varints off src. After the first that is cut short, overlong
// or out of bounds it is bad and returns zeros.
type reader struct {
	src []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.src)
	if n <= 0 || (n > 1 && r.src[n-1] == 0) {
		r.bad = true
		return 0
	}
	r.src = r.src[n:]
	return v
}

// offset reads a distance from low.
func (r *reader) offset(low record.Offset) record.Offset {
	d := r.number()
	if r.bad || low > OffsetMax || d > uint64(OffsetMax-low) {
		r.bad = true
		return 0
	}
	return low + record.Offset(d)
}

// count reads the number of pairs that follow; each takes two bytes or more.
func (r *reader) count() uint64 {
	n := r.number()
	if r.bad || n > uint64(len(r.src))/2 {
		r.bad = true
		return 0
	}
	return n
}
