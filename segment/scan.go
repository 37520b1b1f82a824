package segment

import (
	"encoding/binary"
	"fmt"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

const (
	openingPosition = headerBlockBytes
	entriesPosition = headerBlockBytes + record.FrameHeaderBytes

	populateBytes = 1 << 20 // one step ahead of a scan
)

// Tip identifies the end of a log: an entry and the chain over all entries up
// to it. The zero Tip is the beginning of time.
type Tip struct {
	Index uint64
	Term  uint64
	Chain uint64
}

// batchInfo is what the index keeps of a batch. name points into the payload.
type batchInfo struct {
	pos     uint32 // in the payload
	channel record.ChannelID
	count   uint32
	base    uint64
	time    int64
	bytes   int
	name    []byte
}

func (i *batchInfo) set(pos int, b *record.Batch) {
	*i = batchInfo{pos: uint32(pos), channel: b.Channel, count: b.Count, base: uint64(b.Base), time: b.Time, bytes: len(b.Raw()), name: b.Name}
	if b.Kind == record.KindCommand {
		i.channel, i.base, i.name = 0, 0, nil
	}
}

// fileBytes is a segment's bytes as they are scanned: a mapping that is read
// from disk step by step, or a slice.
type fileBytes struct {
	b         []byte
	mapping   vfs.Mapping // nil: all is in memory
	populated int64       // up to where
}

// need makes the bytes up to end safe to touch.
func (f *fileBytes) need(end int64) error {
	end = min(end, int64(len(f.b)))
	if f.mapping == nil || end <= f.populated {
		return nil
	}
	end = min(max(end, f.populated+populateBytes), int64(len(f.b)))
	if err := f.mapping.Populate(f.populated, end-f.populated); err != nil {
		return fmt.Errorf("read bytes %d to %d: %w", f.populated, end, err)
	}
	f.populated = end
	return nil
}

// scan is what a walk over the frames of a segment found.
type scan struct {
	Opened  bool   // the opening marker is whole
	Prev    Tip    // what it says
	Tip     Tip    // the last entry; Prev when there is none
	End     uint32 // end of the last entry's frame (of the opening marker when there is none)
	Stop    uint32 // the first position without a whole frame
	Entries int
	Markers int
	Bad     error // why it stopped; nil when zeros follow
	// Misfit is set when the frame at Stop is whole and does not continue the log.
	Misfit bool
}

// visitor gets each frame in order. pos is its position in the file.
type visitor func(pos uint32, h *record.FrameHeader, payload []byte) error

// scanFrames walks the frames of a segment up to limit. Errors are those of the
// file and of visit; damage is told in the result.
func scanFrames(f *fileBytes, limit uint32, part uint32, id record.SegmentID, visit visitor) (s scan, err error) {
	s.Stop, s.End = openingPosition, openingPosition
	var h record.FrameHeader
	for {
		body, bad, err := frameAt(f, s.Stop, limit, record.Place{Partition: part, Segment: id, Position: s.Stop}, &h)
		if err != nil {
			return s, err
		}
		if bad != nil || body == nil {
			s.Bad = bad
			return s, nil //nolint:nilerr // damage is what was found, not a failure to look
		}
		if s.Bad = s.follow(&h); s.Bad != nil {
			s.Misfit = true
			return s, nil //nolint:nilerr // as above
		}
		if visit != nil {
			if err := visit(s.Stop, &h, body[:h.PayloadBytes]); err != nil {
				return s, err
			}
		}
		s.Stop += h.FrameBytes
		if h.Type != record.FrameSyncMarker {
			s.End, s.Entries = s.Stop, s.Entries+1
		} else {
			if s.Markers == 0 && s.Entries == 0 {
				s.End = s.Stop
			}
			s.Markers++
		}
	}
}

// frameAt checks the frame at pos. body is nil when there is no more room for
// one, or only zeros where its header would be; bad says what is wrong with it.
func frameAt(f *fileBytes, pos, limit uint32, at record.Place, h *record.FrameHeader) (body []byte, bad, err error) {
	if int64(pos)+record.FrameHeaderBytes > int64(limit) {
		return nil, nil, nil
	}
	if err := f.need(int64(pos) + record.FrameHeaderBytes); err != nil {
		return nil, nil, err
	}
	head := f.b[pos : pos+record.FrameHeaderBytes]
	if bad := record.ParseFrameHeader(head, at, h); bad != nil {
		if allZero(head) {
			return nil, nil, nil
		}
		return nil, bad, nil
	}
	if int64(pos)+int64(h.FrameBytes) > int64(limit) {
		return nil, fmt.Errorf("%w: frame of %d bytes reaches beyond %d", record.ErrFormat, h.FrameBytes, limit), nil
	}
	if err := f.need(int64(pos) + int64(h.FrameBytes)); err != nil {
		return nil, nil, err
	}
	body = f.b[pos+record.FrameHeaderBytes : pos+h.FrameBytes]
	if bad := h.VerifyPayload(body); bad != nil {
		return nil, bad, nil
	}
	return body, nil, nil
}

// follow takes a whole frame as the next one, or says why it is not.
func (s *scan) follow(h *record.FrameHeader) error {
	got := Tip{Index: h.Index, Term: h.Term, Chain: h.Chain}
	switch {
	case h.Type == record.FrameSyncMarker && h.PayloadBytes != 0:
		return fmt.Errorf("%w: sync marker with a payload", record.ErrFormat)
	case !s.Opened && h.Type != record.FrameSyncMarker:
		return fmt.Errorf("%w: segment begins with a frame of type %v, not with its opening marker", record.ErrFormat, h.Type)
	case !s.Opened:
		s.Opened, s.Prev, s.Tip = true, got, got
	case h.Type == record.FrameSyncMarker && got != s.Tip:
		return fmt.Errorf("%w: sync marker after entry %d, want %d", record.ErrFormat, got.Index, s.Tip.Index)
	case h.Type == record.FrameSyncMarker:
	case got.Index != s.Tip.Index+1:
		return fmt.Errorf("%w: entry %d, want %d", record.ErrFormat, got.Index, s.Tip.Index+1)
	case got.Term < s.Tip.Term:
		return fmt.Errorf("%w: entry %d of term %d after term %d", record.ErrFormat, got.Index, got.Term, s.Tip.Term)
	case got.Chain != record.NextChain(s.Tip.Chain, h):
		return fmt.Errorf("%w: entry %d has chain %016x, want %016x", record.ErrChecksum, got.Index, got.Chain, record.NextChain(s.Tip.Chain, h))
	default:
		s.Tip = got
	}
	return nil
}

// TailState is what a segment looks like behind its last whole frame.
type TailState uint8

// The states of a tail; FORMAT.md says exactly when each applies.
const (
	TailClean TailState = iota
	TailTorn
	TailCorrupt
	TailUncertain
)

// String returns the name that the inspector prints.
func (t TailState) String() string {
	switch t {
	case TailClean:
		return "clean"
	case TailTorn:
		return "torn"
	case TailCorrupt:
		return "corrupt"
	case TailUncertain:
		return "uncertain"
	}
	return fmt.Sprintf("tail(%d)", uint8(t))
}

// tail is the verdict on the bytes behind the last whole frame.
type tail struct {
	State    TailState
	CutBytes uint32 // from Stop to the last byte that is set
	Frames   int    // with a whole header behind Stop
	Synced   uint64 // the highest position that one of those proves durable
	Err      error  // what is wrong; nil when clean
}

// classifyTail judges what follows s.Stop. provenEnd is a position known to have
// been durable; 0 none.
func classifyTail(f *fileBytes, s *scan, part uint32, id record.SegmentID, provenEnd uint64) (t tail, err error) {
	if err := f.need(int64(len(f.b))); err != nil {
		return t, err
	}
	rest := f.b[s.Stop:]
	t.CutBytes = uint32(lastNonZero(rest))
	t.Frames, t.Synced = framesBehind(f.b, s.Stop, part, id)
	bad := s.Bad
	if bad == nil {
		bad = fmt.Errorf("%w: no frame, and %d bytes up to the next that is set", record.ErrFormat, zeroPrefix(rest))
	}
	switch {
	case provenEnd > uint64(s.Stop):
		t.State, t.Err = TailCorrupt, fmt.Errorf("known durable up to byte %d: %w", provenEnd, bad)
	case t.Synced > uint64(s.Stop):
		t.State, t.Err = TailCorrupt, fmt.Errorf("a later frame says durable up to byte %d: %w", t.Synced, bad)
	case s.Misfit:
		t.State, t.Err = TailCorrupt, bad
	case t.CutBytes == 0:
		t.State = TailClean
	case record.Unfinished(rest, record.Place{Partition: part, Segment: id, Position: s.Stop}):
		t.State, t.Err = TailTorn, bad
	default:
		t.State, t.Err = TailUncertain, bad
	}
	return t, nil
}

// framesBehind looks for frames with a whole header behind pos, at every place
// where one could begin. It is bounded by one checksum of a header for each.
func framesBehind(b []byte, pos uint32, part uint32, id record.SegmentID) (frames int, synced uint64) {
	var h record.FrameHeader
	for p := int(pos); p+record.FrameHeaderBytes <= len(b); p += 8 {
		if n := zeroPrefix(b[p:min(p+len(zeros), len(b))]); n >= 8 {
			p += n&^7 - 8
			continue
		}
		if binary.LittleEndian.Uint32(b[p:]) != record.FrameMagic {
			continue
		}
		at := record.Place{Partition: part, Segment: id, Position: uint32(p)}
		if record.ParseFrameHeader(b[p:], at, &h) == nil {
			frames, synced = frames+1, max(synced, h.SyncedThrough)
		}
	}
	return frames, synced
}
