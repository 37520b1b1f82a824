package index

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Dump writes all of the partition as text, a line per key in the order of keys, as it is when the call begins. Two
// partitions with the same state give the same text, whatever their ids; values of the caller are in hexadecimal.
func (p *Partition) Dump(w io.Writer) error {
	if !p.x.gate.enter() {
		return ErrClosed
	}
	defer p.x.gate.leave()
	snap := p.x.db.NewSnapshot()
	defer func() { _ = snap.Close() }() // it only fails when closed before
	return p.entries(snap, func(short, value []byte) error {
		line, err := p.line(short, value)
		if err != nil {
			return p.damaged("dump", err)
		}
		_, err = io.WriteString(w, line)
		return err
	})
}

func (p *Partition) line(short, value []byte) (string, error) {
	key := append(appendPartition(nil, p.id), short...)
	id := func() uint64 { return binary.BigEndian.Uint64(short[1:]) }
	switch kind := short[0]; kind {
	case kindApplied:
		index, term, err := decodeApplied(key, value)
		return fmt.Sprintf("applied index=%d term=%d\n", index, term), err
	case kindSegment:
		seg, m, err := decodeMark(key, value)
		return fmt.Sprintf("segment %d entries=%d..%d extents=%d\n", seg, m.FirstIndex, m.LastIndex, m.Extents), err
	case kindExtent:
		ch, seg, e, err := decodeExtent(key, value)
		return fmt.Sprintf("extent channel=%d segment=%d offsets=%d..%d times=%d..%d records=%d bytes=%d\n",
			ch, seg, e.First, e.Last, e.FirstTime, e.LastTime, e.Records, e.Bytes), err
	case kindSession:
		if len(short) >= 2 {
			return fmt.Sprintf("session kind=%d %q %x\n", short[1], short[2:], value), nil
		}
	case kindChannel:
		if len(short) == 9 {
			return fmt.Sprintf("channel %d %x\n", id(), value), nil
		}
	case kindCursor:
		if len(short) >= 9 {
			return fmt.Sprintf("cursor channel=%d %q %x\n", id(), short[9:], value), nil
		}
	}
	return "", fmt.Errorf("key %x has %d bytes", short, len(short))
}
