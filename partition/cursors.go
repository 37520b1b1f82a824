package partition

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"leat.dev/leat/index"
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
	slices.SortFunc(list, func(a, b CursorInfo) int { return strings.Compare(a.Name, b.Name) })
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

const (
	// metaBytesMax and placeBytesMax leave room for a place to grow before it
	// has to forget: see cursorValue.
	metaBytesMax  = 64 << 10
	placeBytesMax = cursorStateBytesMax / 2
)

// PutCursor makes a durable cursor, or replaces the one of that name; the
// channel is made when there is none. done is called once it is durable, or with
// an error: ErrTooLarge when the name is over 4 KiB, meta over 64 KiB, or the
// place over 512 KiB. It may block like Append.
func (c *Channel) PutCursor(name string, meta []byte, place *cursor.Cursor, done func(error)) {
	state := place.AppendTo(nil)
	if len(name) > index.MaxNameBytes || len(meta) > metaBytesMax || len(state) > placeBytesMax {
		answer(done, channelError(c.name, fmt.Errorf("%w: cursor with a name of %d, meta of %d, a place of %d bytes, at most %d, %d and %d",
			ErrTooLarge, len(name), len(meta), len(state), index.MaxNameBytes, metaBytesMax, placeBytesMax)))
		return
	}
	c.cursorOp(opPutCursor, appendString(appendString(appendString(nil, name), meta), state), done)
}

// AdvanceCursor logs the progress of a cursor, a delta made by
// cursor.Cursor.AppendDelta. A cursor that is gone is left so. done is called
// once the progress is durable, or with an error. It may block like Append.
func (c *Channel) AdvanceCursor(name string, delta []byte, done func(error)) {
	c.cursorOp(opAdvanceCursor, appendString(appendString(nil, name), delta), done)
}

// DeleteCursor removes a cursor, if there is one. done is called once that is
// durable, or with an error. It may block like Append.
func (c *Channel) DeleteCursor(name string, done func(error)) {
	c.cursorOp(opDeleteCursor, appendString(nil, name), done)
}

// cursorOp names the channel in the error that done is called with.
func (c *Channel) cursorOp(code op, strings []byte, done func(error)) {
	c.part.operate(c, &operation{code: code, strings: strings, done: func(err error) { answer(done, channelError(c.name, err)) }})
}
