package cursor

import (
	"cmp"
	"slices"

	"leat.dev/leat/segment/record"
)

// changedMax bounds what is remembered between two deltas, for acknowledged
// spans and for counts each. Past it the next delta is the whole cursor, which
// is hardly larger then.
const changedMax = 4096

// changes is what the log does not have yet. The floor and lastSent are not in
// it: every delta carries them.
type changes struct {
	whole    bool            // the next delta must be the whole cursor
	acks     uint64          // acknowledgements since the last delta
	spans    []span          // acknowledged above the floor, unsorted, may overlap
	counts   []record.Offset // offsets whose count changed, may repeat
	floor    record.Offset   // as logged
	lastSent record.Offset   // as logged
}

// acked notes a span that was acknowledged above the floor.
func (l *changes) acked(floor, from, to record.Offset) {
	if l.whole {
		return
	}
	if n := len(l.spans); n > 0 && l.spans[n-1].to+1 == from {
		l.spans[n-1].to = to
		return
	}
	if len(l.spans) >= changedMax {
		l.compact(floor)
		if len(l.spans) > changedMax/2 {
			l.giveUp()
			return
		}
	}
	l.spans = append(l.spans, span{from, to})
}

// counted notes that the count of an offset changed.
func (l *changes) counted(offset record.Offset) {
	if l.whole {
		return
	}
	if len(l.counts) >= changedMax {
		l.giveUp()
		return
	}
	l.counts = append(l.counts, offset)
}

// compact sorts and joins the spans and drops what is not above the floor.
func (l *changes) compact(floor record.Offset) {
	slices.SortFunc(l.spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	kept := l.spans[:0]
	for _, s := range l.spans {
		if s.to <= floor {
			continue
		}
		s.from = max(s.from, floor+1)
		if n := len(kept); n > 0 && s.from <= kept[n-1].to+1 {
			kept[n-1].to = max(kept[n-1].to, s.to)
			continue
		}
		kept = append(kept, s)
	}
	l.spans = kept
}

// giveUp stops remembering: the next delta is whole.
func (l *changes) giveUp() {
	l.whole = true
	l.spans, l.counts = l.spans[:0], l.counts[:0]
}

// logged notes that the log has everything now.
func (l *changes) logged(floor, lastSent record.Offset) {
	l.whole = false
	l.acks = 0
	l.spans, l.counts = l.spans[:0], l.counts[:0]
	l.floor, l.lastSent = floor, lastSent
}

// UnloggedAcks returns how many acknowledgements the last delta does not have.
func (c *Cursor) UnloggedAcks() uint64 { return c.log.acks }

// Dirty reports whether the cursor has changed since the last delta.
func (c *Cursor) Dirty() bool {
	l := &c.log
	return l.whole || l.acks > 0 || len(l.counts) > 0 || l.floor != c.floor || l.lastSent != c.lastSent
}

// Relog makes the next delta a whole cursor. Call it when a delta did not
// reach the log.
func (c *Cursor) Relog() { c.log.giveUp() }
