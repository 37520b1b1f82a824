package segment_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Aim: what was appended is there, over rolls and restarts, on memory and on
// the operating system's files. Method: random entries, the checker of the
// harness after each step.
func TestAppendReadReopen(t *testing.T) {
	for _, c := range []struct {
		name string
		fs   vfs.FS
	}{{"mem", vfs.NewMem()}, {"os", vfs.OS{}}} {
		t.Run(c.name, func(t *testing.T) {
			o := options(c.fs)
			if c.name == "os" {
				o.Dir = t.TempDir()
			}
			h := newHistory(1)
			for range 4 {
				l := open(t, o)
				h.check(t, l)
				require.Equal(t, segment.TailClean, l.Recovery().Tail)
				for range 15 {
					require.NoError(t, l.Append(h.make(1+h.rng.IntN(4), 5000)))
					last, term := l.Last()
					require.Equal(t, h.last(), last)
					require.Equal(t, h.term, term)
				}
				h.check(t, l)
				closeLog(t, l)
			}
			l := open(t, o)
			defer closeLog(t, l)
			require.Greater(t, len(l.Segments()), 5)
			h.check(t, l)
		})
	}
}

// Aim: a call may span several segments. Method: one call with more than fits
// into three.
func TestAppendSpansSegments(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	h := newHistory(2)
	require.NoError(t, l.Append(h.make(60, 9000)))
	require.Greater(t, len(l.Segments()), 3)
	h.check(t, l)
	closeLog(t, l)
	l = open(t, options(fs))
	h.check(t, l)
	closeLog(t, l)
}

// Aim: what does not continue the log or is no entry is refused, and the log is
// as before. Method: a table of one wrong thing each.
func TestAppendRefuses(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	defer closeLog(t, l)
	h := newHistory(3)
	h.term = 5
	require.NoError(t, l.Append(h.make(3, 100)))
	ok := batch(1, 1, 1, "x")
	noop := func(index, term uint64) segment.Entry {
		return segment.Entry{Index: index, Term: term, Type: record.FrameNoop}
	}
	for _, c := range []struct {
		name    string
		entries []segment.Entry
		want    error
	}{
		{"gap", []segment.Entry{noop(5, 5)}, segment.ErrOrder},
		{"again", []segment.Entry{noop(3, 5)}, segment.ErrOrder},
		{"gap inside", []segment.Entry{noop(4, 5), noop(6, 5)}, segment.ErrOrder},
		{"older term", []segment.Entry{noop(4, 4)}, segment.ErrOrder},
		{"marker", []segment.Entry{{Index: 4, Term: 5, Type: record.FrameSyncMarker}}, segment.ErrEntry},
		{"no type", []segment.Entry{{Index: 4, Term: 5}}, segment.ErrEntry},
		{"empty data", []segment.Entry{{Index: 4, Term: 5, Type: record.FrameData}}, segment.ErrEntry},
		{"cut batch", []segment.Entry{{Index: 4, Term: 5, Type: record.FrameData, Payload: ok[:len(ok)-8]}}, segment.ErrEntry},
		{"large", []segment.Entry{{Index: 4, Term: 5, Type: record.FrameConfiguration, Payload: make([]byte, segment.SegmentBytesMin)}}, segment.ErrTooLarge},
		{"large after others", []segment.Entry{noop(4, 5), {Index: 5, Term: 5, Type: record.FrameConfiguration, Payload: make([]byte, 17<<20)}}, segment.ErrTooLarge},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.ErrorIs(t, l.Append(c.entries), c.want)
			require.NoError(t, l.Poisoned())
			h.check(t, l)
		})
	}
	require.NoError(t, l.Append(nil))
	require.NoError(t, l.Append(h.make(1, 10)))
	require.NoError(t, l.Append([]segment.Entry{{Index: 5, Term: 6, Type: record.FrameConfiguration, Payload: make([]byte, l.PayloadBytesMax())}}))
}
