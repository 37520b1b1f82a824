package partition

import (
	"encoding/binary"
	"fmt"

	"leat.dev/leat/index"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// A channel's state in the index:
//
//	uvarints: created, first, last, time of the last, records, bytes;
//	then name and config, each with its length as a uvarint.
//
// Under channel id 0 lies what belongs to no channel: uvarints of the highest
// channel id given and the highest time.
func (c *Channel) appendState(dst []byte) []byte {
	for _, v := range [...]uint64{
		uint64(c.created.Load()), c.first.Load(), c.last.Load(), uint64(c.lastNs.Load()), c.records.Load(), c.bytes.Load(),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	dst = appendString(dst, c.name)
	return appendString(dst, c.settings.Load().bytes())
}

// decodeChannel reads a channel's state.
func (p *Partition) decodeChannel(value []byte) (*Channel, error) {
	f := fields{b: value}
	created, first, last, lastNs, records, size := f.uint(), f.uint(), f.uint(), f.uint(), f.uint(), f.uint()
	name, config := string(f.bytes()), f.bytes()
	switch {
	case f.err != nil:
		return nil, f.err
	case len(f.b) > 0:
		return nil, fmt.Errorf("%w: %d bytes too many", errCommand, len(f.b))
	case first == 0 || last == ^uint64(0) || first > last+1 || records != last+1-first:
		return nil, fmt.Errorf("%w: %d records from offset %d to %d", errCommand, records, first, last)
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	s, err := decodeSettings(config)
	if err != nil {
		return nil, err
	}
	c := p.newChannel(name)
	c.settings.Store(s)
	c.created.Store(int64(created))
	c.first.Store(first)
	c.last.Store(last)
	c.lastNs.Store(int64(lastNs))
	c.records.Store(records)
	c.bytes.Store(size)
	c.state.Store(uint32(channelLive))
	return c, nil
}

func (p *Partition) appendMachine(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, p.appliedChannel.Load())
	return binary.AppendUvarint(dst, uint64(p.appliedTime.Load()))
}

// A cursor's state in the index: its meta with the length in front as a uvarint,
// then the place as package cursor encodes it.
func (s *cursorState) appendState(dst []byte) []byte {
	dst = appendString(dst, s.meta)
	return s.place.AppendTo(dst)
}

// cursorValue is appendState, within the limits of the index. A place that is
// too large for it, because acknowledgements left ever more holes, forgets those
// above its floor: what was acknowledged there is delivered again, if the
// consumer does not live on.
func (p *Partition) cursorValue(c *Channel, name string, s *cursorState, dst []byte) []byte {
	if dst = s.appendState(dst); len(dst) <= cursorStateBytesMax {
		return dst
	}
	p.opts.Logger.Warn("a cursor has too many holes to be kept, acknowledgements above its floor are forgotten",
		"partition", p.opts.ID, "channel", c.name, "cursor", name, "bytes", len(dst), "ranges", s.place.AckedRanges())
	place := cursor.New(s.place.Floor() + 1)
	place.Sent(s.place.LastSent())
	c.cursorMu.Lock()
	s.place = place
	c.cursorMu.Unlock()
	return s.appendState(dst[:0])
}

func decodeCursorState(value []byte) (*cursorState, error) {
	f := fields{b: value}
	meta := append([]byte(nil), f.bytes()...)
	if f.err != nil {
		return nil, f.err
	}
	place, err := cursor.Decode(f.b)
	if err != nil {
		return nil, err
	}
	return &cursorState{meta: meta, place: place}, nil
}

// load fills an empty partition from its index. Its error wraps
// index.ErrDamaged when the index is not what was written.
func (p *Partition) load() error {
	x := p.opts.Index
	applied, term, err := x.Applied()
	if err != nil {
		return err
	}
	if last, _ := p.opts.Log.Last(); applied > last {
		// The index knows more than the log: it is from another life of this
		// folder. The log is what counts.
		p.opts.Logger.Warn("the index is ahead of the log and is made anew", "partition", p.opts.ID,
			"applied", applied, "last", last)
		if err := x.Reset(); err != nil {
			return err
		}
		applied, term = 0, 0
	}
	p.applied.Store(applied)
	p.committed.Store(applied)
	p.appliedTerm = term
	if err := x.Channels(p.loadChannel); err != nil {
		return err
	}
	if err := x.AllCursors(p.loadCursor); err != nil {
		return err
	}
	for kind := range 256 {
		err := x.Sessions(byte(kind), func(name string, value []byte) error {
			p.sessions.byKey[sessionKey{byte(kind), name}] = append([]byte(nil), value...)
			return nil
		})
		if err != nil {
			return err
		}
	}
	p.metrics.channels.Add(float64(len(p.byID)))
	return p.indexSealed()
}

func (p *Partition) loadChannel(id record.ChannelID, value []byte) error {
	if id == 0 {
		f := fields{b: value}
		p.appliedChannel.Store(f.uint())
		p.appliedTime.Store(int64(f.uint()))
		return damaged("state of the machine", f.err)
	}
	c, err := p.decodeChannel(value)
	if err == nil && p.names.live[c.name] != nil {
		err = fmt.Errorf("%w: name %q is that of channel %d, too", errCommand, c.name, p.names.live[c.name].id.Load())
	}
	if err != nil {
		return damaged(fmt.Sprintf("channel %d", id), err)
	}
	c.id.Store(uint64(id))
	p.names.live[c.name] = c
	p.byID[id] = c
	return nil
}

func (p *Partition) loadCursor(id record.ChannelID, name string, value []byte) error {
	c := p.byID[id]
	if c == nil {
		return fmt.Errorf("%w: cursor %q belongs to channel %d, which does not exist", index.ErrDamaged, name, id)
	}
	s, err := decodeCursorState(value)
	if err != nil {
		return damaged(fmt.Sprintf("channel %q: cursor %q", c.name, name), err)
	}
	if c.cursors == nil {
		c.cursors = make(map[string]*cursorState)
	}
	c.cursors[name] = s
	return nil
}

func damaged(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s: %w", index.ErrDamaged, what, err)
}
