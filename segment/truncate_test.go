package segment_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// cut takes entries back in the history as Raft does, and changes the term so
// that what follows differs.
func (h *history) cut(from uint64) {
	h.entries = h.entries[:from-h.base-1]
	h.term++
	h.renumber()
}

// renumber finds the offsets that follow what is there.
func (h *history) renumber() {
	clear(h.next)
	for _, e := range h.entries {
		if e.Type == record.FrameData {
			_, err := record.CountBatches(e.Payload, func(_ int, b *record.Batch) error {
				h.next[b.Channel] = b.Last()
				return nil
			})
			if err != nil {
				panic(err)
			}
		}
	}
}

// Aim: entries that were taken back are gone for good, and the log goes on with
// others, wherever the cut is. Method: cut at each index of a log of several
// segments, look, append, look, reopen, look.
func TestTruncateSuffix(t *testing.T) {
	for from := uint64(1); from <= 25; from++ {
		fs := vfs.NewMem()
		l := open(t, options(fs))
		h := newHistory(4)
		for range 24 {
			require.NoError(t, l.Append(h.make(1, 14000)))
		}
		require.Greater(t, len(l.Segments()), 3)
		require.NoError(t, l.TruncateSuffix(from))
		h.cut(from)
		last, _ := l.Last()
		require.Equal(t, from-1, last)
		h.check(t, l)
		if from%2 == 0 {
			closeLog(t, l)
			l = open(t, options(fs))
			h.check(t, l)
		}
		require.NoError(t, l.Append(h.make(5, 14000)))
		h.check(t, l)
		closeLog(t, l)
		l = open(t, options(fs))
		h.check(t, l)
		require.Empty(t, l.Recovery().Orphans)
		closeLog(t, l)
	}
}

// Aim: cutting again and again, also inside of what was cut before, and inside
// of a sealed segment, keeps the rest. Method: cuts of growing depth with
// appends in between.
func TestTruncateSuffixAgain(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	h := newHistory(5)
	require.NoError(t, l.Append(h.make(30, 9000)))
	for depth := uint64(1); depth < 20; depth += 3 {
		closeLog(t, l) // seals what is full
		l = open(t, options(fs))
		depth := min(depth, h.last())
		require.NoError(t, l.TruncateSuffix(h.last()-depth+1))
		h.cut(h.last() - depth + 1)
		h.check(t, l)
		require.NoError(t, l.Append(h.make(3, 9000)))
		h.check(t, l)
	}
	require.ErrorIs(t, l.TruncateSuffix(h.last()+2), segment.ErrNotFound)
	require.ErrorIs(t, l.TruncateSuffix(0), segment.ErrNotFound)
	require.NoError(t, l.TruncateSuffix(h.last()+1))
	h.check(t, l)
	closeLog(t, l)
}

// Aim: whole segments go from the front, the active one never, and the entry
// before the first stays known. Method: drop through each index in turn.
func TestTruncatePrefix(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	h := newHistory(6)
	for range 40 {
		require.NoError(t, l.Append(h.make(1, 14000)))
	}
	chains := map[uint64]uint64{}
	for i := uint64(1); i <= h.last(); i++ {
		hd, err := l.Header(i)
		require.NoError(t, err)
		chains[i] = hd.Chain
	}
	for through := uint64(0); through <= h.last(); through++ {
		before := l.Segments()
		require.NoError(t, l.TruncatePrefix(through))
		h.check(t, l)
		require.LessOrEqual(t, l.First(), through+1)
		if base := l.Base(); base.Index > 0 {
			require.Equal(t, segment.Tip{Index: base.Index, Term: 1, Chain: chains[base.Index]}, base)
		}
		if len(before) > 1 && before[0].Last <= through {
			require.Greater(t, l.First(), before[0].Last)
		}
		if through%7 == 0 {
			base := l.Base()
			closeLog(t, l)
			l = open(t, options(fs))
			require.Equal(t, base, l.Base())
			h.check(t, l)
		}
	}
	require.Len(t, l.Segments(), 1)
	closeLog(t, l)
	l = open(t, options(fs))
	h.check(t, l)
	closeLog(t, l)
	names, err := fs.List("p")
	require.NoError(t, err)
	require.LessOrEqual(t, len(names), 5, "files of dropped segments are removed: %v", names)
}

// Aim: after Reset the log is empty and goes on behind the given entry. Method:
// reset, look, append, reopen.
func TestReset(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	h := newHistory(7)
	require.NoError(t, l.Append(h.make(20, 9000)))
	base := segment.Tip{Index: 1000, Term: 3, Chain: 0xabcdef}
	require.NoError(t, l.Reset(base))
	for range 2 {
		require.Equal(t, uint64(1001), l.First())
		last, term := l.Last()
		require.Equal(t, uint64(1000), last)
		require.Equal(t, uint64(3), term)
		require.Equal(t, base, l.Tip())
		require.Empty(t, l.Segments())
		closeLog(t, l)
		l = open(t, options(fs))
	}
	h = newHistory(8)
	h.base, h.term = 1000, 3
	require.NoError(t, l.Append(h.make(20, 9000)))
	h.check(t, l)
	closeLog(t, l)
	l = open(t, options(fs))
	h.check(t, l)
	closeLog(t, l)
}

// Aim: Roll makes everything droppable. Method: roll, drop all.
func TestRoll(t *testing.T) {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	require.NoError(t, l.Roll())
	require.Empty(t, l.Segments(), "nothing to roll")
	h := newHistory(9)
	require.NoError(t, l.Append(h.make(3, 100)))
	require.NoError(t, l.Roll())
	require.NoError(t, l.Roll())
	require.Len(t, l.Segments(), 2)
	require.NoError(t, l.TruncatePrefix(3))
	require.Equal(t, uint64(4), l.First())
	require.NoError(t, l.Append(h.make(3, 100)))
	h.check(t, l)
	closeLog(t, l)
	l = open(t, options(fs))
	h.check(t, l)
	closeLog(t, l)
}

// Aim: a log that was truncated where a segment ends opens after a crash while
// that segment's footer is written, and loses nothing. Method: fill a segment to
// its end, truncate to its last entry, cut the power at each call of the file
// system from there on.
func TestTruncateAtSegmentEnd(t *testing.T) {
	for after := range 24 {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		l := open(t, options(fault))
		h := newHistory(31)
		for l.Segments() == nil || len(l.Segments()) < 2 {
			require.NoError(t, l.Append(h.make(1, 600)))
		}
		from := l.Segments()[1].First
		var clones []*vfs.MemFS
		fault.Inject(vfs.Rule{After: after, Count: 1, Hook: func() {
			for _, share := range []float64{0, 0.5, 1} {
				clones = append(clones, mem.CrashClone(vfs.CrashOptions{UnsyncedShare: share, TearBytes: 512}))
			}
		}})
		require.NoError(t, l.TruncateSuffix(from))
		h.cut(from)
		closeLog(t, l)
		for _, clone := range append(clones, mem) {
			l := open(t, options(clone))
			last, _ := l.Last()
			require.GreaterOrEqual(t, last, from-1)
			require.Empty(t, l.Recovery().Orphans)
			closeLog(t, l)
			require.Empty(t, verify(t, clone).Findings)
		}
	}
}
