package partition

import (
	"errors"
	"fmt"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// OffsetAt returns the offset of the first record whose time is ns or later,
// and Last()+1 when there is none. Records of one batch have one time.
func (c *Channel) OffsetAt(ns int64) (record.Offset, error) {
	last := c.Last()
	if c.First() > last {
		return last + 1, nil
	}
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
	indexed := record.SegmentID(p.indexed.Load()) // before the look-up, as in Reader.seek
	seg, e, ok, err := p.opts.Index.FindExtentAtTime(id, ns)
	if err != nil {
		return 0, false, err
	}
	if ok {
		if e.FirstTime >= ns {
			return e.First, true, nil
		}
		off, ok, err := p.timeIn(seg, id, ns)
		if err == nil && !ok {
			off = e.Last + 1 // the segment was dropped
		}
		return off, true, err
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
	it.Limit(p.committed.Load())
	var b record.Batch
	ok, err := it.Next(&b)
	return b.Base, ok, err
}
