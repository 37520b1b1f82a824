package cursor_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// sample is a cursor with some of everything.
func sample() *cursor.Cursor {
	c := cursor.New(1000)
	c.Sent(2000)
	c.AckRange(1000, 1100)
	c.AckRange(1200, 1300)
	c.Ack(1500)
	c.Redeliver(1400)
	c.Redeliver(1400)
	c.Redeliver(1101)
	return c
}

// Aim: the bytes are those of the box in format.go. Method: a cursor and a
// delta written by hand.
func TestBytes(t *testing.T) {
	c := cursor.New(1)
	c.Sent(9)
	c.Ack(1)
	c.AckRange(4, 5)
	c.Ack(9)
	c.Redeliver(3)
	require.Equal(t, []byte{1, 1, 1, 8, 2, 1, 1, 2, 0, 1, 1, 1, 0}, c.AppendDelta(nil), "the first is whole")
	require.False(t, c.Dirty())
	c.Sent(11)
	c.Ack(7)
	c.Redeliver(2)
	require.True(t, c.Dirty())
	require.EqualValues(t, 1, c.UnloggedAcks())
	require.Equal(t, []byte{1, 2, 1, 10, 1, 4, 0, 1, 0, 1, 0}, c.AppendDelta(nil))
	require.Equal(t, "floor 1 acked 4-5,7,9 sent 11 again 2×1,3×1", c.String())
}

// Aim: cut short anywhere, continued, or with any bit flipped, the bytes give an
// error or a cursor that is written back as the same bytes; never a panic.
// Method: all of them.
func TestDamage(t *testing.T) {
	good := sample().AppendTo(nil)
	for n := range good {
		_, err := cursor.Decode(good[:n])
		require.ErrorIs(t, err, cursor.ErrMalformed, "cut at %d", n)
	}
	_, err := cursor.Decode(append(bytes.Clone(good), 0))
	require.ErrorIs(t, err, cursor.ErrMalformed)
	for bit := range 8 * len(good) {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if c, err := cursor.Decode(bad); err == nil {
			require.Equal(t, bad, c.AppendTo(nil), "bit %d", bit)
		}
	}
}

// Aim: what is no cursor is refused with the right error, and a refused delta
// changes nothing. Method: one of each kind.
func TestRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		src  []byte
		want error
	}{
		"empty":                 {nil, cursor.ErrMalformed},
		"version":               {[]byte{2, 1, 0, 0, 0, 0, 0}, cursor.ErrVersion},
		"kind":                  {[]byte{1, 3, 0, 0, 0, 0, 0}, cursor.ErrMalformed},
		"a delta":               {[]byte{1, 2, 0, 0, 0, 0, 0}, cursor.ErrMalformed},
		"range past sent":       {[]byte{1, 1, 0, 3, 1, 0, 2, 0, 0}, cursor.ErrMalformed},
		"more ranges than fit":  {[]byte{1, 1, 0, 99, 99, 0, 0, 0, 0}, cursor.ErrMalformed},
		"count of acknowledged": {[]byte{1, 1, 0, 3, 1, 0, 0, 1, 1, 1, 0}, cursor.ErrMalformed},
		"count of zero":         {[]byte{1, 1, 0, 3, 0, 1, 0, 0, 0}, cursor.ErrMalformed},
		"not-before times":      {[]byte{1, 1, 0, 3, 0, 0, 1}, cursor.ErrMalformed},
		"overlong number":       {[]byte{1, 1, 0x80, 0, 3, 0, 0, 0}, cursor.ErrMalformed},
		"offset too large":      {[]byte{1, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 0, 0, 0, 0}, cursor.ErrMalformed},
	} {
		_, err := cursor.Decode(tc.src)
		require.ErrorIs(t, err, tc.want, name)
		if name == "a delta" {
			continue
		}
		c := sample()
		require.ErrorIs(t, c.ApplyDelta(tc.src), tc.want, name)
		require.True(t, c.Equal(sample()), name)
	}
}

// Aim: a cursor at the end of the range of offsets, and calls beyond it, do not
// wrap around. Method: the extremes.
func TestExtremes(t *testing.T) {
	c := cursor.New(1)
	c.Sent(cursor.OffsetMax)
	c.Sent(1<<64 - 1)
	require.Equal(t, cursor.OffsetMax, c.LastSent())
	require.True(t, c.Ack(cursor.OffsetMax))
	require.EqualValues(t, 2, c.AckRange(cursor.OffsetMax-2, 1<<64-1))
	require.False(t, c.Ack(1<<64-1))
	require.Zero(t, c.Redeliver(1<<64-1))
	require.Zero(t, c.MoveFirst(1<<64-1))
	d, err := cursor.Decode(c.AppendTo(nil))
	require.NoError(t, err)
	require.True(t, c.Equal(d))
	require.EqualValues(t, cursor.OffsetMax-3, c.MoveFirst(cursor.OffsetMax+1))
	require.Equal(t, cursor.OffsetMax, c.Floor())
	_, ok := c.NextPending(1<<64 - 1)
	require.False(t, ok)
}

// Aim: a cursor that changes in very many places between two deltas is written
// whole and remembers no more than its limit. Method: 20,000 acknowledgements,
// every second offset, then as many redeliveries.
func TestTooManyChanges(t *testing.T) {
	c, replica := cursor.New(1), cursor.New(1)
	step := func() byte {
		delta := c.AppendDelta(nil)
		require.NoError(t, replica.ApplyDelta(delta))
		require.True(t, c.Equal(replica))
		return delta[1]
	}
	c.Sent(40000)
	require.EqualValues(t, 1, step())
	for o := record.Offset(2); o <= 40000; o += 2 {
		require.True(t, c.Ack(o))
	}
	require.EqualValues(t, 1, step(), "whole")
	for o := record.Offset(1); o <= 40000; o += 2 {
		c.Redeliver(o)
	}
	require.EqualValues(t, 1, step(), "whole")
	require.EqualValues(t, 2, step(), "a delta")
	require.Equal(t, 20000, c.AckedRanges())
	for o := record.Offset(39999); o < 40000; o -= 2 {
		require.True(t, c.Ack(o))
	}
	require.EqualValues(t, 40000, c.Floor())
	require.Zero(t, c.AckedRanges())
}

// Aim: acknowledgements cost no allocation, whatever their order. Method: a
// window of 16,384 that moves on, acknowledged in random order.
func TestAckAllocatesNothing(t *testing.T) {
	c := cursor.New(1)
	rng := rand.New(rand.NewPCG(3, 4))
	order := rng.Perm(window)
	var buf []byte
	turn := func() {
		from := c.LastSent() + 1
		c.Sent(c.LastSent() + window)
		for i, k := range order {
			c.Ack(from + record.Offset(k))
			if i%1024 == 0 {
				buf = c.AppendDelta(buf[:0])
			}
		}
	}
	for range 3 {
		turn()
	}
	require.Zero(t, testing.AllocsPerRun(10, turn))
	require.Equal(t, c.LastSent(), c.Floor())
}

const window = 16384

func BenchmarkAck(b *testing.B) {
	rng := rand.New(rand.NewPCG(3, 4))
	inOrder := make([]int, window)
	for i := range inOrder {
		inOrder[i] = i
	}
	for name, order := range map[string][]int{"in order": inOrder, "random": rng.Perm(window)} {
		b.Run(name, func(b *testing.B) {
			c := cursor.New(1)
			b.ReportAllocs()
			for n := 0; n < b.N; n += window {
				from := c.LastSent() + 1
				c.Sent(c.LastSent() + window)
				for _, k := range order {
					c.Ack(from + record.Offset(k))
				}
			}
		})
	}
}

// Aim: no bytes make Decode or ApplyDelta panic, hang, or allocate beyond a
// multiple of their length, and what is taken is canonical. Method: fuzz; what
// decodes is written back and must be the same bytes.
func FuzzDecode(f *testing.F) {
	c := sample()
	f.Add(c.AppendDelta(nil))
	c.AckRange(1600, 1700)
	c.Redeliver(1999)
	f.Add(c.AppendDelta(nil))
	f.Add(cursor.New(1).AppendTo(nil))
	f.Add([]byte{1, 2, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, src []byte) {
		if c, err := cursor.Decode(src); err == nil {
			require.Equal(t, src, c.AppendTo(nil))
			require.LessOrEqual(t, c.Floor(), c.LastSent())
			o, ok := c.NextPending(c.Floor())
			require.Equal(t, c.PendingCount() > 0, ok)
			require.True(t, !ok || o == c.Floor()+1)
		}
		d := sample()
		if d.ApplyDelta(src) == nil {
			e, err := cursor.Decode(d.AppendTo(nil))
			require.NoError(t, err)
			require.True(t, d.Equal(e))
			require.False(t, d.Dirty())
		}
	})
}
