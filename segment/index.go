package segment

import (
	"encoding/binary"
	"maps"
	"slices"

	"leat.dev/leat/segment/record"
)

// batchRef is one row of the batch table: where a batch lies and what it begins
// with. Channel 0 stands for commands; those have no offset.
type batchRef struct {
	pos   uint32
	count uint32
	base  uint64
	time  int64
}

// channelIndex lists the batches of one channel in a segment, in file order.
type channelIndex struct {
	name             []byte
	refs             []batchRef
	records          uint64
	bytes            uint64
	timeMin, timeMax int64
}

// memIndex is the index of a segment that has no footer yet. Log.mu guards it
// while the segment is active; afterwards it does not change.
type memIndex struct {
	positions []uint32 // of entries' frames
	channels  map[record.ChannelID]*channelIndex
	batches   int
	nameBytes int
	records   uint64
}

func newMemIndex() *memIndex {
	return &memIndex{channels: map[record.ChannelID]*channelIndex{}}
}

// addBatch adds a batch that lies at pos. Its name is copied when it is new.
func (x *memIndex) addBatch(pos uint32, b *batchInfo) {
	c := x.channels[b.channel]
	if c == nil {
		c = &channelIndex{name: slices.Clone(b.name), timeMin: b.time, timeMax: b.time}
		x.channels[b.channel] = c
		x.nameBytes += len(b.name)
	}
	c.refs = append(c.refs, batchRef{pos: pos, count: b.count, base: b.base, time: b.time})
	c.bytes += uint64(b.bytes)
	c.timeMin, c.timeMax = min(c.timeMin, b.time), max(c.timeMax, b.time)
	if b.channel != 0 {
		c.records += uint64(b.count)
		x.records += uint64(b.count)
	}
	x.batches++
}

// footerBytes is the size of the footer that the index makes.
func (x *memIndex) footerBytes() int {
	return footerBytes(len(x.positions), len(x.channels), x.batches, x.nameBytes)
}

// appendFooter encodes the footer. t says what the index does not know; its
// counts are filled in.
func (x *memIndex) appendFooter(dst []byte, t *trailer) []byte {
	at := len(dst)
	le := binary.LittleEndian
	for _, p := range x.positions {
		dst = le.AppendUint32(dst, p)
	}
	dst = append(dst, zeros[:pad8(len(dst)-at)-(len(dst)-at)]...)
	ids := slices.Sorted(maps.Keys(x.channels))
	names, first := 0, 0
	for _, id := range ids {
		c := x.channels[id]
		dst = le.AppendUint64(dst, uint64(id))
		dst = le.AppendUint32(dst, uint32(names))
		dst = le.AppendUint32(dst, uint32(len(c.name)))
		dst = le.AppendUint32(dst, uint32(first))
		dst = le.AppendUint32(dst, uint32(len(c.refs)))
		dst = le.AppendUint64(dst, c.records)
		dst = le.AppendUint64(dst, c.bytes)
		dst = le.AppendUint64(dst, uint64(c.timeMin))
		dst = le.AppendUint64(dst, uint64(c.timeMax))
		dst = le.AppendUint64(dst, c.refs[0].base)
		dst = le.AppendUint64(dst, uint64(c.refs[len(c.refs)-1].last(id)))
		names, first = names+len(c.name), first+len(c.refs)
	}
	for _, id := range ids {
		for _, r := range x.channels[id].refs {
			dst = le.AppendUint32(dst, r.pos)
			dst = le.AppendUint32(dst, r.count)
			dst = le.AppendUint64(dst, r.base)
			dst = le.AppendUint64(dst, uint64(r.time))
		}
	}
	for _, id := range ids {
		dst = append(dst, x.channels[id].name...)
	}
	dst = append(dst, zeros[:pad8(names)-names]...)
	t.Entries, t.Channels, t.Batches = uint32(len(x.positions)), uint32(len(ids)), uint32(x.batches)
	t.NameBytes, t.Records = uint32(names), x.records
	return appendTrailer(dst, at, t)
}

// last is the offset of the batch's last record; 0 for a command.
func (r *batchRef) last(ch record.ChannelID) record.Offset {
	if ch == 0 {
		return 0
	}
	return record.Offset(r.base + uint64(r.count) - 1)
}

// refList is a channel's batches in memory or in a footer.
type refList struct {
	mem []batchRef
	raw []byte // rows of the batch table
}

func (l refList) len() int { return len(l.mem) + len(l.raw)/footerBatchBytes }

func (l refList) at(i int) batchRef {
	if l.raw == nil {
		return l.mem[i]
	}
	le := binary.LittleEndian
	row := l.raw[i*footerBatchBytes:]
	return batchRef{pos: le.Uint32(row), count: le.Uint32(row[4:]), base: le.Uint64(row[8:]), time: int64(le.Uint64(row[16:]))}
}

// visit adds a frame; it is a visitor for frames that were scanned.
func (x *memIndex) visit(pos uint32, h *record.FrameHeader, payload []byte) error {
	if h.Type == record.FrameSyncMarker {
		return nil
	}
	x.positions = append(x.positions, pos)
	if h.Type != record.FrameData {
		return nil
	}
	_, err := record.CountBatches(payload, func(at int, b *record.Batch) error {
		var info batchInfo
		info.set(at, b)
		x.addBatch(pos+record.FrameHeaderBytes+uint32(at), &info)
		return nil
	})
	return err
}
