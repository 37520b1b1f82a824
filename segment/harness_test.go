package segment_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// options are those of most tests: small segments, no timers.
func options(fs vfs.FS) segment.Options {
	return segment.Options{
		FS: fs, Dir: "p", Partition: 7, ClusterID: "test", SegmentBytes: segment.SegmentBytesMin,
		MarkerDelay: -1, FillBytesMax: -1, Now: func() int64 { return 1_700_000_000_000_000_000 },
	}
}

func open(t testing.TB, o segment.Options) *segment.Log {
	t.Helper()
	l, err := segment.Open(o)
	require.NoError(t, err)
	return l
}

func closeLog(t testing.TB, l *segment.Log) {
	t.Helper()
	require.NoError(t, l.Close())
}

// batch encodes records of one channel.
func batch(ch record.ChannelID, base record.Offset, time int64, values ...string) []byte {
	var b record.Builder
	b.Reset(fmt.Sprintf("channel-%d", ch))
	for _, v := range values {
		b.AppendValue([]byte(v))
	}
	raw := b.Finish(record.CodecNone)
	record.Stamp(raw, ch, base, 1, time)
	return raw
}

// history makes entries that continue each other, and remembers them.
type history struct {
	rng     *rand.Rand
	base    uint64
	term    uint64
	entries []segment.Entry
	next    map[record.ChannelID]record.Offset
}

func newHistory(seed uint64) *history {
	return &history{rng: rand.New(rand.NewPCG(seed, 1)), term: 1, next: map[record.ChannelID]record.Offset{}}
}

func (h *history) last() uint64 { return h.base + uint64(len(h.entries)) }

// entry makes the next entry: mostly data, of up to bytesMax bytes.
func (h *history) entry(bytesMax int) segment.Entry {
	i := h.last() + 1
	e := segment.Entry{Index: i, Term: h.term, Type: record.FrameData, Time: int64(1000 * i), CommitHint: i - 1}
	switch h.rng.IntN(12) {
	case 0:
		e.Type = record.FrameNoop
	case 1:
		e.Type, e.Payload = record.FrameConfiguration, fmt.Appendf(nil, "configuration %d", i)
	case 2:
		e.Payload = record.AppendCommand(nil, 1, 1, e.Time, fmt.Appendf(nil, "command %d", i))
	default:
		for left := 1 + h.rng.IntN(bytesMax); left > 0; {
			ch := record.ChannelID(1 + h.rng.IntN(5))
			n := 1 + h.rng.IntN(min(left, 700))
			value := make([]byte, n)
			for k := range value {
				value[k] = byte(1 + h.rng.IntN(255))
			}
			base := h.next[ch] + 1
			e.Payload = append(e.Payload, batch(ch, base, e.Time, string(value), "second")...)
			h.next[ch] = base + 1
			left -= n
		}
	}
	h.entries = append(h.entries, e)
	return e
}

func (h *history) make(n, bytesMax int) []segment.Entry {
	entries := make([]segment.Entry, n)
	for i := range entries {
		entries[i] = h.entry(bytesMax)
	}
	return entries
}

// at is entry i as it was made.
func (h *history) at(i uint64) segment.Entry { return h.entries[i-h.base-1] }

// check reads everything back in every way there is and compares it with what
// was made. It is the checker that runs after every test.
func (h *history) check(t testing.TB, l *segment.Log) {
	t.Helper()
	last, _ := l.Last()
	require.LessOrEqual(t, last, h.last(), "a phantom entry")
	var buf []byte
	for i := l.First(); i <= last; i++ {
		var e segment.Entry
		var err error
		e, buf, err = l.Entry(i, buf)
		require.NoError(t, err)
		want := h.at(i)
		require.Equal(t, want.Index, e.Index)
		require.Equal(t, want.Term, e.Term)
		require.Equal(t, want.Type, e.Type)
		require.Equal(t, string(want.Payload), string(e.Payload), "entry %d", i)
		hd, err := l.Header(i)
		require.NoError(t, err)
		require.Equal(t, want.Term, hd.Term)
	}
	for _, i := range []uint64{0, l.First() - 1, last + 1} {
		_, _, err := l.Entry(i, nil)
		require.ErrorIs(t, err, segment.ErrNotFound)
	}
	require.Equal(t, h.batches(l.First(), last), readBatches(t, l))
}

// batches lists what was made of each channel from one entry to another.
func (h *history) batches(first, last uint64) map[record.ChannelID][]string {
	all := map[record.ChannelID][]string{}
	for i := first; i <= last; i++ {
		if e := h.at(i); e.Type == record.FrameData {
			_, err := record.CountBatches(e.Payload, func(_ int, b *record.Batch) error {
				all[b.Channel] = append(all[b.Channel], string(b.Raw()))
				return nil
			})
			if err != nil {
				panic(err)
			}
		}
	}
	return all
}

// readBatches reads all channels by iterators, and compares extents on the way.
func readBatches(t testing.TB, l *segment.Log) map[record.ChannelID][]string {
	t.Helper()
	all := map[record.ChannelID][]string{}
	for _, info := range l.Segments() {
		lease, err := l.Acquire(info.ID)
		require.NoError(t, err)
		channels := []record.ChannelID{0}
		lease.Extents(func(ch record.ChannelID, name []byte, e segment.Extent) bool {
			require.Equal(t, fmt.Sprintf("channel-%d", ch), string(name))
			channels = append(channels, ch)
			it := lease.Seek(ch, 0)
			var b record.Batch
			var got segment.Extent
			for {
				ok, err := it.Next(&b)
				require.NoError(t, err)
				if !ok {
					break
				}
				if got.Batches == 0 {
					got.First, got.TimeMin, got.TimeMax = b.Base, b.Time, b.Time
				}
				got.Last, got.TimeMin, got.TimeMax = b.Last(), min(got.TimeMin, b.Time), max(got.TimeMax, b.Time)
				got.Records, got.Batches, got.Bytes = got.Records+uint64(b.Count), got.Batches+1, got.Bytes+uint64(len(b.Raw()))
			}
			require.Equal(t, got, e)
			return true
		})
		for _, ch := range channels {
			it := lease.Seek(ch, 0)
			var b record.Batch
			for {
				ok, err := it.Next(&b)
				require.NoError(t, err)
				if !ok {
					break
				}
				all[ch] = append(all[ch], string(b.Raw()))
			}
		}
		lease.Release()
	}
	return all
}
