package partition

import (
	"errors"
	"fmt"

	"leat.dev/leat/index"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// Extents tell which segment holds an offset of a channel. They are a function
// of the sealed segments alone, so they go into the index when a segment is
// sealed, apart from what Apply writes, and are made anew for each segment that
// has no mark there. Until then a look-up asks the segment itself.
//
// A segment may be sealed before its last entries are committed, and those may
// be taken back. Its extents wait until they are final.

// IndexSealed puts the extents of segments that were sealed since the last call
// into the index. It may be called at any time from any goroutine.
func (p *Partition) IndexSealed() {
	if err := p.indexSealed(); err != nil {
		// Look-ups go on to ask the segments; only speed is lost.
		p.opts.Logger.Error("put a sealed segment into the index", "partition", p.opts.ID, "error", err)
	}
}

func (p *Partition) indexSealed() error {
	p.indexMu.Lock()
	defer p.indexMu.Unlock()
	segments := p.opts.Log.Segments()
	if len(segments) > 0 && segments[0].ID > p.unmarked {
		if err := p.dropMarks(segments[0].ID); err != nil {
			return fmt.Errorf("forget dropped segments: %w", err)
		}
		p.unmarked = segments[0].ID
	}
	for _, info := range segments {
		if info.ID <= record.SegmentID(p.indexed.Load()) {
			continue
		}
		if info.State != segment.StateSealed || info.Last > p.committed.Load() {
			return nil // and those behind it have to wait
		}
		_, marked, err := p.opts.Index.Segment(info.ID)
		if err != nil {
			return err
		}
		if !marked {
			if err := p.putExtents(info); err != nil {
				return fmt.Errorf("segment %d: %w", info.ID, err)
			}
		}
		p.indexed.Store(uint64(info.ID))
	}
	return nil
}

// dropMarks removes what the index has of segments that the log dropped.
func (p *Partition) dropMarks(first record.SegmentID) error {
	var gone []record.SegmentID
	err := p.opts.Index.Segments(func(seg record.SegmentID, _ index.SegmentMark) error {
		if seg < first {
			gone = append(gone, seg)
		}
		return nil
	})
	if err != nil || len(gone) == 0 {
		return err
	}
	b := p.opts.Index.NewBatch()
	for _, seg := range gone {
		b.DeleteSegment(seg)
	}
	return b.Commit()
}

func (p *Partition) putExtents(info segment.Info) error {
	lease, err := p.opts.Log.Acquire(info.ID)
	if errors.Is(err, segment.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lease.Release()
	b := p.opts.Index.NewBatch()
	n := uint64(0)
	lease.Extents(func(ch record.ChannelID, _ []byte, e segment.Extent) bool {
		b.PutExtent(ch, info.ID, index.Extent{
			First: e.First, Last: e.Last, FirstTime: e.TimeMin, LastTime: e.TimeMax, Records: e.Records, Bytes: e.Bytes,
		})
		n++
		return true
	})
	b.PutSegment(info.ID, index.SegmentMark{FirstIndex: info.First, LastIndex: info.Last, Extents: n})
	return b.Commit()
}
