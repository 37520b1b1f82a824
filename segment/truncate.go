package segment

import (
	"fmt"
	"slices"
)

// TruncateSuffix removes the entries from the given index to the last one. It
// is durable on return. The entries' bytes stay in the file behind a bound; the
// next append goes to a new segment. Readers that hold a lease may still see
// them. Removing from Last()+1 does nothing.
func (l *Log) TruncateSuffix(from uint64) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	tip := l.app.tip
	if from == tip.Index+1 {
		return nil
	}
	if from <= l.base.Index || from > tip.Index {
		return fmt.Errorf("%w: cannot remove from %d, entries are %d to %d", ErrNotFound, from, l.base.Index+1, tip.Index)
	}
	// What follows is read without mu: it changes under writeMu or fileMu only.
	cut := slices.IndexFunc(l.segments, func(s *segment) bool { return s.last.Index >= from })
	keep := l.segments[:cut]
	var bounded *truncated
	if s := l.segments[cut]; s.first() < from {
		t, err := l.planTruncate(s, from)
		if err != nil {
			return err
		}
		bounded, keep = t, l.segments[:cut+1]
	}
	if n := len(keep); bounded == nil && n > 0 && keep[n-1].state == StateFull {
		// It becomes the last one, and may have no bound: part of a footer, when a
		// crash interrupts its writing, would look like a damaged tail then.
		// Segments are sealed in their order.
		for _, s := range keep {
			if s.state != StateFull {
				continue
			}
			if err := l.seal(s); err != nil {
				return fmt.Errorf("seal segment %d: %w", s.id, err)
			}
		}
	}
	drop := l.segments[len(keep):]
	tip = l.base
	switch {
	case bounded != nil:
		tip = bounded.last
	case len(keep) > 0:
		tip = keep[len(keep)-1].last
	}
	err := l.editManifest(func(m *manifest) {
		if bounded != nil {
			r := m.row(bounded.seg.id)
			r.Bound, r.End, r.FirstIndex, r.Last, r.Records = BoundSuffix, bounded.end, bounded.seg.first(), bounded.last, bounded.index.records
		}
		for _, s := range drop {
			m.row(s.id).State = fileRetired
		}
	})
	if err != nil {
		return fmt.Errorf("truncate from entry %d: %w", from, err)
	}
	l.fill.leave()
	l.mu.Lock()
	if bounded != nil {
		bounded.apply()
	}
	l.retire(len(keep), len(l.segments))
	l.last, l.active = tip, nil
	if n := len(l.segments); n > 0 && l.segments[n-1].state == StateActive {
		l.segments[n-1].state = StateFull
	}
	l.mu.Unlock()
	l.app.tip = tip
	l.signal()
	return nil
}

// truncated is what a segment becomes when its end is taken back.
type truncated struct {
	seg   *segment
	end   uint32
	last  Tip
	index *memIndex
}

// planTruncate finds the end of the entries below from.
func (l *Log) planTruncate(s *segment, from uint64) (*truncated, error) {
	lease, err := l.Acquire(s.id)
	if err != nil {
		return nil, err
	}
	defer lease.Release()
	h, _, err := lease.frame(from-1, false)
	if err != nil {
		return nil, err
	}
	l.mu.RLock()
	end := s.position(from-1) + h.FrameBytes
	l.mu.RUnlock()
	t := &truncated{seg: s, end: end, last: Tip{Index: h.Index, Term: h.Term, Chain: h.Chain}}
	t.index, err = l.scanIndex(s, s.mapping, t.end, t.last)
	return t, err
}

// apply shows the change to readers. The caller holds Log.mu.
func (t *truncated) apply() {
	s := t.seg
	s.bound, s.end, s.last, s.records = BoundSuffix, t.end, t.last, t.index.records
	// An unmapped segment gets its index when it is loaded again.
	if s.mapping != nil {
		s.index, s.foot = t.index, nil
	}
}

// retire takes segments from..to out of the list. The caller holds mu and has
// changed the manifest.
func (l *Log) retire(from, to int) {
	for _, s := range l.segments[from:to] {
		s.state = StateRetired
		l.retired = append(l.retired, s)
	}
	l.segments = slices.Delete(l.segments, from, to)
}

// TruncatePrefix drops the whole segments whose last entry is not above
// through, but never the active one. It is durable on return. A file goes when
// its last lease is released. First moves up to the first entry that is kept.
func (l *Log) TruncatePrefix(through uint64) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	n := 0
	for n < len(l.segments) && l.segments[n] != l.active && l.segments[n].last.Index <= through {
		n++
	}
	if n == 0 {
		return nil
	}
	base := l.segments[n-1].last
	err := l.editManifest(func(m *manifest) {
		m.Base = base
		for _, s := range l.segments[:n] {
			m.row(s.id).State = fileRetired
		}
	})
	if err != nil {
		return fmt.Errorf("drop entries through %d: %w", base.Index, err)
	}
	l.mu.Lock()
	l.base = base
	l.retire(0, n)
	l.mu.Unlock()
	l.signal()
	return nil
}

// Reset drops all entries. The log goes on behind base, for instance after a
// snapshot was installed. It is durable on return.
func (l *Log) Reset(base Tip) error {
	l.writeMu.Lock()
	defer l.writeMu.Unlock()
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	if err := l.writable(); err != nil {
		return err
	}
	err := l.editManifest(func(m *manifest) {
		m.Base = base
		for _, s := range l.segments {
			m.row(s.id).State = fileRetired
		}
	})
	if err != nil {
		return fmt.Errorf("reset to entry %d: %w", base.Index, err)
	}
	l.fill.leave()
	l.mu.Lock()
	l.base, l.last, l.active = base, base, nil
	l.retire(0, len(l.segments))
	l.mu.Unlock()
	l.app.tip = base
	l.signal()
	return nil
}
