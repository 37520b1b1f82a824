package partition

import (
	"bytes"
	"fmt"
	"strings"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// Entry is one committed data entry of the log.
type Entry struct {
	Index   uint64
	Term    uint64
	Payload []byte // batches; valid during Apply
}

// Apply changes the state by committed entries, which come in log order; those
// at or below Applied are skipped, so that entries may come again after a
// restart. It is called by one goroutine. An entry that cannot be applied (a
// newer version wrote it, or memory is damaged) panics: going on would make
// replicas differ.
func (p *Partition) Apply(entries []Entry) {
	for i := range entries {
		e := &entries[i]
		if e.Index <= p.applied.Load() {
			continue
		}
		if err := p.applyEntry(e); err != nil {
			panic(fmt.Sprintf("partition %d: apply entry %d: %v", p.opts.ID, e.Index, err))
		}
		p.appliedTerm = e.Term
		p.applied.Store(e.Index)
	}
	p.publish()
	p.maybeFlush()
}

// Applied is the index of the last entry that was applied.
func (p *Partition) Applied() uint64 { return p.applied.Load() }

func (p *Partition) applyEntry(e *Entry) error {
	_, err := record.CountBatches(e.Payload, func(_ int, b *record.Batch) error {
		if b.Term != e.Term {
			return fmt.Errorf("batch was proposed under term %d and logged under %d", b.Term, e.Term)
		}
		if b.Kind == record.KindCommand {
			return p.applyCommand(b)
		}
		return p.applyData(b)
	})
	return err
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
	p.appliedTimeSeen(b.Time)
	p.touch(c)
	return nil
}

func (p *Partition) applyCommand(b *record.Batch) error {
	p.appliedTimeSeen(b.Time)
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
		return p.applyCreate(record.ChannelID(id), created, string(f.bytes()), f.bytes())
	case opPutSession:
		kind, name, value := byte(f.uint()), string(f.bytes()), bytes.Clone(f.bytes())
		p.sessions.put(kind, name, value)
		return nil
	case opDeleteSession:
		kind, name := byte(f.uint()), string(f.bytes())
		p.sessions.delete(kind, name)
		return nil
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
		cfg, err := decodeConfig(f.bytes())
		if err != nil {
			return err
		}
		p.changes = append(p.changes, Change{Channel: c})
		return c.setConfig(cfg)
	case opTrimChannel:
		c.applyTrim(record.Offset(f.uint()))
	case opDeleteChannel:
		p.applyDelete(c)
	default:
		return p.applyCursor(o, c, f)
	}
	return nil
}

func (p *Partition) applyCreate(id record.ChannelID, created int64, name string, config []byte) error {
	cfg, err := decodeConfig(config)
	if err != nil {
		return err
	}
	// The name may have come from bytes that are used again.
	name = strings.Clone(name)
	p.namesMu.Lock()
	defer p.namesMu.Unlock()
	c := p.names[name]
	if c == nil {
		c = p.newChannel(name)
		p.names[name] = c
	}
	if channelState(c.state.Load()) != channelNew {
		return fmt.Errorf("channel %q exists already as %d", name, c.id.Load())
	}
	if err := c.setConfig(cfg); err != nil {
		return err
	}
	c.created = created
	c.id.Store(uint64(id))
	c.state.Store(uint32(channelLive))
	p.byID[id] = c
	p.appliedChannelSeen(uint64(id))
	p.changes = append(p.changes, Change{Channel: c})
	p.touch(c)
	return nil
}

func (c *Channel) applyTrim(first record.Offset) {
	old := c.First()
	first = min(max(first, old), c.Last()+1)
	if n := uint64(first - old); n > 0 {
		// Bytes of the records that went are not known one by one; the mean is
		// near enough for a figure, and exact when the channel is empty.
		records := c.records.Load()
		c.bytes.Store(c.bytes.Load() / records * (records - n))
		c.records.Store(records - n)
	}
	c.first.Store(uint64(first))
	c.cursorMu.Lock()
	defer c.cursorMu.Unlock()
	for _, s := range c.cursors {
		if s.place.MoveFirst(first) > 0 {
			s.dirty = true
		}
	}
}

func (p *Partition) applyDelete(c *Channel) {
	p.namesMu.Lock()
	defer p.namesMu.Unlock()
	c.state.Store(uint32(channelDeleted))
	if p.names[c.name] == c {
		delete(p.names, c.name)
	}
	id := record.ChannelID(c.id.Load())
	delete(p.byID, id)
	p.deleted = append(p.deleted, id)
	c.cursorMu.Lock()
	defer c.cursorMu.Unlock()
	for name := range c.cursors {
		p.deletedCursors = append(p.deletedCursors, cursorKey{id, name})
	}
	c.cursors = nil
	p.changes = append(p.changes, Change{Channel: c, Deleted: true})
}

func (p *Partition) applyCursor(o op, c *Channel, f *fields) error {
	name := string(f.bytes())
	c.cursorMu.Lock()
	defer c.cursorMu.Unlock()
	switch o {
	case opPutCursor:
		meta, state := bytes.Clone(f.bytes()), f.bytes()
		if f.err != nil {
			return f.err
		}
		place, err := cursor.Decode(state)
		if err != nil {
			return fmt.Errorf("cursor %q: %w", name, err)
		}
		if c.cursors == nil {
			c.cursors = make(map[string]*cursorState)
		}
		c.cursors[name] = &cursorState{meta: meta, place: place, dirty: true}
	case opAdvanceCursor:
		s := c.cursors[name]
		if s == nil {
			return nil
		}
		if err := s.place.ApplyDelta(f.bytes()); err != nil {
			return fmt.Errorf("cursor %q: %w", name, err)
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

func (p *Partition) appliedTimeSeen(t int64) {
	p.mu.Lock()
	p.appliedTime = max(p.appliedTime, t)
	p.mu.Unlock()
}

func (p *Partition) appliedChannelSeen(id uint64) {
	p.mu.Lock()
	p.appliedChannel = max(p.appliedChannel, id)
	p.mu.Unlock()
}
