package segment

import (
	"fmt"
	"math"
	"runtime/debug"

	"leat.dev/leat/segment/record"
)

const (
	windowBytesMin = 64 << 10 // populated ahead of a reader at first
	windowBytesMax = 1 << 20  // and once it goes on
)

// Iterator reads the batches of one channel in one segment, in order. Use by
// one goroutine at a time, and under its Lease.
type Iterator struct {
	lease *Lease
	ch    record.ChannelID
	refs  refList // as of the last look
	next  int
	limit uint64 // highest Raft index to be seen
	bound uint32 // position that follows from limit, as of the last look
	at    uint32 // of the batch returned last

	// The populated range.
	from, to int64
	window   int64
}

func (s *Lease) iterate(ch record.ChannelID) Iterator {
	it := Iterator{lease: s, ch: ch, limit: math.MaxUint64, window: windowBytesMin}
	it.look()
	return it
}

// look takes what is there now.
func (it *Iterator) look() {
	s := it.lease.seg
	it.lease.log.mu.RLock()
	defer it.lease.log.mu.RUnlock()
	it.refs = s.refs(it.ch)
	switch {
	case it.limit >= s.last.Index:
		it.bound = s.end
	case it.limit < s.first():
		it.bound = 0
	default:
		it.bound = s.position(it.limit + 1)
	}
}

// Limit hides entries above the given Raft index, those not committed for
// instance. It may be called again, with more, between calls of Next.
func (it *Iterator) Limit(index uint64) {
	it.limit = index
	it.bound = 0
}

// Next makes b the next batch, whose checksum has been compared. ok is false
// when there is none now; in the active segment there may be one later. The
// batch is valid until the lease is released. The error is a *CorruptionError
// when the batch is damaged; the iterator then stays where it is.
func (it *Iterator) Next(b *record.Batch) (ok bool, err error) {
	if !it.visible() {
		it.look()
		if !it.visible() {
			return false, nil
		}
	}
	defer catchFault(debug.SetPanicOnFault(true), &err)
	ref := it.refs.at(it.next)
	raw, err := it.batchBytes(ref.pos)
	if err != nil {
		return false, err
	}
	_, bad := record.ParseBatch(raw, b)
	if bad == nil {
		bad = b.Verify()
	}
	if bad == nil && (b.Count != ref.count || it.ch != 0 && (b.Channel != it.ch || uint64(b.Base) != ref.base)) {
		bad = fmt.Errorf("%w: batch of channel %d from offset %d, the index says %d from %d", record.ErrFormat, b.Channel, b.Base, it.ch, ref.base)
	}
	if bad != nil {
		return false, it.lease.log.corrupt(it.lease.seg, ref.pos, it.indexAt(ref.pos), bad)
	}
	it.at = ref.pos
	it.next++
	return true, nil
}

func (it *Iterator) visible() bool {
	return it.next < it.refs.len() && it.refs.at(it.next).pos < it.bound
}

// Index is the Raft index of the entry that holds the batch returned last.
func (it *Iterator) Index() uint64 { return it.indexAt(it.at) }

func (it *Iterator) indexAt(pos uint32) uint64 {
	it.lease.log.mu.RLock()
	defer it.lease.log.mu.RUnlock()
	return it.lease.seg.entryAt(pos)
}

// batchBytes gives the bytes of the batch at pos, populated; as many as there
// are up to the end of the entries when its length makes no sense.
func (it *Iterator) batchBytes(pos uint32) ([]byte, error) {
	if err := it.populate(int64(pos), record.BatchHeaderBytes); err != nil {
		return nil, err
	}
	raw := it.lease.seg.mapping.Bytes()[pos:max(it.bound, pos)]
	n, bad := record.BatchBytes(raw)
	if bad != nil {
		n = min(len(raw), record.BatchHeaderBytes)
	}
	if err := it.populate(int64(pos), int64(n)); err != nil {
		return nil, err
	}
	return raw, nil
}

// populate makes n bytes at pos safe to touch, and reads ahead for a reader
// that goes on.
func (it *Iterator) populate(pos, n int64) error {
	if pos >= it.from && pos+n <= it.to {
		return nil
	}
	from := pos
	if pos >= it.from && pos <= it.to { // goes on
		from = it.to
		it.window = min(2*it.window, windowBytesMax)
	} else {
		it.from, it.window = pos, windowBytesMin
	}
	to := min(max(from+it.window, pos+n), int64(max(it.bound, uint32(pos+n))), int64(it.lease.seg.fileBytes))
	if err := it.lease.seg.mapping.Populate(from, to-from); err != nil {
		return fmt.Errorf("read segment %d at %d: %w", it.lease.seg.id, from, err)
	}
	it.to = to
	return nil
}
