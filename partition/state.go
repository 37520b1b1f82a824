package partition

import (
	"encoding/binary"
	"errors"
	"fmt"

	"leat.dev/leat/index"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// A channel's state in the index:
//
//	uvarints: created, first, last, time of the last, records, bytes;
//	then name and config, each with its length as a uvarint.
//
// Under channel id 0 lies what belongs to no channel: uvarints of the highest
// channel id given, of the highest time, and of the log's chain up to the last
// entry applied, which says of which log this is the state. An index of an
// earlier version has no chain, and so may have one whose chain was not known.
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
	dst = binary.AppendUvarint(dst, uint64(p.appliedTime.Load()))
	if chain, known, err := p.chain(p.applied.Load()); err == nil && known {
		dst = binary.AppendUvarint(dst, chain)
	}
	return dst
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
	p.applied.Store(applied)
	p.committed.Store(applied)
	p.appliedTerm = term
	if last, _ := p.opts.Log.Last(); applied > last {
		err = fmt.Errorf("%w: entry %d is applied, the log ends with %d", errOtherLog, applied, last)
	}
	if err == nil {
		// The state under id 0 comes first, so nothing is loaded when it is refused.
		err = x.Channels(p.loadChannel)
	}
	if errors.Is(err, errOtherLog) {
		err = p.renew(err)
	}
	if err != nil {
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

// errOtherLog says that the index is from another life of this folder, or from
// another node. The log is what counts.
var errOtherLog = errors.New("the index is not that of this log")

// renew empties an index that is not that of this log.
func (p *Partition) renew(cause error) error {
	p.opts.Logger.Warn("the index is made anew", "partition", p.opts.ID, "cause", cause)
	p.applied.Store(0)
	p.committed.Store(0)
	p.appliedTerm = 0
	return p.opts.Index.Reset()
}

// loadMachine reads the state under channel id 0.
func (p *Partition) loadMachine(value []byte) error {
	f := fields{b: value}
	channel, ns := f.uint(), f.uint()
	if f.err == nil && len(f.b) > 0 {
		chain := f.uint()
		have, known, err := p.chain(p.applied.Load())
		switch {
		case err != nil:
			return err
		case f.err == nil && known && have != chain:
			return fmt.Errorf("%w: entries up to %d have chain %016x there and %016x in the log", errOtherLog, p.applied.Load(), chain, have)
		}
	}
	if f.err == nil {
		p.appliedChannel.Store(channel)
		p.appliedTime.Store(int64(ns))
	}
	return damaged("state of the machine", f.err)
}

// chain is the log's chain up to an entry, if the log still tells.
func (p *Partition) chain(index uint64) (chain uint64, known bool, err error) {
	h, err := p.opts.Log.Header(index)
	if err == nil {
		return h.Chain, true, nil
	}
	if base := p.opts.Log.Base(); errors.Is(err, segment.ErrNotFound) && index <= base.Index {
		return base.Chain, index == base.Index, nil
	}
	return 0, false, fmt.Errorf("read entry %d: %w", index, err)
}

func (p *Partition) loadChannel(id record.ChannelID, value []byte) error {
	if id == 0 {
		return p.loadMachine(value)
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
