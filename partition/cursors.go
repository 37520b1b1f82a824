package partition

import (
	"bytes"
	"slices"

	"leat.dev/leat/partition/cursor"
)

// cursorState is a durable consumer's place as it was last applied.
type cursorState struct {
	meta  []byte // a front-end's own words about the consumer
	place *cursor.Cursor
	dirty bool // to be written to the index
}

// CursorInfo is a durable consumer as it was last logged.
type CursorInfo struct {
	Name  string
	Meta  []byte         // what PutCursor was given
	Place *cursor.Cursor // a copy
}

// Cursors lists the channel's cursors, sorted by name.
func (c *Channel) Cursors() []CursorInfo {
	c.cursorMu.RLock()
	defer c.cursorMu.RUnlock()
	list := make([]CursorInfo, 0, len(c.cursors))
	for name, s := range c.cursors {
		list = append(list, s.info(name))
	}
	slices.SortFunc(list, func(a, b CursorInfo) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
	return list
}

// Cursor returns one cursor, and false when there is none of that name.
func (c *Channel) Cursor(name string) (CursorInfo, bool) {
	c.cursorMu.RLock()
	defer c.cursorMu.RUnlock()
	s, ok := c.cursors[name]
	if !ok {
		return CursorInfo{}, false
	}
	return s.info(name), true
}

func (s *cursorState) info(name string) CursorInfo {
	place, err := cursor.Decode(s.place.AppendTo(nil))
	if err != nil {
		panic("partition: a cursor does not decode as it was encoded: " + err.Error())
	}
	return CursorInfo{Name: name, Meta: bytes.Clone(s.meta), Place: place}
}

// PutCursor makes a durable cursor, or replaces the one of that name. done is
// called once it is durable, or with an error. It may block like Append.
func (c *Channel) PutCursor(name string, meta []byte, place *cursor.Cursor, done func(error)) {
	state := place.AppendTo(nil)
	meta = bytes.Clone(meta)
	c.part.operate(c, func(dst []byte) []byte {
		return appendOp(dst, opPutCursor, []uint64{uint64(c.proposed.id)}, []byte(name), meta, state)
	}, c.reports(done))
}

// AdvanceCursor logs the progress of a cursor, a delta made by
// cursor.Cursor.AppendDelta. A cursor that is gone is left so. done is called
// once the progress is durable, or with an error.
func (c *Channel) AdvanceCursor(name string, delta []byte, done func(error)) {
	delta = bytes.Clone(delta)
	c.part.operate(c, func(dst []byte) []byte {
		return appendOp(dst, opAdvanceCursor, []uint64{uint64(c.proposed.id)}, []byte(name), delta)
	}, c.reports(done))
}

// DeleteCursor removes a cursor, if there is one. done is called once that is
// durable, or with an error.
func (c *Channel) DeleteCursor(name string, done func(error)) {
	c.part.operate(c, func(dst []byte) []byte {
		return appendOp(dst, opDeleteCursor, []uint64{uint64(c.proposed.id)}, []byte(name))
	}, c.reports(done))
}

// reports names the channel in the error that done is called with.
func (c *Channel) reports(done func(error)) func(error) {
	return func(err error) {
		if done != nil {
			done(channelError(c.name, err))
		}
	}
}
