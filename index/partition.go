package index

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"leat.dev/leat/segment/record"
)

// Partition is one partition's part of the index. Reads may be called from any goroutine and see what is committed when
// they begin. Slices given to a callback are valid until it returns. A callback may read, and may fill and commit a batch,
// which that iteration does not see; an error that it returns ends the iteration and is returned as it is.
type Partition struct {
	x  *Index
	id uint32
}

// scan visits the keys that begin with prefix, in order. The callback's error is returned as it is.
func (p *Partition) scan(verb string, prefix []byte, visit func(key, value []byte) error) error {
	if !p.x.gate.enter() {
		return ErrClosed
	}
	defer p.x.gate.leave()
	return p.scanIn(p.x.db, verb, prefix, visit)
}

func (p *Partition) scanIn(from pebble.Reader, verb string, prefix []byte, visit func(key, value []byte) error) error {
	it, err := from.NewIter(&pebble.IterOptions{
		LowerBound: prefix, UpperBound: successor(append([]byte(nil), prefix...)),
	})
	if err != nil {
		return p.readError(verb, err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err == nil {
			err = visit(it.Key(), value)
		} else {
			err = p.readError(verb, err)
		}
		if err != nil {
			_ = it.Close() // the first error is the one that counts
			return err
		}
	}
	return p.readError(verb, it.Close())
}

func (p *Partition) readError(verb string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("index partition %d: %w", p.id, classify(verb, err))
}

// damaged wraps what a decoder found.
func (p *Partition) damaged(verb string, err error) error {
	return fmt.Errorf("index partition %d: %s: %w (%w)", p.id, verb, ErrDamaged, err)
}

// get copies nothing: use is called with the value while it is valid.
func (p *Partition) get(verb string, key []byte, use func(value []byte) error) (bool, error) {
	if !p.x.gate.enter() {
		return false, ErrClosed
	}
	defer p.x.gate.leave()
	value, closer, err := p.x.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, p.readError(verb, err)
	}
	return true, errors.Join(use(value), p.readError(verb, closer.Close()))
}

// Applied returns the last Raft entry whose effects are in the index, zeros when there is none. It is the first thing to
// ask of a partition: ErrLoadInterrupted says that what is there is half of a checkpoint.
func (p *Partition) Applied() (index, term uint64, err error) {
	loading, err := p.get("read mark of loading", appendPrefix(nil, p.id, kindLoading), func([]byte) error { return nil })
	if err != nil {
		return 0, 0, err
	}
	if loading {
		return 0, 0, fmt.Errorf("index partition %d: %w", p.id, ErrLoadInterrupted)
	}
	key := appendPrefix(nil, p.id, kindApplied)
	_, err = p.get("read applied", key, func(value []byte) (err error) {
		if index, term, err = decodeApplied(key, value); err != nil {
			return p.damaged("read applied", err)
		}
		return nil
	})
	return index, term, err
}

// Channels visits all channels in the order of their ids.
func (p *Partition) Channels(visit func(ch record.ChannelID, value []byte) error) error {
	return p.scan("read channels", appendPrefix(nil, p.id, kindChannel), func(key, value []byte) error {
		if len(key) != prefixBytes+8 {
			return p.damaged("read channels", fmt.Errorf("key has %d bytes", len(key)))
		}
		return visit(record.ChannelID(binary.BigEndian.Uint64(key[prefixBytes:])), value)
	})
}

// AllCursors visits the cursors of all channels, in the order of channels and names.
func (p *Partition) AllCursors(visit func(ch record.ChannelID, name string, value []byte) error) error {
	return p.cursors(appendPrefix(nil, p.id, kindCursor), visit)
}

// Cursors visits the cursors of a channel in the order of names.
func (p *Partition) Cursors(ch record.ChannelID, visit func(name string, value []byte) error) error {
	return p.cursors(appendKey(nil, p.id, kindCursor, uint64(ch)), func(_ record.ChannelID, name string, value []byte) error {
		return visit(name, value)
	})
}

func (p *Partition) cursors(prefix []byte, visit func(ch record.ChannelID, name string, value []byte) error) error {
	return p.scan("read cursors", prefix, func(key, value []byte) error {
		if len(key) < prefixBytes+8 {
			return p.damaged("read cursors", fmt.Errorf("key has %d bytes", len(key)))
		}
		return visit(record.ChannelID(binary.BigEndian.Uint64(key[prefixBytes:])), string(key[prefixBytes+8:]), value)
	})
}

// Sessions visits the sessions of a kind in the order of names.
func (p *Partition) Sessions(kind byte, visit func(name string, value []byte) error) error {
	return p.scan("read sessions", append(appendPrefix(nil, p.id, kindSession), kind), func(key, value []byte) error {
		return visit(string(key[prefixBytes+1:]), value)
	})
}

// Segments visits the marks of segments in the order of segment ids.
func (p *Partition) Segments(visit func(seg record.SegmentID, m SegmentMark) error) error {
	return p.scan("read segments", appendPrefix(nil, p.id, kindSegment), func(key, value []byte) error {
		seg, m, err := decodeMark(key, value)
		if err != nil {
			return p.damaged("read segments", err)
		}
		return visit(seg, m)
	})
}

// Segment returns the mark of a segment; ok says whether there is one.
func (p *Partition) Segment(seg record.SegmentID) (m SegmentMark, ok bool, err error) {
	key := appendKey(nil, p.id, kindSegment, uint64(seg))
	ok, err = p.get("read segment", key, func(value []byte) (err error) {
		if _, m, err = decodeMark(key, value); err != nil {
			return p.damaged("read segment", err)
		}
		return nil
	})
	return m, ok && err == nil, err
}

// Reset drops all keys of the partition, in one step. No batch of the partition may be open.
func (p *Partition) Reset() error {
	b := p.NewBatch()
	b.deletePrefix(appendPartition(nil, p.id))
	return b.Commit()
}
