package partition

import (
	"errors"
	"fmt"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// Reader reads a channel forward from an offset, a batch at a time. It holds a
// lease on the segment that it is in, so that what it returned stays mapped; a
// reader that waits should Pause. Use by one goroutine at a time.
type Reader struct {
	c     *Channel
	next  record.Offset // the first offset that was not returned
	lease *segment.Lease
	it    segment.Iterator
	raw   []byte // of the batch that was inflated last
}

// NewReader returns a reader of the channel from the given offset on. What is
// below the channel's first offset is skipped.
func (c *Channel) NewReader(from record.Offset) *Reader {
	return &Reader{c: c, next: max(from, 1)}
}

// Offset is the next one that Next returns, if it is there.
func (r *Reader) Offset() record.Offset { return r.next }

// Next returns the next batch that was applied. Its records from first on are
// to be read; those before were there already, or are trimmed. The batch is
// verified and inflated; it is valid until the next call of any method. ok is
// false when everything was returned, and when the channel is gone. The error
// wraps ErrCorrupt when stored bytes are damaged.
func (r *Reader) Next(b *record.Batch) (first int, ok bool, err error) {
	last := r.c.Last() // before the look-up: it only grows
	r.next = max(r.next, r.c.First())
	if r.next > last || !r.c.Exists() {
		return 0, false, nil
	}
	// What was applied lies in some segment now. Segments up to left do not have
	// it, so each turn of the loop leaves one behind or returns.
	for left := record.SegmentID(0); ; {
		if r.lease == nil {
			if err := r.seek(left); err != nil {
				return 0, false, r.fail(err)
			}
		}
		more, err := r.it.Next(b)
		if err != nil {
			return 0, false, r.fail(err)
		}
		if !more {
			left = r.lease.ID()
			r.Pause()
			continue
		}
		if b.Last() < r.next {
			continue
		}
		if b.Base > last {
			// Stored, but not applied yet.
			r.Pause()
			return 0, false, nil
		}
		if r.raw, err = b.Inflate(r.raw); err != nil {
			return 0, false, r.fail(err)
		}
		if b.Base < r.next {
			first = int(r.next - b.Base)
		}
		r.next = b.Last() + 1
		return first, true, nil
	}
}

func (r *Reader) fail(err error) error {
	r.Pause()
	if errors.Is(err, segment.ErrCorrupt) || errors.Is(err, record.ErrFormat) || errors.Is(err, record.ErrChecksum) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return channelError(r.c.name, fmt.Errorf("read offset %d: %w", r.next, err))
}

// seek takes a lease on a segment that may have the next offset, behind left.
func (r *Reader) seek(left record.SegmentID) error {
	p, id := r.c.part, record.ChannelID(r.c.id.Load())
	// Before the look-up, or a segment that gets into the index between the two
	// would be seen by neither.
	indexed := record.SegmentID(p.indexed.Load())
	seg, _, ok, err := p.opts.Index.FindExtent(id, r.next)
	if err != nil {
		return err
	}
	if ok && seg > left {
		err := r.enter(seg, id)
		if err == nil || !errors.Is(err, segment.ErrGone) {
			return err
		}
	}
	// It is in a segment whose extents are not in the index yet.
	for _, info := range p.opts.Log.Segments() {
		if info.ID <= max(left, indexed) {
			continue
		}
		err := r.enter(info.ID, id)
		if err == nil || !errors.Is(err, segment.ErrGone) {
			return err
		}
	}
	return fmt.Errorf("%w: no segment behind %d has it", ErrCorrupt, max(left, indexed))
}

func (r *Reader) enter(seg record.SegmentID, id record.ChannelID) error {
	lease, err := r.c.part.opts.Log.Acquire(seg)
	if err != nil {
		return err
	}
	r.lease, r.it = lease, lease.Seek(id, r.next)
	return nil
}

// Pause gives up the lease; what Next returned is not valid any more. The
// reader goes on where it was.
func (r *Reader) Pause() {
	if r.lease != nil {
		r.lease.Release()
		r.lease = nil
	}
}

// Close ends the reader.
func (r *Reader) Close() { r.Pause() }

// OffsetAt returns the offset of the first record whose time is ns or later,
// and Last()+1 when there is none.
func (c *Channel) OffsetAt(ns int64) (record.Offset, error) {
	last := c.Last()
	off, ok, err := c.seekTime(ns)
	if err != nil {
		return 0, channelError(c.name, fmt.Errorf("look up time %d: %w", ns, err))
	}
	if !ok || off > last {
		return last + 1, nil
	}
	return max(off, c.First()), nil
}

func (c *Channel) seekTime(ns int64) (record.Offset, bool, error) {
	p, id := c.part, record.ChannelID(c.id.Load())
	indexed := record.SegmentID(p.indexed.Load()) // before the look-up, as in seek
	seg, e, ok, err := p.opts.Index.FindExtentAtTime(id, ns)
	if err != nil {
		return 0, false, err
	}
	if ok {
		if e.FirstTime >= ns {
			return e.First, true, nil
		}
		off, ok, err := p.timeIn(seg, id, ns)
		if ok || err != nil {
			return off, ok, err
		}
	}
	for _, info := range p.opts.Log.Segments() {
		if info.ID <= indexed {
			continue
		}
		off, ok, err := p.timeIn(info.ID, id, ns)
		if ok || err != nil {
			return off, ok, err
		}
	}
	return 0, false, nil
}

// timeIn finds a channel's first record of at least a time in one segment.
func (p *Partition) timeIn(seg record.SegmentID, id record.ChannelID, ns int64) (record.Offset, bool, error) {
	lease, err := p.opts.Log.Acquire(seg)
	if errors.Is(err, segment.ErrGone) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	defer lease.Release()
	it := lease.SeekTime(id, ns)
	var b record.Batch
	ok, err := it.Next(&b)
	return b.Base, ok, err
}
