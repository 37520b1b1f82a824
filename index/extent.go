package index

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"leat.dev/leat/segment/record"
)

// extentIter walks the extents of one channel. Its methods say whether there is an extent at the new place, which is then
// in seg and at.
type extentIter struct {
	p   *Partition
	it  *pebble.Iterator
	key []byte
	seg record.SegmentID
	at  Extent
	err error // the first
}

// extents must be followed by close, if err is nil.
func (p *Partition) extents(ch record.ChannelID) (*extentIter, error) {
	if !p.x.gate.enter() {
		return nil, ErrClosed
	}
	key := appendKey(make([]byte, 0, prefixBytes+24), p.id, kindExtent, uint64(ch))
	it, err := p.x.db.NewIter(&pebble.IterOptions{
		LowerBound: key, UpperBound: successor(append([]byte(nil), key...)),
	})
	if err != nil {
		p.x.gate.leave()
		return nil, p.readError("read extents", err)
	}
	return &extentIter{p: p, it: it, key: key}, nil
}

func (i *extentIter) decode(there bool) bool {
	if !there || i.err != nil {
		return false
	}
	value, err := i.it.ValueAndErr()
	if err != nil {
		i.err = i.p.readError("read extents", err)
		return false
	}
	ch, seg, e, err := decodeExtent(i.it.Key(), value)
	if err != nil {
		i.err = i.p.damaged(fmt.Sprintf("read extents of channel %d", ch), err)
		return false
	}
	i.seg, i.at = seg, e
	return true
}

func (i *extentIter) first() bool { return i.decode(i.it.First()) }
func (i *extentIter) last() bool  { return i.decode(i.it.Last()) }
func (i *extentIter) next() bool  { return i.decode(i.it.Next()) }

// seek goes to the first extent with Last >= off.
func (i *extentIter) seek(off record.Offset) bool {
	return i.decode(i.it.SeekGE(binary.BigEndian.AppendUint64(i.key, uint64(off))))
}

func (i *extentIter) close() error {
	err := i.p.readError("read extents", i.it.Close())
	i.p.x.gate.leave()
	if i.err != nil {
		return i.err
	}
	return err
}

// result is what a look-up of one extent returns.
func (i *extentIter) result(ok bool) (record.SegmentID, Extent, bool, error) {
	seg, e := i.seg, i.at
	if err := i.close(); err != nil || !ok {
		return 0, Extent{}, false, err
	}
	return seg, e, true, nil
}

// FindExtent returns the first extent of a channel with Last >= off: the one that holds off, or, when off is in a hole or
// before all, the next one. It is one seek. ok is false when there is none: the offset is in a segment not sealed, or is
// not written yet.
func (p *Partition) FindExtent(ch record.ChannelID, off record.Offset) (seg record.SegmentID, e Extent, ok bool, err error) {
	i, err := p.extents(ch)
	if err != nil {
		return 0, Extent{}, false, err
	}
	return i.result(i.seek(off))
}

// FirstExtent returns the first extent of a channel.
func (p *Partition) FirstExtent(ch record.ChannelID) (seg record.SegmentID, e Extent, ok bool, err error) {
	i, err := p.extents(ch)
	if err != nil {
		return 0, Extent{}, false, err
	}
	return i.result(i.first())
}

// LastExtent returns the last extent of a channel.
func (p *Partition) LastExtent(ch record.ChannelID) (seg record.SegmentID, e Extent, ok bool, err error) {
	i, err := p.extents(ch)
	if err != nil {
		return 0, Extent{}, false, err
	}
	return i.result(i.last())
}

// Extents visits the extents of a channel in the order of offsets.
func (p *Partition) Extents(ch record.ChannelID, visit func(seg record.SegmentID, e Extent) error) error {
	i, err := p.extents(ch)
	if err != nil {
		return err
	}
	for ok := i.first(); ok; ok = i.next() {
		if err := visit(i.seg, i.at); err != nil {
			_ = i.close() // the first error is the one that counts
			return err
		}
	}
	return i.close()
}

// FindExtentAtTime returns the first extent of a channel with LastTime >= ns. Times must not go back within a channel.
//
// Problem: extents are sorted by offset. As times grow with offsets, the answer splits the sorted extents in two.
// Invariants: every extent with Last <= low ends before ns; hit is the first extent with Last >= high, and it does not.
// Steps: halve the offsets between low and high with a seek each, until no offset is between them: at most 64 seeks, and
// in practice about the logarithm of the channel's offsets.
func (p *Partition) FindExtentAtTime(ch record.ChannelID, ns int64) (seg record.SegmentID, e Extent, ok bool, err error) {
	i, err := p.extents(ch)
	if err != nil {
		return 0, Extent{}, false, err
	}
	if !i.first() || i.at.LastTime >= ns {
		return i.result(i.it.Valid() && i.err == nil)
	}
	low := i.at.Last
	if !i.last() || i.at.LastTime < ns {
		return i.result(false)
	}
	high, hitSeg, hit := i.at.Last, i.seg, i.at
	for high-low > 1 {
		middle := low + (high-low)/2
		if !i.seek(middle) {
			return i.result(false)
		}
		if i.at.LastTime >= ns {
			high, hitSeg, hit = middle, i.seg, i.at
		} else {
			low = i.at.Last
		}
	}
	i.seg, i.at = hitSeg, hit
	return i.result(true)
}
