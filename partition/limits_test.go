package partition_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// Aim: what is too large for the log, the index or the format is refused with
// ErrTooLarge or ErrConfig before anything is written, what is just not too
// large is stored, and neither hurts what comes behind. Method: each thing at
// and over its limit, in a log of small and one of large segments; a restart
// with the index as written, one without.
func TestLimits(t *testing.T) {
	for _, segmentBytes := range []int64{64 << 10, 64 << 20} {
		t.Run(strconv.FormatInt(segmentBytes, 10), func(t *testing.T) {
			n := newNode(t)
			n.seg.SegmentBytes = segmentBytes
			n.open()
			n.lead()
			t.Cleanup(n.close)
			limits(t, n)
			want := dump(n.part)
			n.restart(nil)
			require.Equal(t, want, dump(n.part))
			n.store("a", "goes on")
			want = dump(n.part)
			n.restart(func() { n.ixFS = newNode(t).ixFS })
			require.Equal(t, want, dump(n.part))
		})
	}
}

func limits(t *testing.T, n *node) {
	t.Helper()
	ctx := context.Background()
	largest := record.ValueBytesMax // or what fits besides a long name
	if n.log.PayloadBytesMax() < largest {
		largest = n.log.PayloadBytesMax() - 1000
	}
	name := strings.Repeat("n", record.ChannelNameBytesMax)
	_, err := n.append(n.ensure(name), strings.Repeat("v", largest))
	require.NoError(t, err)
	a := n.ensure("a").NewAppend()
	require.ErrorIs(t, a.AddValue(make([]byte, record.ValueBytesMax+1)), partition.ErrTooLarge)
	require.ErrorIs(t, a.Add(&record.Record{Value: make([]byte, largest)}, make([]byte, 1000)), partition.ErrTooLarge)
	require.ErrorIs(t, a.Add(&record.Record{Key: make([]byte, record.KeyBytesMax+1)}, nil), partition.ErrTooLarge)
	require.ErrorIs(t, a.Add(&record.Record{Subject: make([]byte, record.SubjectBytesMax+1)}, nil), partition.ErrTooLarge)
	require.ErrorIs(t, a.Add(&record.Record{Headers: make([]byte, record.HeaderBytesMax+1)}, nil), partition.ErrTooLarge)
	require.Zero(t, a.Count())
	// An Append that is not full takes a record of any size that fits alone.
	half := min(partition.AppendBytesMax, n.log.PayloadBytesMax()/2)
	for !a.Full() {
		require.NoError(t, a.AddValue(make([]byte, 1000)))
	}
	require.InDelta(t, half, a.Bytes(), 2000)
	err = a.AddValue(make([]byte, largest))
	if largest == record.ValueBytesMax {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, partition.ErrTooLarge)
	}
	done := make(chan error, 1)
	a.Done = func(a *partition.Append) { done <- a.Err }
	a.Channel().Append(a)
	require.NoError(t, <-done)

	subjects := func(count, size int) (cfg partition.Config) {
		for i := range count {
			cfg.Subjects = append(cfg.Subjects, fmt.Sprintf("%0*d", size, i))
		}
		return cfg
	}
	_, err = n.part.Create(ctx, "many", subjects(1025, 4))
	require.ErrorIs(t, err, partition.ErrConfig)
	_, err = n.part.Create(ctx, "many", subjects(70, 4000))
	require.ErrorIs(t, err, partition.ErrConfig)
	_, err = n.part.Create(ctx, "many", subjects(60, 4000))
	fits(t, err, n, 60*4000)

	session := func(name, value int) error {
		return await(func(done func(error)) { n.part.PutSession(1, strings.Repeat("s", name), make([]byte, value), done) })
	}
	fits(t, session(index.MaxNameBytes, index.MaxValueBytes), n, index.MaxValueBytes)
	require.ErrorIs(t, session(index.MaxNameBytes+1, 1), partition.ErrTooLarge)
	require.ErrorIs(t, session(1, index.MaxValueBytes+1), partition.ErrTooLarge)

	put := func(name, meta int, place *cursor.Cursor) error {
		return await(func(done func(error)) {
			n.ensure("a").PutCursor(strings.Repeat("c", name), make([]byte, meta), place, done)
		})
	}
	fits(t, put(index.MaxNameBytes, 64<<10, cursor.New(1)), n, 64<<10)
	require.ErrorIs(t, put(index.MaxNameBytes+1, 1, cursor.New(1)), partition.ErrTooLarge)
	require.ErrorIs(t, put(1, 64<<10+1, cursor.New(1)), partition.ErrTooLarge)
	require.ErrorIs(t, put(1, 1, holes(300_000)), partition.ErrTooLarge)
}

// fits expects that what has so many bytes is stored if the log takes it.
func fits(t *testing.T, err error, n *node, size int) {
	t.Helper()
	if size < n.log.PayloadBytesMax() {
		require.NoError(t, err)
	} else {
		require.ErrorIs(t, err, partition.ErrTooLarge)
	}
}

// holes is a cursor with so many ranges above its floor.
func holes(count int) *cursor.Cursor {
	c := cursor.New(1)
	c.Sent(record.Offset(2 * count))
	for i := range count {
		c.Ack(record.Offset(2 * (i + 1)))
	}
	return c
}

// Aim: a cursor that grows over what the index takes does not end the writing of
// the index; it forgets what it may. Method: advance one by large deltas until
// it is too large, restart.
func TestCursorOutgrowsIndex(t *testing.T) {
	n := newNode(t)
	n.seg.SegmentBytes = 64 << 20
	n.open()
	n.lead()
	t.Cleanup(n.close)
	c := n.ensure("a")
	place := cursor.New(1)
	require.NoError(t, await(func(done func(error)) { c.PutCursor("w", []byte("meta"), place, done) }))
	_ = place.AppendDelta(nil)
	const step, steps = 100_000, 8
	for s := range steps {
		for i := range step {
			off := record.Offset(2 * (s*step + i + 1))
			place.Sent(off)
			place.Ack(off)
		}
		require.NoError(t, await(func(done func(error)) { c.AdvanceCursor("w", place.AppendDelta(nil), done) }))
	}
	require.Greater(t, len(place.AppendTo(nil)), index.MaxValueBytes)
	n.store("a", "x")
	require.Eventually(t, func() bool {
		applied, _, err := n.opts.Index.Applied()
		return err == nil && applied == n.part.Applied()
	}, patience, tick)
	want := dump(n.part)
	n.restart(nil)
	require.Equal(t, want, dump(n.part))
	info, ok := n.ensure("a").Cursor("w")
	require.True(t, ok)
	require.Zero(t, info.Place.Floor())
	require.Equal(t, place.LastSent(), info.Place.LastSent())
	require.Equal(t, "meta", string(info.Meta))
}

// Aim: an Append that was given away is not used again by mistake. Method: use
// one.
func TestAppendIsGivenAway(t *testing.T) {
	n := start(t)
	c := n.ensure("a")
	held := make(chan struct{})
	n.leader.setDecide(func([]byte) (verdict, error) { <-held; return accept, nil })
	a := c.NewAppend()
	require.NoError(t, a.AddValue(nil))
	done := make(chan struct{})
	a.Done = func(*partition.Append) { close(done) }
	c.Append(a)
	require.Panics(t, func() { _ = a.AddValue(nil) })
	require.Panics(t, func() { c.Append(a) })
	require.Panics(t, a.Discard)
	close(held)
	<-done
	b := n.ensure("b").NewAppend()
	require.Panics(t, func() { c.Append(b) })
	b.Discard()
	var empty *partition.Append
	b = c.NewAppend()
	b.Done = func(a *partition.Append) { empty = a }
	c.Append(b)
	require.Same(t, b, empty, "an empty Append is done at once")
}

// Aim: the metrics say what happened. Method: a known history.
func TestMetrics(t *testing.T) {
	n := newNode(t)
	reg := prometheus.NewPedanticRegistry()
	n.opts.Registerer = reg
	n.open()
	n.lead()
	n.store("a", "1", "2")
	n.store("b", "3")
	require.NoError(t, n.ensure("b").Delete(context.Background()))
	_, err := n.append(n.ensure("b"), "4")
	require.NoError(t, err)
	n.leader.setDecide(func([]byte) (verdict, error) { return refuse, partition.ErrNoSpace })
	_, err = n.append(n.ensure("b"), "4")
	require.Error(t, err)
	n.close()
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[strings.TrimPrefix(f.GetName(), "leat_partition_")] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	require.Positive(t, got["bytes_total"])
	require.Positive(t, got["index_flushes_total"])
	delete(got, "bytes_total")
	delete(got, "index_flushes_total")
	require.Equal(t, map[string]float64{
		"appends_total": 3, "records_total": 4, "append_seconds": 3, "entries_applied_total": 4, "refused_total": 1, "unknown_total": 0,
		"channels": 2, "queue_bytes": 0, "queue_full_total": 0, "index_failed": 0,
	}, got)
	// A second partition may share them.
	n.open()
	n.close()
}
