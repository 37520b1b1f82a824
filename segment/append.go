package segment

import (
	"fmt"

	"leat.dev/leat/segment/record"
)

// markerRoom is kept free behind entries for an idle and a closing marker.
const markerRoom = 2 * record.FrameHeaderBytes

// appender is what Append keeps between calls. Guarded by Log.writeMu.
type appender struct {
	tip    Tip    // of the last entry written
	pos    uint32 // where the next frame goes in the active segment
	synced uint32 // position known durable
	marked bool   // the last frame is a marker

	// Scratch of one call.
	plans   []entryPlan
	batches []batchInfo
	headers []byte
	vecs    [][]byte
}

// entryPlan is what one entry of a call needs.
type entryPlan struct {
	batches   int // in the payload
	frame     int // bytes
	roomKnown int // for the footer, in the active segment
	roomNew   int // for the footer, in a new segment
	newPart   bool
}

// Append writes entries behind the last one. On nil they are durable, and
// visible to readers. They must be contiguous with the log. Payloads are not
// kept and not copied.
//
// On ErrOrder, ErrEntry, ErrTooLarge and ErrNoSpace, and when the next segment
// could not be made, nothing was written and the log is as before. Any other
// error poisons the log: the outcome is unknown, and after Open all, some from
// the front, or none of the entries are there.
//
// One call is one write and one fdatasync for each segment that it touches; a
// payload never spans two.
func (l *Log) Append(entries []Entry) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if len(entries) == 0 {
		return nil
	}
	if err := l.planEntries(entries); err != nil {
		return err
	}
	rolls, err := l.planSegments(entries)
	if err != nil {
		return err
	}
	if rolls > 0 {
		if err := l.ensurePrepared(rolls); err != nil {
			return err
		}
	}
	batches := l.app.batches
	for from := 0; from < len(entries); {
		if l.app.plans[from].newPart {
			if err := l.activate(); err != nil {
				return err
			}
		}
		to, used := from+1, l.app.plans[from].batches
		for to < len(entries) && !l.app.plans[to].newPart {
			used += l.app.plans[to].batches
			to++
		}
		if err := l.writeEntries(entries[from:to], l.app.plans[from:to], batches[:used]); err != nil {
			return err
		}
		from, batches = to, batches[used:]
	}
	l.metrics.appends.Inc()
	l.metrics.entries.Add(float64(len(entries)))
	clear(l.app.vecs)
	clear(l.app.batches)
	l.signalAppended()
	return nil
}

// planEntries checks the entries and notes their batches.
func (l *Log) planEntries(entries []Entry) error {
	a := &l.app
	a.plans, a.batches = a.plans[:0], a.batches[:0]
	tip := a.tip
	for i := range entries {
		e := &entries[i]
		if e.Index != tip.Index+1 {
			return fmt.Errorf("%w: index %d, want %d", ErrOrder, e.Index, tip.Index+1)
		}
		if e.Term < tip.Term {
			return fmt.Errorf("%w: entry %d has term %d, the one before it %d", ErrOrder, e.Index, e.Term, tip.Term)
		}
		tip.Index, tip.Term = e.Index, e.Term
		if e.Type < record.FrameData || e.Type >= record.FrameSyncMarker {
			return fmt.Errorf("%w: entry %d of type %v", ErrEntry, e.Index, e.Type)
		}
		if len(e.Payload) > record.PayloadBytesMax {
			return fmt.Errorf("%w: entry %d has %d bytes, at most %d", ErrTooLarge, e.Index, len(e.Payload), record.PayloadBytesMax)
		}
		p := entryPlan{frame: record.FrameBytes(len(e.Payload)), roomKnown: 8, roomNew: 8}
		if e.Type == record.FrameData {
			if err := l.planBatches(e, &p); err != nil {
				return err
			}
		}
		a.plans = append(a.plans, p)
	}
	return nil
}

// planBatches notes the batches of a data entry and the room that they may take
// in a footer.
func (l *Log) planBatches(e *Entry, p *entryPlan) error {
	var b record.Batch
	for pos := 0; pos < len(e.Payload); p.batches++ {
		n, err := record.ParseBatch(e.Payload[pos:], &b)
		if err != nil {
			return fmt.Errorf("%w: batch %d of entry %d: %w", ErrEntry, p.batches, e.Index, err)
		}
		var info batchInfo
		info.set(pos, &b)
		l.app.batches = append(l.app.batches, info)
		channelRoom := footerChannelBytes + len(info.name) + 8
		p.roomNew += footerBatchBytes + channelRoom
		p.roomKnown += footerBatchBytes
		// Only mutators change the index, so it may be read here without mu.
		if s := l.active; s == nil || s.index.channels[info.channel] == nil {
			p.roomKnown += channelRoom
		}
		pos += n
	}
	if p.batches == 0 {
		return fmt.Errorf("%w: data entry %d is empty", ErrEntry, e.Index)
	}
	return nil
}

// planSegments decides which entries begin a new segment, and counts those.
func (l *Log) planSegments(entries []Entry) (rolls int, err error) {
	a := &l.app
	limit, used := 0, 1 // no active segment is one without room
	if s := l.active; s != nil {
		limit, used = int(s.fileBytes)-markerRoom, int(a.pos)+s.index.footerBytes()
	}
	for i := range a.plans {
		p := &a.plans[i]
		room := p.roomKnown
		if rolls > 0 {
			room = p.roomNew
		}
		if used+p.frame+room > limit {
			rolls++
			p.newPart = true
			limit, used = l.preparedBytes(rolls-1)-markerRoom, entriesPosition+footerBytes(0, 0, 0, 0)
			room = p.roomNew
		}
		if used += p.frame + room; used > limit {
			return 0, fmt.Errorf("%w: entry %d takes %d bytes with its part of the index, a segment has %d",
				ErrTooLarge, entries[i].Index, p.frame+room, limit-entriesPosition)
		}
	}
	return rolls, nil
}

// preparedBytes is the size of the nth segment from now.
func (l *Log) preparedBytes(n int) int {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if n < len(l.prepared) {
		return int(l.prepared[n].fileBytes)
	}
	return int(l.o.SegmentBytes)
}

// writeEntries writes entries that fit into the active segment, syncs, and
// shows them to readers.
func (l *Log) writeEntries(entries []Entry, plans []entryPlan, batches []batchInfo) error {
	a, s := &l.app, l.active
	if n := len(entries) * record.FrameHeaderBytes; cap(a.headers) < n {
		a.headers = make([]byte, n)
	}
	a.vecs = a.vecs[:0]
	pos, tip := a.pos, a.tip
	for i := range entries {
		e := &entries[i]
		h := record.FrameHeader{
			Type: e.Type, PayloadBytes: uint32(len(e.Payload)), PayloadCRC: record.Checksum(e.Payload), Batches: uint32(plans[i].batches),
			Index: e.Index, Term: e.Term, Time: e.Time, SyncedThrough: uint64(a.synced), CommitHint: e.CommitHint,
		}
		h.ZeroSectors = record.ZeroSectors(pos+record.FrameHeaderBytes, e.Payload)
		h.Chain = record.NextChain(tip.Chain, &h)
		tip = Tip{Index: e.Index, Term: e.Term, Chain: h.Chain}
		head := a.headers[i*record.FrameHeaderBytes : (i+1)*record.FrameHeaderBytes]
		record.PutFrameHeader(head, &h, record.Place{Partition: l.o.Partition, Segment: s.id, Position: pos})
		a.vecs = append(a.vecs, head)
		if len(e.Payload) > 0 {
			a.vecs = append(a.vecs, e.Payload, record.EndBytes(len(e.Payload)))
		}
		pos += uint32(plans[i].frame)
	}
	if l.fill.announce(pos) {
		l.metrics.fillWaits.Inc()
	}
	if _, err := s.file.WriteVecAt(a.vecs, int64(a.pos)); err != nil {
		return l.poison(fmt.Errorf("append entries %d to %d: %w", entries[0].Index, tip.Index, err))
	}
	start := l.o.Now()
	if err := s.file.SyncData(); err != nil {
		return l.poison(fmt.Errorf("sync entries %d to %d: %w", entries[0].Index, tip.Index, err))
	}
	l.metrics.syncSeconds.Observe(float64(l.o.Now()-start) / 1e9)
	l.metrics.bytes.Add(float64(pos - a.pos))
	l.publish(plans, batches, tip)
	a.pos, a.synced, a.tip, a.marked = pos, pos, tip, false
	return nil
}

// publish shows durable entries to readers.
func (l *Log) publish(plans []entryPlan, batches []batchInfo, tip Tip) {
	s, pos := l.active, l.app.pos
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range plans {
		s.index.positions = append(s.index.positions, pos)
		for k := range batches[:plans[i].batches] {
			s.index.addBatch(pos+record.FrameHeaderBytes+batches[k].pos, &batches[k])
		}
		batches = batches[plans[i].batches:]
		pos += uint32(plans[i].frame)
	}
	s.last, s.end, s.records = tip, pos, s.index.records
	l.last = tip
}

// writeMarker writes a sync marker behind the last entry, if there is none yet.
// The caller holds writeMu.
func (l *Log) writeMarker(sync bool) error {
	a, s := &l.app, l.active
	if s == nil || a.marked || int(a.pos)+record.FrameHeaderBytes+s.index.footerBytes() > int(s.fileBytes) {
		return nil
	}
	l.fill.announce(a.pos + record.FrameHeaderBytes)
	next, err := l.putMarker(s, a.pos, a.synced)
	if err != nil {
		return err
	}
	a.pos, a.marked = next, true
	if sync {
		if err := s.file.SyncData(); err != nil {
			return l.poison(fmt.Errorf("sync marker: %w", err))
		}
		a.synced = next
	}
	l.metrics.markers.Inc()
	return nil
}

// putMarker writes a marker at pos and returns the position behind it.
func (l *Log) putMarker(s *segment, pos, synced uint32) (uint32, error) {
	h := record.FrameHeader{
		Type: record.FrameSyncMarker, PayloadCRC: record.Checksum(nil),
		Index: l.app.tip.Index, Term: l.app.tip.Term, Chain: l.app.tip.Chain,
		Time: l.o.Now(), SyncedThrough: uint64(synced),
	}
	var head [record.FrameHeaderBytes]byte
	record.PutFrameHeader(head[:], &h, record.Place{Partition: l.o.Partition, Segment: s.id, Position: pos})
	if _, err := s.file.WriteAt(head[:], int64(pos)); err != nil {
		return pos, l.poison(fmt.Errorf("write sync marker: %w", err))
	}
	return pos + record.FrameHeaderBytes, nil
}

// activate takes the next prepared segment into use, with a synced opening
// marker, and leaves the one before it to the sealer. The caller holds writeMu
// and knows that one is prepared.
func (l *Log) activate() error {
	l.mu.RLock()
	s := l.prepared[0]
	l.mu.RUnlock()
	next, err := l.putMarker(s, openingPosition, openingPosition)
	if err != nil {
		return err
	}
	if err := s.file.SyncData(); err != nil {
		return l.poison(fmt.Errorf("sync opening marker: %w", err))
	}
	l.fill.enter(s, next) // and leave the one before, which the sealer gets
	l.mu.Lock()
	if l.active != nil {
		l.active.state = StateFull
	}
	s.state, s.index = StateActive, newMemIndex()
	s.prev, s.last, s.end = l.app.tip, l.app.tip, next
	l.active = s
	l.prepared = append(l.prepared[:0], l.prepared[1:]...)
	l.segments = append(l.segments, s)
	l.mu.Unlock()
	l.app.pos, l.app.synced, l.app.marked = next, next, true
	l.metrics.rolls.Inc()
	l.signal()
	return nil
}

// Roll ends the active segment, so that it can be sealed and dropped. The next
// one is in use, and durable as such, on return. It does nothing when the
// active segment has no entry.
func (l *Log) Roll() error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	if l.active == nil || l.active.entries() == 0 {
		return nil
	}
	if err := l.ensurePrepared(1); err != nil {
		return err
	}
	return l.activate()
}
