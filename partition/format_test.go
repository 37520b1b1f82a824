package partition

import (
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// These tests are inside of the package because the formats are its own.

// Aim: bytes that are no command never do more than return an error, and those
// that are one are read as they were written. Method: fuzz; every operation that
// is found is encoded again and compared.
func FuzzCommand(f *testing.F) {
	f.Add(appendOp(nil, opCreateChannel, []uint64{1, 2}, appendString(appendString(nil, "name"), "")))
	f.Add(appendOp(appendOp(nil, opDeleteChannel, []uint64{1 << 63}, nil), opPutSession, []uint64{255}, []byte{0}))
	f.Add([]byte{1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, body []byte) {
		for len(body) > 0 {
			o, fields, rest, err := nextOp(body)
			if err != nil {
				require.ErrorIs(t, err, errCommand)
				return
			}
			require.Less(t, len(rest), len(body))
			inside := fields.b
			o2, fields2, rest2, err := nextOp(appendOp(nil, o, nil, inside))
			require.NoError(t, err)
			require.Equal(t, o, o2)
			require.Empty(t, rest2)
			require.Equal(t, inside, fields2.b)
			for len(fields.b) > 0 && fields.err == nil {
				fields.uint()
				fields.bytes()
			}
			body = rest
		}
	})
}

// Aim: a command that a replica cannot apply is an error, never a panic on its
// way. Method: fuzz the state machine with one command.
func FuzzApplyCommand(f *testing.F) {
	create := appendOp(nil, opCreateChannel, []uint64{1, 2}, appendString(appendString(nil, "name"), ""))
	f.Add(create)
	put := appendString(appendString(appendString(nil, "w"), "meta"), cursor.New(1).AppendTo(nil))
	f.Add(appendOp(create, opPutCursor, []uint64{1}, put))
	f.Add(appendOp(create, opTrimChannel, []uint64{1, 1 << 63}, nil))
	f.Add(appendOp(create, opSetChannel, []uint64{1}, appendString(nil, `{"compression":"s2"}`)))
	f.Add(appendOp(create, opDeleteChannel, []uint64{1}, nil))
	f.Add(appendOp(nil, opDeleteSession, []uint64{300}, appendString(nil, "x")))
	f.Fuzz(func(t *testing.T, body []byte) {
		p := &Partition{byID: map[record.ChannelID]*Channel{}, names: newNames(), sessions: newSessions()}
		p.opts.EnsureDefaults()
		p.metrics, _ = newMetrics(nil)
		_ = p.applyCommand(&record.Batch{Body: body})
		p.publish()
		for id, c := range p.byID {
			require.Same(t, c, p.names.get(c.name))
			require.EqualValues(t, id, c.id.Load())
			require.LessOrEqual(t, c.First(), c.Last()+1)
		}
	})
}

// Aim: a channel's state in the index is read as it was written, or refused.
// Method: fuzz; what is read is written again and read to be equal.
func FuzzChannelState(f *testing.F) {
	p := &Partition{}
	c := p.newChannel("orders")
	c.settings.Store(&settings{encoded: []byte(`{"compression":"zstd"}`)})
	c.created.Store(1)
	c.first.Store(3)
	c.last.Store(1 << 40)
	c.records.Store(1<<40 - 2)
	f.Add(c.appendState(nil))
	f.Add([]byte{1, 1, 0, 0, 0, 0, 1, 'a', 0})
	f.Fuzz(func(t *testing.T, value []byte) {
		c, err := p.decodeChannel(value)
		if err != nil {
			return
		}
		require.NoError(t, ValidateName(c.name))
		require.LessOrEqual(t, c.First(), c.Last()+1)
		d, err := p.decodeChannel(c.appendState(nil))
		require.NoError(t, err)
		require.Equal(t, c.Info(), d.Info())
	})
}

// Aim: as FuzzChannelState, for cursors.
func FuzzCursorState(f *testing.F) {
	place := cursor.New(5)
	place.Sent(20)
	place.Ack(7)
	f.Add((&cursorState{meta: []byte("meta"), place: place}).appendState(nil))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, value []byte) {
		s, err := decodeCursorState(value)
		if err != nil {
			return
		}
		again, err := decodeCursorState(s.appendState(nil))
		require.NoError(t, err)
		require.Equal(t, s.meta, again.meta)
		require.True(t, s.place.Equal(again.place))
	})
}

// Aim: sizes that items are given are upper bounds of what they take. Method:
// each operation with the largest numbers.
func TestOpBytesMax(t *testing.T) {
	huge := ^uint64(0)
	strings := make([]byte, 1<<20)
	for o := opCreateChannel; o <= opDeleteSession; o++ {
		command := record.AppendCommand(nil, 1, huge, -1, appendOp(nil, o, []uint64{huge, huge}, strings))
		require.LessOrEqual(t, len(command), commandBytesMax+opBytesMax+len(strings))
	}
}

// Aim: order of watermarks is checked. Method: each order that is wrong.
func TestWatermarksCheck(t *testing.T) {
	require.NoError(t, Watermarks{1, 1, 1, 1}.check())
	require.NoError(t, Watermarks{1, 2, 3, 4}.check())
	require.Error(t, Watermarks{3, 2, 3, 4}.check())
	require.Error(t, Watermarks{1, 4, 3, 4}.check())
	require.Error(t, Watermarks{1, 2, 5, 4}.check())
}
