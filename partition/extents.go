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

// IndexSealed puts the extents of segments that were sealed since the last call
// into the index. It may be called at any time from any goroutine.
func (p *Partition) IndexSealed() {
	if err := p.indexSealed(); err != nil {
		// Look-ups go on to ask the segments; only speed is lost.
		p.opts.Logger.Error("put a sealed segment into the index", "error", err)
	}
}

func (p *Partition) indexSealed() error {
	p.sealMu.Lock()
	defer p.sealMu.Unlock()
	for _, info := range p.opts.Log.Segments() {
		if info.ID <= record.SegmentID(p.indexed.Load()) {
			continue
		}
		if info.State != segment.StateSealed {
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
