package index

import (
	"encoding/binary"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"leat.dev/leat/segment/record"
)

// Batch collects changes of one partition that become visible together or not at all. It is for one goroutine, and a
// partition has one open batch at a time: the deletions that reach over several kinds of keys look at what is committed
// when they are called, and at the batch itself.
//
// An error in a method other than Commit is kept, and Commit returns it; nothing is written then. A batch ends with Commit
// or Discard; Discard after Commit does nothing, so it may be deferred.
type Batch struct {
	p       *Partition
	wb      *pebble.Batch // nil once ended; pooled by Pebble
	extents int           // put into this batch
	err     error         // the first
	scratch []byte
}

// NewBatch begins a batch.
func (p *Partition) NewBatch() *Batch {
	b := &Batch{p: p, scratch: make([]byte, 0, 128)}
	if !p.x.gate.enter() {
		b.err = ErrClosed
		return b
	}
	defer p.x.gate.leave()
	b.wb = p.x.db.NewBatch()
	return b
}

func (b *Batch) keep(err error) bool {
	if err != nil && b.err == nil {
		b.err = err
	}
	return b.ready()
}

func (b *Batch) ready() bool { return b.err == nil && b.wb != nil }

func (b *Batch) key(kind byte, parts ...uint64) []byte {
	b.scratch = appendKey(b.scratch[:0], b.p.id, kind, parts...)
	return b.scratch
}

// set copies key and value.
func (b *Batch) set(key, value []byte) {
	if !b.ready() {
		return
	}
	op := b.wb.SetDeferred(len(key), len(value))
	copy(op.Key, key)
	copy(op.Value, value)
	b.keep(op.Finish())
}

func (b *Batch) setNamed(key []byte, name string, value []byte) {
	if len(name) > MaxNameBytes || len(value) > MaxValueBytes {
		b.keep(fmt.Errorf("%w: name of %d and value of %d bytes, want at most %d and %d", ErrInvalid, len(name), len(value),
			MaxNameBytes, MaxValueBytes))
		return
	}
	b.scratch = append(key, name...)
	b.set(b.scratch, value)
}

func (b *Batch) delete(key []byte) {
	if b.ready() {
		b.keep(b.wb.Delete(key, nil))
	}
}

// deletePrefix drops all keys that begin with prefix, those in this batch included.
func (b *Batch) deletePrefix(prefix []byte) {
	if b.ready() {
		b.keep(b.wb.DeleteRange(prefix, successor(append([]byte(nil), prefix...)), nil))
	}
}

// PutChannel sets what is kept of a channel.
func (b *Batch) PutChannel(ch record.ChannelID, value []byte) {
	b.setNamed(b.key(kindChannel, uint64(ch)), "", value)
}

// DeleteChannel drops a channel with its cursors and its extents.
func (b *Batch) DeleteChannel(ch record.ChannelID) {
	b.eachExtent(kindExtent, uint64(ch), func(c record.ChannelID, seg record.SegmentID, last record.Offset) {
		if c == ch {
			b.delete(b.key(kindHolding, uint64(seg), uint64(c), uint64(last)))
		}
	})
	b.delete(b.key(kindChannel, uint64(ch)))
	b.deletePrefix(b.key(kindCursor, uint64(ch)))
	b.deletePrefix(b.key(kindExtent, uint64(ch)))
}

// PutExtent sets the extent of a channel in a segment. To put others for a segment that has some, call DeleteSegment first,
// in the same batch: an extent with another last offset does not replace the one that was there.
func (b *Batch) PutExtent(ch record.ChannelID, seg record.SegmentID, e Extent) {
	if err := e.validate(); err != nil {
		b.keep(fmt.Errorf("%w: channel %d, segment %d: %w", ErrInvalid, ch, seg, err))
		return
	}
	key := b.key(kindExtent, uint64(ch), uint64(e.Last), uint64(seg))
	var value [extentMaxBytes]byte
	b.set(key, appendExtent(value[:0], key, e))
	b.set(b.key(kindHolding, uint64(seg), uint64(ch), uint64(e.Last)), nil)
	b.extents++
}

// DeleteSegment drops the extents of a segment and its mark.
func (b *Batch) DeleteSegment(seg record.SegmentID) {
	b.eachExtent(kindHolding, uint64(seg), func(ch record.ChannelID, s record.SegmentID, last record.Offset) {
		if s == seg {
			b.delete(b.key(kindExtent, uint64(ch), uint64(last), uint64(s)))
		}
	})
	b.deletePrefix(b.key(kindHolding, uint64(seg)))
	b.delete(b.key(kindSegment, uint64(seg)))
}

// eachExtent visits the extents under one channel or one segment that are committed, and all extents in this batch.
func (b *Batch) eachExtent(kind byte, id uint64, visit func(record.ChannelID, record.SegmentID, record.Offset)) {
	if !b.ready() {
		return
	}
	if b.extents > 0 {
		// The keys are gathered first, because visit appends to what is being read.
		var own []byte
		for r := b.wb.Reader(); ; {
			op, key, _, ok, err := r.Next()
			if !b.keep(err) || !ok {
				break
			}
			if op == pebble.InternalKeyKindSet && key[prefixBytes-1] == kindHolding {
				own = append(own, key[prefixBytes:]...)
			}
		}
		for ; len(own) > 0; own = own[24:] {
			visit(record.ChannelID(binary.BigEndian.Uint64(own[8:])), record.SegmentID(binary.BigEndian.Uint64(own)),
				record.Offset(binary.BigEndian.Uint64(own[16:])))
		}
	}
	prefix := appendKey(nil, b.p.id, kind, id)
	b.keep(b.p.scan("look for extents", prefix, func(key, _ []byte) error {
		if len(key) != prefixBytes+24 {
			return fmt.Errorf("%w: key of kind %d has %d bytes", ErrDamaged, kind, len(key))
		}
		first, second := binary.BigEndian.Uint64(key[prefixBytes:]), binary.BigEndian.Uint64(key[prefixBytes+8:])
		third := binary.BigEndian.Uint64(key[prefixBytes+16:])
		if kind == kindExtent {
			visit(record.ChannelID(first), record.SegmentID(third), record.Offset(second))
		} else {
			visit(record.ChannelID(second), record.SegmentID(first), record.Offset(third))
		}
		return nil
	}))
}

// PutCursor sets what is kept of a durable cursor of a channel. The channel need not be there.
func (b *Batch) PutCursor(ch record.ChannelID, name string, value []byte) {
	b.setNamed(b.key(kindCursor, uint64(ch)), name, value)
}

// DeleteCursor drops a cursor.
func (b *Batch) DeleteCursor(ch record.ChannelID, name string) {
	b.scratch = append(b.key(kindCursor, uint64(ch)), name...)
	b.delete(b.scratch)
}

// PutSession sets what is kept of a session; kind tells front-ends apart.
func (b *Batch) PutSession(kind byte, name string, value []byte) {
	b.setNamed(append(b.key(kindSession), kind), name, value)
}

// DeleteSession drops a session.
func (b *Batch) DeleteSession(kind byte, name string) {
	b.scratch = append(append(b.key(kindSession), kind), name...)
	b.delete(b.scratch)
}

// PutSegment marks a segment: its extents are all there, put by this batch or before.
func (b *Batch) PutSegment(seg record.SegmentID, m SegmentMark) {
	key := b.key(kindSegment, uint64(seg))
	var value [segmentBytes]byte
	b.set(key, appendMark(value[:0], key, m))
}

// SetApplied sets the last Raft entry whose effects are in the index, this batch's included.
func (b *Batch) SetApplied(index, term uint64) {
	key := b.key(kindApplied)
	var value [appliedBytes]byte
	b.set(key, appendApplied(value[:0], key, index, term))
}

// Len returns the bytes that the batch will write, for callers that split their work. It is 0 for an empty batch.
func (b *Batch) Len() int {
	if b.wb == nil || b.wb.Empty() {
		return 0
	}
	return b.wb.Len()
}

// Commit writes the batch and ends it. When it returns nil, readers see all of it, and after a crash all or nothing of it
// is there; it is not durable. Batches of other partitions may be committed at the same time.
func (b *Batch) Commit() error {
	defer b.Discard()
	if b.err != nil {
		return fmt.Errorf("index partition %d: %w", b.p.id, b.err)
	}
	if b.wb == nil {
		return fmt.Errorf("index partition %d: %w: batch was committed or discarded before", b.p.id, ErrInvalid)
	}
	x := b.p.x
	if !x.gate.enter() {
		return ErrClosed
	}
	defer x.gate.leave()
	if err := x.health.get(); err != nil {
		return fmt.Errorf("commit to index: %w", err)
	}
	size := b.Len()
	if err := x.health.guard(func() error { return b.wb.Commit(pebble.NoSync) }); err != nil {
		b.wb = nil // Pebble may still hold it.
		return fmt.Errorf("commit to index: %w", err)
	}
	x.metrics.observe(size)
	return nil
}

// Discard ends the batch without writing it.
func (b *Batch) Discard() {
	if b.wb != nil {
		_ = b.wb.Close() // only returns an error for batches that can be read
		b.wb = nil
	}
}
