package partition

import (
	"bytes"
	"fmt"
	"math/bits"

	"leat.dev/leat/index"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// Entry is one committed data entry of the log.
type Entry struct {
	Index   uint64
	Term    uint64
	Payload []byte // batches; valid during Apply
}

// Apply changes the state by committed entries, which come in log order and lie
// in the log; those at or below Applied are skipped, so that entries may come
// again after a restart. It is called by one goroutine. An entry that cannot be
// applied (a newer version wrote it, or memory is damaged) panics: going on
// would make replicas differ.
func (p *Partition) Apply(entries []Entry) {
	p.stateMu.Lock()
	defer p.stateMu.Unlock()
	for i := range entries {
		e := &entries[i]
		if e.Index <= p.applied.Load() {
			continue
		}
		// Before the state changes, so that readers who see the change are let
		// up to the entry that made it.
		p.committed.Store(e.Index)
		if err := p.applyEntry(e); err != nil {
			panic(fmt.Sprintf("partition %d: apply entry %d: %v", p.opts.ID, e.Index, err))
		}
		p.appliedTerm = e.Term
		p.applied.Store(e.Index)
		p.metrics.entries.Inc()
	}
	if w := p.Watermarks(); w.check() != nil {
		panic(fmt.Sprintf("partition %d: %v", p.opts.ID, w.check()))
	}
	p.batch = record.Batch{} // it points into the last payload
	p.publish()
	p.flush.due(len(p.dirty) >= dirtyMax)
}

// Applied is the index of the last entry that was applied.
func (p *Partition) Applied() uint64 { return p.applied.Load() }

func (p *Partition) applyEntry(e *Entry) error {
	b := &p.batch
	for pos := 0; pos < len(e.Payload); {
		n, err := record.ParseBatch(e.Payload[pos:], b)
		if err != nil {
			return fmt.Errorf("batch at %d: %w", pos, err)
		}
		if b.Term != e.Term {
			return fmt.Errorf("batch at %d was proposed under term %d and logged under %d", pos, b.Term, e.Term)
		}
		if b.Time > p.appliedTime.Load() {
			p.appliedTime.Store(b.Time)
		}
		if b.Kind == record.KindCommand {
			err = p.applyCommand(b)
		} else {
			err = p.applyData(b)
		}
		if err != nil {
			return fmt.Errorf("batch at %d: %w", pos, err)
		}
		pos += n
	}
	return nil
}

func (p *Partition) applyData(b *record.Batch) error {
	c := p.byID[b.Channel]
	if c == nil {
		return fmt.Errorf("channel %d %q does not exist", b.Channel, b.Name)
	}
	if want := c.Last() + 1; b.Base != want {
		return fmt.Errorf("channel %q: batch begins at offset %d, want %d", c.name, b.Base, want)
	}
	c.lastNs.Store(b.Time)
	c.records.Add(uint64(b.Count))
	c.bytes.Add(uint64(len(b.Raw())))
	c.last.Store(uint64(b.Last()))
	p.touch(c)
	return nil
}

func (p *Partition) applyCommand(b *record.Batch) error {
	for body := b.Body; len(body) > 0; {
		o, f, rest, err := nextOp(body)
		if err != nil {
			return err
		}
		if err := p.applyOp(o, &f); err != nil {
			return fmt.Errorf("operation %d: %w", o, err)
		}
		if f.err != nil {
			return f.err
		}
		body = rest
	}
	return nil
}

func (p *Partition) applyOp(o op, f *fields) error {
	switch o {
	case opCreateChannel:
		id, created := f.uint(), int64(f.uint())
		name, config := string(f.bytes()), f.bytes()
		if f.err != nil {
			return f.err
		}
		return p.applyCreate(record.ChannelID(id), created, name, config)
	case opPutSession, opDeleteSession:
		return p.applySession(o, f)
	case opSetChannel, opTrimChannel, opDeleteChannel, opPutCursor, opAdvanceCursor, opDeleteCursor:
	default:
		return fmt.Errorf("%w: unknown operation, written by a newer version", errCommand)
	}
	c := p.byID[record.ChannelID(f.uint())]
	if c == nil || f.err != nil {
		return f.err // deleted meanwhile
	}
	p.touch(c)
	switch o {
	case opSetChannel:
		s, err := decodeSettings(f.bytes())
		if err != nil || f.err != nil {
			return err
		}
		c.settings.Store(s)
		p.changes = append(p.changes, Change{Channel: c})
	case opTrimChannel:
		if first := record.Offset(f.uint()); f.err == nil {
			c.applyTrim(first)
		}
	case opDeleteChannel:
		p.applyDelete(c)
	default:
		return p.applyCursor(o, c, f)
	}
	return nil
}

func (p *Partition) applyCreate(id record.ChannelID, created int64, name string, config []byte) error {
	s, err := decodeSettings(config)
	if err != nil {
		return err
	}
	if c := p.byID[id]; c != nil || id == 0 {
		return fmt.Errorf("channel %q: id %d is given already", name, id)
	}
	return p.names.create(p, name, func(c *Channel) {
		c.settings.Store(s)
		c.created.Store(created)
		c.id.Store(uint64(id))
		c.state.Store(uint32(channelLive))
		p.byID[id] = c
		p.appliedChannel.Store(max(p.appliedChannel.Load(), uint64(id)))
		p.changes = append(p.changes, Change{Channel: c})
		p.touch(c)
		p.metrics.channels.Inc()
	})
}

func (c *Channel) applyTrim(first record.Offset) {
	old := c.First()
	first = min(max(first, old), c.Last()+1)
	if first > old {
		// Bytes of the records that went are not known one by one; the mean is
		// near enough for a figure, and exact when the channel is empty.
		had, left := uint64(c.Last()+1-old), uint64(c.Last()+1-first)
		hi, lo := bits.Mul64(c.bytes.Load(), left)
		mean, _ := bits.Div64(hi, lo, had) // left < had, so it fits
		c.bytes.Store(mean)
		c.records.Store(left)
	}
	c.first.Store(uint64(first))
	c.cursorMu.Lock()
	defer c.cursorMu.Unlock()
	for _, s := range c.cursors {
		// Its result counts pending records only, and those were few or none.
		floor := s.place.Floor()
		s.place.MoveFirst(first)
		s.dirty = s.dirty || s.place.Floor() != floor
	}
}

func (p *Partition) applyDelete(c *Channel) {
	p.names.remove(c)
	id := record.ChannelID(c.id.Load())
	delete(p.byID, id)
	p.deleted = append(p.deleted, id)
	c.cursorMu.Lock()
	c.cursors = nil
	c.cursorMu.Unlock()
	p.changes = append(p.changes, Change{Channel: c, Deleted: true})
	p.metrics.channels.Dec()
}

func (p *Partition) applyCursor(o op, c *Channel, f *fields) error {
	name := string(f.bytes())
	var meta, state []byte
	switch o {
	case opPutCursor:
		meta, state = f.bytes(), f.bytes()
	case opAdvanceCursor:
		state = f.bytes()
	}
	if f.err != nil {
		return f.err
	}
	c.cursorMu.Lock()
	defer c.cursorMu.Unlock()
	switch o {
	case opPutCursor:
		place, err := cursor.Decode(state)
		if err != nil {
			p.ignored(c, name, err)
			return nil
		}
		if c.cursors == nil {
			c.cursors = make(map[string]*cursorState)
		}
		c.cursors[name] = &cursorState{meta: bytes.Clone(meta), place: place, dirty: true}
	case opAdvanceCursor:
		s := c.cursors[name]
		if s == nil {
			return nil
		}
		if err := s.place.ApplyDelta(state); err != nil {
			p.ignored(c, name, err)
			return nil
		}
		s.dirty = true
	case opDeleteCursor:
		if _, ok := c.cursors[name]; ok {
			delete(c.cursors, name)
			p.deletedCursors = append(p.deletedCursors, cursorKey{record.ChannelID(c.id.Load()), name})
		}
	}
	return nil
}

// ignored reports progress of a cursor that makes no sense. It came from a
// front-end, not from the proposer, and is the same on all replicas. Without it
// records are delivered again, which is no reason to stop a partition for good.
func (p *Partition) ignored(c *Channel, name string, err error) {
	p.opts.Logger.Error("progress of a cursor is not usable and is left out, records will be delivered again",
		"partition", p.opts.ID, "channel", c.name, "cursor", name, "error", err)
}

type cursorKey struct {
	channel record.ChannelID
	name    string
}

// touch remembers that a channel changed: for the index, and for those who
// watch it.
func (p *Partition) touch(c *Channel) {
	if !c.dirty {
		c.dirty = true
		p.dirty = append(p.dirty, c)
	}
	if !c.touched {
		c.touched = true
		p.touched = append(p.touched, c)
	}
}

// publish tells those who watch what was applied: once for all entries of an
// Apply.
func (p *Partition) publish() {
	if len(p.changes) > 0 {
		p.changeMu.Lock()
		watches := p.changeWatches
		p.changeMu.Unlock()
		for _, ch := range p.changes {
			for _, w := range watches {
				w.notify(ch)
			}
		}
		clear(p.changes)
		p.changes = p.changes[:0]
	}
	for i, c := range p.touched {
		c.touched = false
		c.wake()
		p.touched[i] = nil
	}
	p.touched = p.touched[:0]
}

func (p *Partition) applySession(o op, f *fields) error {
	kind, name := f.uint(), string(f.bytes())
	var value []byte
	if o == opPutSession {
		value = f.bytes()
	}
	if f.err == nil && kind > 255 {
		return fmt.Errorf("%w: session of kind %d", errCommand, kind)
	}
	if f.err != nil {
		return f.err
	}
	k := sessionKey{byte(kind), name}
	if o == opPutSession {
		p.sessions.put(k, bytes.Clone(value))
	} else {
		p.sessions.delete(k)
	}
	return nil
}

// cursorStateBytesMax is the largest state of a cursor that the index keeps.
const cursorStateBytesMax = index.MaxValueBytes
