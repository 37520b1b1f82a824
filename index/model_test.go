package index_test

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

type extentKey struct {
	ch   record.ChannelID
	last record.Offset
	seg  record.SegmentID
}

type namedKey struct {
	id   uint64
	name string
}

// model is a partition in maps.
type model struct {
	index, term uint64
	channels    map[record.ChannelID]string
	cursors     map[namedKey]string
	sessions    map[namedKey]string
	segments    map[record.SegmentID]index.SegmentMark
	extents     map[extentKey]index.Extent
}

func newModel() *model {
	return &model{
		channels: map[record.ChannelID]string{}, cursors: map[namedKey]string{}, sessions: map[namedKey]string{},
		segments: map[record.SegmentID]index.SegmentMark{}, extents: map[extentKey]index.Extent{},
	}
}

func (m *model) clone() *model {
	c := *m
	c.channels, c.cursors, c.sessions = maps.Clone(m.channels), maps.Clone(m.cursors), maps.Clone(m.sessions)
	c.segments, c.extents = maps.Clone(m.segments), maps.Clone(m.extents)
	return &c
}

// step does one random thing to a batch and to the model.
func (m *model) step(r *rand.Rand, b *index.Batch) {
	ch, seg := record.ChannelID(1+r.Uint64N(5)), record.SegmentID(1+r.Uint64N(6))
	name := []string{"", "a", "a\x00", "a\xff", "\xff\xff"}[r.IntN(5)]
	kind := []byte{0, 1, 255}[r.IntN(3)]
	value := strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(50))
	switch r.IntN(12) {
	case 0:
		b.PutChannel(ch, []byte(value))
		m.channels[ch] = value
	case 1:
		if r.IntN(4) == 0 {
			b.DeleteChannel(ch)
			delete(m.channels, ch)
			maps.DeleteFunc(m.cursors, func(k namedKey, _ string) bool { return k.id == uint64(ch) })
			maps.DeleteFunc(m.extents, func(k extentKey, _ index.Extent) bool { return k.ch == ch })
		}
	case 2, 3, 4, 5:
		first := record.Offset(r.Uint64N(200))
		e := extent(first, first+record.Offset(r.Uint64N(20)), int64(first), int64(first)+int64(r.Uint64N(20)))
		b.PutExtent(ch, seg, e)
		m.extents[extentKey{ch, e.Last, seg}] = e
	case 6:
		b.DeleteSegment(seg)
		delete(m.segments, seg)
		maps.DeleteFunc(m.extents, func(k extentKey, _ index.Extent) bool { return k.seg == seg })
	case 7:
		b.PutCursor(ch, name, []byte(value))
		m.cursors[namedKey{uint64(ch), name}] = value
	case 8:
		b.DeleteCursor(ch, name)
		delete(m.cursors, namedKey{uint64(ch), name})
	case 9:
		b.PutSession(kind, name, []byte(value))
		m.sessions[namedKey{uint64(kind), name}] = value
	case 10:
		b.DeleteSession(kind, name)
		delete(m.sessions, namedKey{uint64(kind), name})
	case 11:
		m.segments[seg] = index.SegmentMark{FirstIndex: r.Uint64N(9), LastIndex: r.Uint64N(9), Extents: r.Uint64N(9)}
		b.PutSegment(seg, m.segments[seg])
	}
}

func compareNamed(a, b namedKey) int {
	return cmp.Or(cmp.Compare(a.id, b.id), strings.Compare(a.name, b.name))
}

// dump is what Partition.Dump must write.
func (m *model) dump() string {
	var w strings.Builder
	if m.index > 0 {
		fmt.Fprintf(&w, "applied index=%d term=%d\n", m.index, m.term)
	}
	for _, ch := range slices.Sorted(maps.Keys(m.channels)) {
		fmt.Fprintf(&w, "channel %d %x\n", ch, m.channels[ch])
	}
	for _, k := range slices.SortedFunc(maps.Keys(m.cursors), compareNamed) {
		fmt.Fprintf(&w, "cursor channel=%d %q %x\n", k.id, k.name, m.cursors[k])
	}
	for _, k := range slices.SortedFunc(maps.Keys(m.sessions), compareNamed) {
		fmt.Fprintf(&w, "session kind=%d %q %x\n", k.id, k.name, m.sessions[k])
	}
	for _, seg := range slices.Sorted(maps.Keys(m.segments)) {
		s := m.segments[seg]
		fmt.Fprintf(&w, "segment %d entries=%d..%d extents=%d\n", seg, s.FirstIndex, s.LastIndex, s.Extents)
	}
	for _, ch := range []record.ChannelID{1, 2, 3, 4, 5} {
		for _, k := range m.channelExtents(ch) {
			e := m.extents[k]
			fmt.Fprintf(&w, "extent channel=%d segment=%d offsets=%d..%d times=%d..%d records=%d bytes=%d\n",
				k.ch, k.seg, e.First, e.Last, e.FirstTime, e.LastTime, e.Records, e.Bytes)
		}
	}
	return w.String()
}

func (m *model) channelExtents(ch record.ChannelID) []extentKey {
	var keys []extentKey
	for k := range m.extents {
		if k.ch == ch {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b extentKey) int {
		return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.seg, b.seg))
	})
	return keys
}

// checkReads compares every read that Dump does not stand for.
func (m *model) checkReads(t *testing.T, r *rand.Rand, p *index.Partition) {
	t.Helper()
	for ch := record.ChannelID(0); ch <= 6; ch++ {
		keys := m.channelExtents(ch)
		at := func(i int, gotSeg record.SegmentID, got index.Extent, ok bool, err error) {
			t.Helper()
			require.NoError(t, err)
			require.Equal(t, i >= 0 && i < len(keys), ok)
			if ok {
				require.Equal(t, keys[i].seg, gotSeg)
				require.Equal(t, m.extents[keys[i]], got)
			}
		}
		seg, e, ok, err := p.FirstExtent(ch)
		at(0, seg, e, ok, err)
		seg, e, ok, err = p.LastExtent(ch)
		at(len(keys)-1, seg, e, ok, err)
		for range 5 {
			off := record.Offset(r.Uint64N(230))
			i := slices.IndexFunc(keys, func(k extentKey) bool { return k.last >= off })
			seg, e, ok, err = p.FindExtent(ch, off)
			at(i, seg, e, ok, err)
		}
		i := 0
		require.NoError(t, p.Extents(ch, func(seg record.SegmentID, e index.Extent) error {
			at(i, seg, e, true, nil)
			i++
			return nil
		}))
		require.Len(t, keys, i)
		var names []string
		require.NoError(t, p.Cursors(ch, func(name string, value []byte) error {
			require.Equal(t, m.cursors[namedKey{uint64(ch), name}], string(value))
			names = append(names, name)
			return nil
		}))
		require.True(t, slices.IsSorted(names))
		count := 0
		for k := range m.cursors {
			if k.id == uint64(ch) {
				count++
			}
		}
		require.Len(t, names, count)
	}
	for seg := record.SegmentID(1); seg <= 6; seg++ {
		mark, ok, err := p.Segment(seg)
		require.NoError(t, err)
		want, wantOK := m.segments[seg]
		require.Equal(t, wantOK, ok)
		require.Equal(t, want, mark)
	}
}

// TestRandomHistoriesMatchModel applies random batches to two partitions and to maps, with discards, resets, checkpoints
// and reopening in between, and compares all reads after each.
func TestRandomHistoriesMatchModel(t *testing.T) {
	for seed := range uint64(4) {
		r := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewMem()
		x := open(t, fs)
		models := []*model{newModel(), newModel()}
		for round := range 250 {
			id := r.IntN(2)
			p := x.Partition(uint32(id))
			next := models[id].clone()
			b := p.NewBatch()
			for range r.IntN(12) {
				next.step(r, b)
			}
			if r.IntN(2) == 0 {
				next.index, next.term = uint64(round+1), uint64(round/10+1)
				b.SetApplied(next.index, next.term)
			}
			switch r.IntN(40) {
			case 0:
				b.Discard()
			case 1:
				b.Discard()
				require.NoError(t, p.Reset())
				models[id] = newModel()
			case 2:
				require.NoError(t, b.Commit())
				models[id] = next
				require.NoError(t, x.Close())
				x = open(t, fs)
			default:
				require.NoError(t, b.Commit())
				models[id] = next
			}
			for i, m := range models {
				require.Equal(t, m.dump(), dump(t, x.Partition(uint32(i))), "seed %d round %d", seed, round)
			}
			models[id].checkReads(t, r, x.Partition(uint32(id)))
		}
		require.NoError(t, x.Close())
	}
}

// TestCallbacks checks that a callback may read and write, that what it writes is not visited, that its error comes back as
// it is, and that all iterations go in order.
func TestCallbacks(t *testing.T) {
	x := open(t, vfs.NewMem())
	p := x.Partition(1)
	b := p.NewBatch()
	for _, ch := range []record.ChannelID{1 << 40, 1, 256, 255} {
		b.PutChannel(ch, []byte{1})
		b.PutExtent(ch, 9, extent(1, 2, 3, 4))
	}
	b.PutSession(4, "s", []byte("v"))
	b.PutSegment(9, index.SegmentMark{Extents: 4})
	require.NoError(t, b.Commit())
	var ids []record.ChannelID
	require.NoError(t, p.Channels(func(ch record.ChannelID, _ []byte) error {
		ids = append(ids, ch)
		b := p.NewBatch()
		b.PutChannel(ch+1000, nil)
		require.NoError(t, b.Commit())
		_, _, ok, err := p.FirstExtent(ch)
		require.True(t, ok)
		return err
	}))
	require.Equal(t, []record.ChannelID{1, 255, 256, 1 << 40}, ids)

	stop := errors.New("stop")
	require.Same(t, stop, p.Channels(func(record.ChannelID, []byte) error { return stop }))
	require.Same(t, stop, p.Extents(1, func(record.SegmentID, index.Extent) error { return stop }))
	require.Same(t, stop, p.Sessions(4, func(string, []byte) error { return stop }))
	require.Same(t, stop, p.Segments(func(record.SegmentID, index.SegmentMark) error { return stop }))
	require.NoError(t, p.AllCursors(func(record.ChannelID, string, []byte) error { return stop }))
}
