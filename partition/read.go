package partition

import (
	"errors"
	"fmt"

	"leat.dev/leat/index"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// Reader reads a channel forward from an offset, a batch at a time. It holds a
// lease on the segment that it is in, so that what it returned stays mapped; a
// reader that waits should Pause. Use by one goroutine at a time.
//
// It sees final entries only: what was applied of the channel lies in entries up
// to Partition.committed, and the iterator is limited to those. A log may hold
// others behind, which will be taken back and whose offsets others will have.
type Reader struct {
	c     *Channel
	next  record.Offset // the first offset that was not returned
	lease *segment.Lease
	it    segment.Iterator
	limit uint64 // of it
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
// wraps ErrCorrupt when stored bytes are damaged, and ErrClosed when the log is
// closed.
func (r *Reader) Next(b *record.Batch) (first int, ok bool, err error) {
	for left := record.SegmentID(0); ; {
		if !r.there() {
			return 0, false, nil
		}
		// The next record was applied, so it lies in some segment. Those up to
		// left do not have it: each turn of the loop leaves one behind, skips
		// what was trimmed meanwhile, or returns.
		if r.lease == nil {
			if err := r.seek(left); err != nil {
				if r.c.First() > r.next || !r.c.Exists() {
					continue // it went while it was looked for
				}
				return 0, false, r.fail(err)
			}
		}
		more, err := r.it.Next(b)
		if err == nil && !more {
			if now := r.c.part.committed.Load(); now > r.limit {
				r.limit = now
				r.it.Limit(now)
				more, err = r.it.Next(b)
			}
		}
		switch {
		case err != nil:
			return 0, false, r.fail(err)
		case !more:
			left = r.lease.ID()
			r.Pause()
			continue
		case b.Last() < r.next:
			continue
		case b.Base > r.next:
			if r.c.First() > r.next {
				r.Pause() // and look again, from there on
				continue
			}
			if !r.c.Exists() {
				continue
			}
			return 0, false, r.fail(fmt.Errorf("%w: what follows begins at %d, in segment %d", ErrCorrupt, b.Base, r.lease.ID()))
		}
		if r.raw, err = b.Inflate(r.raw); err != nil {
			return 0, false, r.fail(err)
		}
		first = int(r.next - b.Base)
		r.next = b.Last() + 1
		return first, true, nil
	}
}

// there tells whether there is something to return, and moves past what was
// trimmed.
func (r *Reader) there() bool {
	last := r.c.Last()
	if first := r.c.First(); first > r.next {
		r.next = first
		r.Pause() // it may be far, and segments know the way
	}
	return r.next <= last && r.c.Exists()
}

func (r *Reader) fail(err error) error {
	r.Pause()
	for _, damage := range []error{segment.ErrCorrupt, index.ErrDamaged, record.ErrFormat, record.ErrChecksum, record.ErrTooLarge, record.ErrShort} {
		if errors.Is(err, damage) && !errors.Is(err, ErrCorrupt) {
			err = fmt.Errorf("%w: %w", ErrCorrupt, err)
		}
	}
	if errors.Is(err, segment.ErrClosed) || errors.Is(err, index.ErrClosed) {
		err = fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return channelError(r.c.name, fmt.Errorf("read offset %d: %w", r.next, err))
}

// seek takes a lease on the first segment behind left that may have the next
// offset.
func (r *Reader) seek(left record.SegmentID) error {
	p, id := r.c.part, record.ChannelID(r.c.id.Load())
	// Before the look-up, or a segment that gets into the index between the two
	// would be seen by neither.
	indexed := record.SegmentID(p.indexed.Load())
	for off := r.next; ; {
		seg, e, ok, err := p.opts.Index.FindExtent(id, off)
		if err != nil {
			return err
		}
		if !ok {
			break
		}
		if seg > left {
			if err := r.enter(seg, id); !errors.Is(err, segment.ErrGone) {
				return err
			}
		}
		off = e.Last + 1 // it was dropped, and First moves past it
	}
	// It is in a segment whose extents are not in the index yet.
	for _, info := range p.opts.Log.Segments() {
		if info.ID <= max(left, indexed) {
			continue
		}
		if err := r.enter(info.ID, id); !errors.Is(err, segment.ErrGone) {
			return err
		}
	}
	return fmt.Errorf("%w: no segment behind %d has it", ErrCorrupt, max(left, indexed))
}

func (r *Reader) enter(seg record.SegmentID, id record.ChannelID) error {
	p := r.c.part
	lease, err := p.opts.Log.Acquire(seg)
	if err != nil {
		return err
	}
	r.lease, r.it = lease, lease.Seek(id, r.next)
	r.limit = p.committed.Load()
	r.it.Limit(r.limit)
	return nil
}

// inflatedKeepBytes bounds what a paused reader holds on to.
const inflatedKeepBytes = 256 << 10

// Pause gives up the lease; what Next returned is not valid any more. The
// reader goes on where it was.
func (r *Reader) Pause() {
	if r.lease != nil {
		r.lease.Release()
		r.lease, r.it = nil, segment.Iterator{}
	}
	if cap(r.raw) > inflatedKeepBytes {
		r.raw = nil
	}
}

// Close ends the reader.
func (r *Reader) Close() { r.Pause() }
