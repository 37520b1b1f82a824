package segment

import (
	"fmt"
	"runtime/debug"

	"leat.dev/leat/segment/record"
)

// Entry reads an entry. Its payload is copied into buf, which is returned grown
// where needed, for use again. ErrNotFound is returned outside of First to
// Last, a *CorruptionError when the entry is damaged.
func (l *Log) Entry(index uint64, buf []byte) (Entry, []byte, error) {
	lease, err := l.AcquireIndex(index)
	if err != nil {
		return Entry{}, buf, err
	}
	defer lease.Release()
	h, payload, err := lease.frame(index, true)
	if err != nil {
		return Entry{}, buf, err
	}
	buf, err = copyMapped(buf[:0], payload)
	if err != nil {
		return Entry{}, buf, err
	}
	return entryOf(&h, buf), buf, nil
}

// Header reads the header of an entry, and not its payload. Errors are as those
// of Entry.
func (l *Log) Header(index uint64) (record.FrameHeader, error) {
	lease, err := l.AcquireIndex(index)
	if err != nil {
		return record.FrameHeader{}, err
	}
	defer lease.Release()
	h, _, err := lease.frame(index, false)
	return h, err
}

func entryOf(h *record.FrameHeader, payload []byte) Entry {
	return Entry{Index: h.Index, Term: h.Term, Type: h.Type, Time: h.Time, CommitHint: h.CommitHint, Payload: payload}
}

func copyMapped(dst, src []byte) (_ []byte, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	return append(dst, src...), nil
}

// Entries calls visit for the entries of the segment from the given index on,
// checked, in order, up to what was durable at the call. payload is valid until
// the lease is released. The first error of visit ends it and is returned.
func (s *Lease) Entries(from uint64, visit func(h *record.FrameHeader, payload []byte) error) error {
	s.log.mu.RLock()
	last := s.seg.last.Index
	from = max(from, s.seg.first())
	s.log.mu.RUnlock()
	for i := from; i <= last; i++ {
		h, payload, err := s.frame(i, true)
		if err != nil {
			return err
		}
		if err := visit(&h, payload); err != nil {
			return err
		}
	}
	return nil
}

// frame reads the frame of an entry that the segment holds, or held when the
// lease was taken.
func (s *Lease) frame(index uint64, whole bool) (h record.FrameHeader, payload []byte, err error) {
	s.log.mu.RLock()
	if index < s.seg.first() || index > s.seg.last.Index {
		s.log.mu.RUnlock()
		return h, nil, fmt.Errorf("%w: index %d", ErrNotFound, index)
	}
	pos, end := s.seg.position(index), s.seg.end
	s.log.mu.RUnlock()

	defer catchFault(debug.SetPanicOnFault(true), &err)
	if int64(pos)+record.FrameHeaderBytes > int64(end) {
		return h, nil, s.log.corrupt(s.seg, pos, index, fmt.Errorf("%w: the index puts it beyond %d", record.ErrFormat, end))
	}
	if err := s.populate(pos, record.FrameHeaderBytes, index); err != nil {
		return h, nil, err
	}
	b := s.seg.mapping.Bytes()
	at := record.Place{Partition: s.log.o.Partition, Segment: s.seg.id, Position: pos}
	bad := record.ParseFrameHeader(b[pos:], at, &h)
	if bad == nil && (h.Index != index || h.Type == record.FrameSyncMarker || int64(pos)+int64(h.FrameBytes) > int64(end)) {
		bad = fmt.Errorf("%w: frame of entry %d, type %v, %d bytes", record.ErrFormat, h.Index, h.Type, h.FrameBytes)
	}
	if bad != nil {
		return h, nil, s.log.corrupt(s.seg, pos, index, bad)
	}
	if !whole {
		return h, nil, nil
	}
	if err := s.populate(pos, h.FrameBytes, index); err != nil {
		return h, nil, err
	}
	body := b[pos+record.FrameHeaderBytes : pos+h.FrameBytes]
	if bad := h.VerifyPayload(body); bad != nil {
		return h, nil, s.log.corrupt(s.seg, pos, index, bad)
	}
	return h, body[:h.PayloadBytes:h.PayloadBytes], nil
}

func (s *Lease) populate(pos, n uint32, index uint64) error {
	if err := s.seg.mapping.Populate(int64(pos), int64(n)); err != nil {
		return fmt.Errorf("read entry %d in segment %d at %d: %w", index, s.seg.id, pos, err)
	}
	return nil
}
