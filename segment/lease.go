package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"runtime/debug"
	"slices"
	"sort"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Lease keeps a segment readable: its file mapped, whatever the log does with
// it meanwhile. All methods but Release may be called at once.
type Lease struct {
	log *Log
	seg *segment
}

// Acquire takes a lease on a segment. It returns ErrGone when the log does not
// hold the segment (any more), and a *CorruptionError when a sealed one is not
// what was sealed.
func (l *Log) Acquire(id record.SegmentID) (*Lease, error) {
	return l.acquire(func() *segment {
		i, ok := slices.BinarySearchFunc(l.segments, id, func(s *segment, id record.SegmentID) int { return int(int64(s.id) - int64(id)) })
		if !ok {
			return nil
		}
		return l.segments[i]
	})
}

// AcquireActive takes a lease on the segment that is appended to. It returns
// ErrGone when the next append will make it.
func (l *Log) AcquireActive() (*Lease, error) {
	return l.acquire(func() *segment { return l.active })
}

// AcquireIndex takes a lease on the segment that holds an entry. It returns
// ErrNotFound when there is no such entry.
func (l *Log) AcquireIndex(index uint64) (*Lease, error) {
	lease, err := l.acquire(func() *segment { return l.find(index) })
	if errors.Is(err, ErrGone) {
		return nil, fmt.Errorf("%w: index %d", ErrNotFound, index)
	}
	return lease, err
}

// acquire looks a segment up and refers to it in one step, then loads it if
// need be. find is called with mu held.
func (l *Log) acquire(find func() *segment) (*Lease, error) {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil, ErrClosed
	}
	s := find()
	if s == nil {
		l.mu.Unlock()
		return nil, ErrGone
	}
	s.leases++
	l.clock++
	s.usedAt = l.clock
	for !s.loaded() {
		if wait := s.loading; wait != nil {
			l.mu.Unlock()
			<-wait
			l.mu.Lock()
			continue
		}
		if err := l.load(s); err != nil {
			l.releaseLocked(s)
			l.mu.Unlock()
			return nil, err
		}
	}
	l.mu.Unlock()
	return &Lease{log: l, seg: s}, nil
}

func (s *segment) loaded() bool { return s.mapping != nil && (s.index != nil || s.foot != nil) }

// load maps a sealed segment. The caller holds mu, which is let go meanwhile,
// and a reference to the segment.
func (l *Log) load(s *segment) error {
	done := make(chan struct{})
	s.loading = done
	want := trailer{Segment: s.id, Partition: l.o.Partition, End: s.end, Prev: s.prev, Last: s.last, Hash: s.sealedHash, CRC: s.sealedCRC}
	bounded := s.bound != BoundNone
	l.mu.Unlock()
	mapping, foot, index, err := l.openSealed(s, &want, bounded)
	l.mu.Lock()
	s.loading = nil
	close(done)
	if err != nil {
		return err
	}
	if bounded != (s.bound != BoundNone) || want.End != s.end {
		// It was truncated meanwhile. The caller tries again.
		return mapping.Close()
	}
	s.mapping, s.foot, s.index = mapping, foot, index
	l.trimMapped()
	return nil
}

// openSealed maps a sealed segment and checks its footer against want. The
// index of a bounded one is made from its frames, as the footer may tell of
// entries behind the bound.
func (l *Log) openSealed(s *segment, want *trailer, bounded bool) (m vfs.Mapping, foot *footer, index *memIndex, err error) {
	f, err := l.o.FS.Open(s.path)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("open segment %d: %w", s.id, err)
	}
	if m, err = f.Map(int64(s.fileBytes)); err != nil {
		return nil, nil, nil, errors.Join(fmt.Errorf("map segment %d: %w", s.id, err), f.Close())
	}
	if err = f.Close(); err == nil {
		foot, index, err = l.readSealed(s, m, want, bounded)
	}
	if err != nil {
		return nil, nil, nil, errors.Join(err, m.Close())
	}
	return m, foot, index, nil
}

func (l *Log) readSealed(s *segment, m vfs.Mapping, want *trailer, bounded bool) (foot *footer, index *memIndex, err error) {
	defer catchFault(debug.SetPanicOnFault(true), &err)
	size := int64(s.fileBytes)
	if err := m.Populate(size-trailerBytes, trailerBytes); err != nil {
		return nil, nil, fmt.Errorf("read trailer of segment %d: %w", s.id, err)
	}
	b := m.Bytes()
	n := int64(trailerFooterBytes(b))
	if n > 0 && n <= size {
		if err := m.Populate(size-n, n); err != nil {
			return nil, nil, fmt.Errorf("read footer of segment %d: %w", s.id, err)
		}
	}
	foot, err = parseFooter(b, size)
	if err == nil {
		err = foot.matches(want, bounded)
	}
	if err != nil {
		return nil, nil, l.corrupt(s, s.fileBytes-trailerBytes, 0, err)
	}
	if !bounded {
		return foot, nil, nil
	}
	index, err = l.scanIndex(s, m, want.End, want.Last)
	return nil, index, err
}

// matches compares a footer with what the manifest says of the segment.
func (f *footer) matches(want *trailer, bounded bool) error {
	ok := f.Segment == want.Segment && f.Partition == want.Partition && f.Hash == want.Hash && f.CRC == want.CRC && f.Prev == want.Prev
	if bounded {
		ok = ok && f.End >= want.End
	} else {
		ok = ok && f.End == want.End && f.Last == want.Last
	}
	if !ok {
		return fmt.Errorf("%w: footer of segment %d, entries %d to %d, hash %016x; the manifest says segment %d, %d to %d, %016x",
			record.ErrFormat, f.Segment, f.Prev.Index+1, f.Last.Index, f.Hash, want.Segment, want.Prev.Index+1, want.Last.Index, want.Hash)
	}
	return nil
}

// scanIndex makes the index of the entries that end at end, from the frames.
func (l *Log) scanIndex(s *segment, m vfs.Mapping, end uint32, last Tip) (*memIndex, error) {
	index := newMemIndex()
	got, err := scanFrames(&fileBytes{b: m.Bytes(), mapping: m}, end, l.o.Partition, s.id, index.visit)
	if err != nil {
		return nil, fmt.Errorf("scan segment %d: %w", s.id, err)
	}
	if got.Bad == nil && (got.Stop != end || got.Tip != last) {
		got.Bad = fmt.Errorf("%w: entries end at %d with %d, want %d with %d", record.ErrFormat, got.Stop, got.Tip.Index, end, last.Index)
	}
	if got.Bad != nil {
		return nil, l.corrupt(s, got.Stop, got.Tip.Index+1, got.Bad)
	}
	return index, nil
}

// trimMapped unmaps the sealed segments that were not used for longest, down to
// the limit. The caller holds mu, without which nobody gets a lease.
func (l *Log) trimMapped() {
	l.released = 0
	var idle []*segment
	for _, s := range l.segments {
		if s.state == StateSealed && s.leases == 0 && s.mapping != nil && s.loading == nil {
			idle = append(idle, s)
		}
	}
	if len(idle) <= l.o.MappedIdleMax {
		return
	}
	slices.SortFunc(idle, func(a, b *segment) int { return int(int64(a.usedAt) - int64(b.usedAt)) })
	for _, s := range idle[:len(idle)-l.o.MappedIdleMax] {
		if err := s.mapping.Close(); err != nil {
			l.o.Logger.Warn("unmap segment", "partition", l.o.Partition, "file", s.path, "err", err)
		}
		s.mapping, s.foot, s.index = nil, nil, nil
	}
}

// Release ends the lease. Nothing that was read under it may be touched
// afterwards. It must be called once.
func (s *Lease) Release() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.releaseLocked(s.seg)
	s.seg = nil
}

func (l *Log) releaseLocked(s *segment) {
	if s.leases--; s.leases > 0 {
		return
	}
	switch {
	case l.closed:
		if err := l.closeSegment(s); err != nil {
			l.o.Logger.Warn("close segment", "partition", l.o.Partition, "file", s.path, "err", err)
		}
	case s.state == StateRetired:
		l.signal()
	case s.state == StateSealed && s.mapping != nil:
		// Counting them costs a look at each segment, so not at every release.
		if l.released++; l.released > l.o.MappedIdleMax {
			l.trimMapped()
		}
	}
}

// ID is the segment's.
func (s *Lease) ID() record.SegmentID { return s.seg.id }

// Sealed tells whether the segment will not grow any more.
func (s *Lease) Sealed() bool {
	s.log.mu.RLock()
	defer s.log.mu.RUnlock()
	return s.seg.state != StateActive
}

// Info describes the segment as it is now.
func (s *Lease) Info() Info {
	s.log.mu.RLock()
	defer s.log.mu.RUnlock()
	return s.seg.info()
}

// Extents calls visit for each channel that has batches in the segment, by
// channel, until it returns false. name is valid until Release. The active
// segment's extents include entries that are durable and not committed.
func (s *Lease) Extents(visit func(ch record.ChannelID, name []byte, e Extent) bool) {
	s.log.mu.RLock()
	foot, index := s.seg.foot, s.seg.index
	if index == nil {
		s.log.mu.RUnlock()
		foot.extents(visit)
		return
	}
	type row struct {
		name []byte
		e    Extent
	}
	rows := make(map[record.ChannelID]row, len(index.channels))
	for id, c := range index.channels {
		if id != 0 {
			rows[id] = row{name: c.name, e: c.extent(id)}
		}
	}
	s.log.mu.RUnlock()
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if !visit(id, rows[id].name, rows[id].e) {
			return
		}
	}
}

func (c *channelIndex) extent(id record.ChannelID) Extent {
	return Extent{
		First: record.Offset(c.refs[0].base), Last: c.refs[len(c.refs)-1].last(id), TimeMin: c.timeMin, TimeMax: c.timeMax,
		Records: c.records, Batches: uint64(len(c.refs)), Bytes: c.bytes,
	}
}

// Seek returns an iterator over the batches of a channel in the segment, from
// the first one that holds off or a later offset. Channel 0 has the commands.
func (s *Lease) Seek(ch record.ChannelID, off record.Offset) Iterator {
	it := s.iterate(ch)
	it.next = sort.Search(it.refs.len(), func(i int) bool {
		r := it.refs.at(i)
		return r.last(ch) >= off
	})
	return it
}

// SeekTime is Seek for the first batch of at least the given time. Where time
// went back in the log, batches that follow may be earlier.
func (s *Lease) SeekTime(ch record.ChannelID, ns int64) Iterator {
	it := s.iterate(ch)
	for n := it.refs.len(); it.next < n && it.refs.at(it.next).time < ns; it.next++ {
	}
	return it
}

// catchFault turns a fault of mapped memory into an error. It is deferred with
// the setting that it restores. Populating makes faults rare; this is the belt
// for a page that went bad in between.
func catchFault(before bool, err *error) {
	debug.SetPanicOnFault(before)
	switch r := recover().(type) {
	case nil:
	case interface{ Addr() uintptr }:
		*err = fmt.Errorf("read mapped segment: fault at %#x: the file could not be read or was cut", r.Addr())
	default:
		panic(r)
	}
}

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }
