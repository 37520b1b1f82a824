package partition_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// value is what the tests of reading store at an offset: its size differs, and
// it can be compressed.
func value(channel string, off record.Offset) string {
	return fmt.Sprintf("%s %d %s", channel, off, strings.Repeat("leat ", int(off*7%60)))
}

// fill stores values up to an offset, some in each Append.
func fill(n *node, channel string, last record.Offset) {
	n.t.Helper()
	c := n.ensure(channel)
	for off := c.Last() + 1; off <= last; {
		var values []string
		for range 1 + off%7 {
			values = append(values, value(channel, off))
			off++
		}
		n.store(channel, values...)
	}
}

// requireFrom reads from an offset on and compares.
func requireFrom(t testing.TB, c *partition.Channel, from record.Offset) {
	t.Helper()
	got := read(t, c, from)
	from = max(from, c.First())
	require.Len(t, got, int(c.Last()+1-min(from, c.Last()+1)), "from %d", from)
	for i, v := range got {
		require.Equal(t, value(c.Name(), from+record.Offset(i)), v, "from %d", from)
	}
}

// sealed waits until all segments but the active one are sealed, and in the
// index.
func (n *node) sealed() (segments int) {
	n.t.Helper()
	require.Eventually(n.t, func() bool {
		infos := n.log.Segments()
		segments = len(infos)
		for _, info := range infos[:segments-1] {
			if info.State != segment.StateSealed {
				return false
			}
		}
		n.part.IndexSealed()
		return segments < 2 || n.part.Indexed() == infos[segments-2].ID
	}, 10*time.Second, time.Millisecond)
	return segments
}

// Aim: a reader finds every offset, wherever it lies. Method: channels of each
// codec over many segments; read from every offset, with extents in the index,
// after a restart, and with no extents at all; also behind a trim.
func TestReadFromEverywhere(t *testing.T) {
	n := start(t)
	names := []string{"none", "s2", "zstd"}
	for _, name := range names {
		_, err := n.part.Create(context.Background(), name, partition.Config{Compression: name})
		require.NoError(t, err)
	}
	for last := record.Offset(50); last <= 400; last += 50 {
		for _, name := range names {
			fill(n, name, last)
		}
	}
	check := func() {
		for _, name := range names {
			c := n.ensure(name)
			for off := record.Offset(0); off <= c.Last()+2; off++ {
				requireFrom(t, c, off)
			}
		}
	}
	require.Greater(t, n.sealed(), 3)
	check()
	n.restart(nil)
	check()
	n.restart(func() { n.ixFS = pebblevfs.NewMem() })
	require.Equal(t, n.log.Segments()[len(n.log.Segments())-2].ID, n.part.Indexed(), "extents are made anew at the start")
	check()
	for _, name := range names {
		require.NoError(t, n.ensure(name).Trim(context.Background(), 317))
	}
	check()
	require.NoError(t, n.ensure("s2").Purge(context.Background()))
	check()
}

// Aim: a reader at the tail gets everything once and in order while it is
// appended, segments are sealed, and the front is trimmed. Method: readers that
// start at different times and pause at will follow appends over many segments.
func TestReadWhileAppending(t *testing.T) {
	n := start(t)
	const last = 3000
	c := n.ensure("a")
	n.store("a", value("a", 1))
	var readers sync.WaitGroup
	for k := range 4 {
		readers.Go(func() {
			wake := make(chan struct{}, 1)
			cancel := c.Watch(func() {
				select {
				case wake <- struct{}{}:
				default:
				}
			})
			defer cancel()
			r := c.NewReader(record.Offset(1 + k*100))
			defer r.Close()
			var b record.Batch
			var rec record.Record
			for turn := 0; r.Offset() <= last; turn++ {
				at := r.Offset()
				first, ok, err := r.Next(&b)
				if err != nil {
					t.Errorf("reader %d: %v", k, err)
					return
				}
				if !ok {
					r.Pause()
					<-wake
					continue
				}
				if got := b.Base + record.Offset(first); got < at || got > at && c.First() < got {
					t.Errorf("reader %d: offset %d after %d, first is %d", k, got, at, c.First())
					return
				}
				for i := first; i < int(b.Count); i++ {
					if err := b.Record(i, &rec); err != nil || string(rec.Value) != value("a", rec.Offset) {
						t.Errorf("reader %d: offset %d is %q, %v", k, rec.Offset, rec.Value, err)
						return
					}
				}
				if turn%(k+2) == 0 {
					r.Pause()
				}
			}
		})
	}
	for upTo := record.Offset(100); upTo <= last; upTo += 100 {
		fill(n, "a", upTo)
		if upTo > 1500 {
			require.NoError(t, c.Trim(context.Background(), upTo-1400))
		}
	}
	readers.Wait()
	require.Greater(t, n.sealed(), 3)
}

// Aim: entries that are taken back are never read, though others come to have
// their offsets, also by a reader that was in the segment before. Method: as a
// follower, log entries without applying them; read; replace them; read on.
func TestReadOfReplacedEntries(t *testing.T) {
	for _, many := range []int{1, 400} { // in one segment, and over some
		t.Run(strconv.Itoa(many), func(t *testing.T) {
			n := start(t)
			n.store("a", "1", "2")
			c := n.ensure("a")
			r := c.NewReader(1)
			defer r.Close()
			require.Equal(t, []string{"1", "2"}, readOn(t, r))

			n.leader.depose()
			id := c.Info().ID
			before, _ := n.log.Last()
			entry := func(index, term uint64, base record.Offset, v string) segment.Entry {
				var b record.Builder
				b.Reset("a")
				b.AppendValue([]byte(v + strings.Repeat(".", 500)))
				raw := b.Finish(record.CodecNone)
				record.Stamp(raw, id, base, term, epochStart+int64(term))
				return segment.Entry{Index: index, Term: term, Type: record.FrameData, Payload: raw}
			}
			for i := range many {
				require.NoError(t, n.log.Append([]segment.Entry{entry(before+1+uint64(i), 5, record.Offset(3+i), "stale")}))
			}
			require.Empty(t, readOn(t, r))
			late := c.NewReader(1) // it knows the segment with what is in it now
			defer late.Close()
			require.Equal(t, []string{"1", "2"}, readOn(t, late))
			off, err := c.OffsetAt(epochStart * 2)
			require.NoError(t, err)
			require.EqualValues(t, 3, off)
			n.part.IndexSealed()
			require.Zero(t, n.part.Indexed(), "nothing that may be taken back is in the index")

			require.NoError(t, n.log.TruncateSuffix(before+1))
			for i := range many {
				e := entry(before+1+uint64(i), 6, record.Offset(3+i), fmt.Sprint("new ", i))
				require.NoError(t, n.log.Append([]segment.Entry{e}))
				n.part.Apply([]partition.Entry{{Index: e.Index, Term: e.Term, Payload: e.Payload}})
			}
			for _, values := range [][]string{readOn(t, r), readOn(t, late), read(t, c, 3)} {
				require.Len(t, values, many)
				for i, v := range values {
					require.True(t, strings.HasPrefix(v, fmt.Sprintf("new %d.", i)), v)
				}
			}
			n.sealed()
			require.Len(t, read(t, c, 3), many)
		})
	}
}

// Aim: what has left the log is not looked for. Method: trim, drop segments of
// the log, read and look up; with the extents of dropped segments still in the
// index, and after they are gone.
func TestReadAfterDrop(t *testing.T) {
	n := start(t)
	for last := record.Offset(100); last <= 600; last += 100 {
		fill(n, "a", last)
		fill(n, "b", last)
	}
	n.sealed()
	c := n.ensure("a")
	infos := n.log.Segments()
	require.Greater(t, len(infos), 4)
	r := c.NewReader(1)
	defer r.Close()
	var b record.Batch
	_, ok, err := r.Next(&b)
	require.NoError(t, err)
	require.True(t, ok)
	r.Pause()
	for _, name := range []string{"a", "b"} {
		require.NoError(t, n.ensure(name).Trim(context.Background(), 590))
	}
	require.NoError(t, n.log.TruncatePrefix(infos[2].Last))
	require.Len(t, readOn(t, r), int(c.Last()-589))
	requireFrom(t, c, 1)
	off, err := c.OffsetAt(0)
	require.NoError(t, err)
	require.EqualValues(t, 590, off)
	n.part.IndexSealed()
	marks := 0
	require.NoError(t, n.opts.Index.Segments(func(seg record.SegmentID, _ index.SegmentMark) error {
		require.GreaterOrEqual(t, seg, infos[3].ID)
		marks++
		return nil
	}))
	require.Positive(t, marks)
	requireFrom(t, c, 1)
}

// Aim: damage is reported as such and nothing else is returned. Method: drop
// segments that hold records of the channel; flip a byte in a sealed segment.
func TestReadOfDamage(t *testing.T) {
	n := newNode(t)
	n.open()
	n.lead()
	fill(n, "a", 600)
	require.Greater(t, n.sealed(), 2)
	path := n.log.Segments()[1].Path
	n.close()
	f, err := n.files.OpenReadWrite(path)
	require.NoError(t, err)
	_, err = f.WriteAt(make([]byte, 300), 20_000) // more than what surrounds batches
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
	n.open()
	defer n.close()
	c := n.ensure("a")
	r := c.NewReader(1)
	defer r.Close()
	var b record.Batch
	for {
		at := r.Offset()
		_, ok, err := r.Next(&b)
		if err == nil {
			require.True(t, ok)
			continue
		}
		require.ErrorIs(t, err, partition.ErrCorrupt)
		require.ErrorContains(t, err, fmt.Sprintf(`channel "a": read offset %d`, at))
		require.ErrorContains(t, err, path)
		require.Equal(t, at, r.Offset())
		break
	}
	require.NoError(t, n.log.TruncatePrefix(n.log.Segments()[1].Last))
	_, _, err = c.NewReader(1).Next(&b)
	require.ErrorIs(t, err, partition.ErrCorrupt, "records that are owed are gone")
}

// Aim: a log that takes no writes any more is read all the same, and publishers
// get an error. Method: let a sync fail; then close the log under a reader.
func TestReadOfPoisonedLog(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	n := newNode(t)
	n.files = fault
	n.open()
	n.lead()
	fill(n, "a", 300)
	n.sealed()
	fault.Inject(vfs.Rule{Op: vfs.OpSyncData, Err: fmt.Errorf("bad disk"), Count: 1})
	_, err := n.append(n.ensure("a"), "lost")
	require.ErrorIs(t, err, partition.ErrUnknownOutcome)
	require.Error(t, n.log.Poisoned())
	n.part.Fail(n.log.Poisoned())
	_, err = n.append(n.ensure("a"), "late")
	require.ErrorIs(t, err, partition.ErrClosed)
	require.ErrorIs(t, err, segment.ErrPoisoned)
	c := n.ensure("a")
	requireFrom(t, c, 1)
	r := c.NewReader(1)
	require.NoError(t, n.log.Close())
	var b record.Batch
	_, _, err = r.Next(&b)
	require.ErrorIs(t, err, partition.ErrClosed)
	n.leader.stop()
	require.NoError(t, n.part.Close())
	require.NoError(t, n.ix.Close())
}

// Aim: times are found wherever they lie: in segments, between them, between
// channels. Method: each Append has its own time; every time between is looked
// up and compared with a search over all, with and without the index.
func TestOffsetAt(t *testing.T) {
	n := newNode(t)
	now := int64(epochStart)
	n.opts.Now = func() int64 { return now }
	n.open()
	n.lead()
	defer n.close()
	type stored struct {
		at   int64
		base record.Offset
	}
	all := map[string][]stored{}
	for i := range 300 {
		now += int64(10 * (1 + i%3))
		name := []string{"a", "b", "a", "rare"}[i%4]
		if name == "rare" && i%40 != 3 {
			continue
		}
		base := n.store(name, strings.Repeat("x", 700), "y")
		all[name] = append(all[name], stored{now, base})
	}
	check := func() {
		for name, list := range all {
			c := n.ensure(name)
			for at := int64(epochStart); at <= now+10; at += 5 {
				want := c.Last() + 1
				for i := len(list) - 1; i >= 0 && list[i].at >= at; i-- {
					want = max(list[i].base, c.First())
				}
				got, err := c.OffsetAt(at)
				require.NoError(t, err)
				require.Equal(t, want, got, "%s at %d", name, at-epochStart)
			}
		}
	}
	check()
	require.Greater(t, n.sealed(), 3)
	check()
	require.NoError(t, n.ensure("a").Trim(context.Background(), 151))
	check()
}
