package cursor_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// model is a cursor as one would write it without a thought for cost.
type model struct {
	floor, sent record.Offset
	acked       map[record.Offset]bool
	counts      map[record.Offset]uint32
}

func (m *model) pending(o record.Offset) bool {
	return o > m.floor && o <= m.sent && !m.acked[o]
}

func (m *model) ack(o record.Offset) bool {
	if !m.pending(o) {
		return false
	}
	m.acked[o] = true
	delete(m.counts, o)
	m.settle()
	return true
}

func (m *model) settle() {
	for m.acked[m.floor+1] {
		delete(m.acked, m.floor+1)
		m.floor++
	}
}

func (m *model) moveFirst(first record.Offset) (n uint64) {
	for o := m.floor + 1; o < first; o++ {
		if m.ack(o) {
			n++
		}
	}
	if first > 0 && m.floor < first-1 {
		m.floor = first - 1
		m.sent = max(m.sent, m.floor)
	}
	m.settle()
	return n
}

func (m *model) check(t *rapid.T, c *cursor.Cursor) {
	require.Equal(t, m.floor, c.Floor())
	require.Equal(t, m.sent, c.LastSent())
	var want []record.Offset
	for o := m.floor + 1; o <= m.sent; o++ {
		require.Equal(t, !m.pending(o), c.Acked(o), "acked %d", o)
		if m.pending(o) {
			want = append(want, o)
			require.Equal(t, m.counts[o], c.Redeliveries(o), "redeliveries of %d", o)
		}
	}
	require.EqualValues(t, len(want), c.PendingCount())
	var got []record.Offset
	for o := range c.Pending() {
		got = append(got, o)
	}
	require.Equal(t, want, got)
}

// Aim: the cursor says what a naive model says after any history, its bytes
// read back as an equal cursor, and a replica that is fed only the deltas stays
// equal. Method: random histories of sends, acknowledgements of single offsets
// and of ranges (late, early, twice), gone records, redeliveries, lost and
// applied deltas; compared after each step.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := record.Offset(rapid.IntRange(0, 5).Draw(t, "start"))
		c, replica := cursor.New(start), cursor.New(start)
		m := &model{acked: map[record.Offset]bool{}, counts: map[record.Offset]uint32{}}
		if start > 0 {
			m.floor, m.sent = start-1, start-1
		}
		near := func(name string) record.Offset {
			lo := max(int(m.floor)-3, 0)
			return record.Offset(rapid.IntRange(lo, int(m.sent)+3).Draw(t, name))
		}
		t.Repeat(map[string]func(*rapid.T){
			"send": func(t *rapid.T) {
				o := m.sent + record.Offset(rapid.IntRange(0, 400).Draw(t, "by"))
				c.Sent(o)
				m.sent = max(m.sent, o)
			},
			"ack": func(t *rapid.T) {
				o := near("offset")
				require.Equal(t, m.ack(o), c.Ack(o))
			},
			"ack every second": func(t *rapid.T) {
				from := near("from")
				for o := from; o < from+300; o += 2 {
					require.Equal(t, m.ack(o), c.Ack(o))
				}
			},
			"ack range": func(t *rapid.T) {
				from, to := near("from"), near("to")
				var n uint64
				for o := from; o <= to; o++ {
					if m.ack(o) {
						n++
					}
				}
				require.Equal(t, n, c.AckRange(from, to))
			},
			"move first": func(t *rapid.T) {
				first := near("first")
				require.Equal(t, m.moveFirst(first), c.MoveFirst(first))
			},
			"redeliver": func(t *rapid.T) {
				o := near("offset")
				if m.pending(o) {
					m.counts[o]++
				}
				require.Equal(t, m.counts[o], c.Redeliver(o))
			},
			"log": func(t *rapid.T) {
				delta := c.AppendDelta(nil)
				require.False(t, c.Dirty())
				require.NoError(t, replica.ApplyDelta(delta))
				require.True(t, c.Equal(replica), "%v\n%v", c, replica)
			},
			"log lost": func(*rapid.T) {
				c.AppendDelta(nil)
				c.Relog()
			},
			"restart": func(t *rapid.T) {
				d, err := cursor.Decode(c.AppendTo(nil))
				require.NoError(t, err)
				require.True(t, c.Equal(d), "%v\n%v", c, d)
				d.Relog()
				c = d
			},
			"": func(t *rapid.T) { m.check(t, c) },
		})
	})
}
