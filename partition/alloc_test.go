package partition_test

import (
	"fmt"
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// direct is a Proposer that appends and applies before Propose returns, or only
// applies when there is no log.
type direct struct {
	log     *segment.Log
	part    *partition.Partition
	entry   []segment.Entry
	applied []partition.Entry
}

func (d *direct) Propose(payload []byte, done func(uint64, error)) {
	last, _ := d.log.Last()
	d.entry = append(d.entry[:0], segment.Entry{Index: last + 1, Term: 1, Type: record.FrameData, Payload: payload})
	if err := d.log.Append(d.entry); err != nil {
		done(0, fmt.Errorf("%w: %w", partition.ErrUnknownOutcome, err))
		return
	}
	d.applied = append(d.applied[:0], partition.Entry{Index: last + 1, Term: 1, Payload: payload})
	d.part.Apply(d.applied)
	done(last+1, nil)
}

// directNode is a partition over fs with a direct Proposer.
func directNode(t testing.TB, fs vfs.FS, dir string, segmentBytes int64) (*partition.Partition, *segment.Log) {
	t.Helper()
	log, err := segment.Open(segment.Options{FS: fs, Dir: filepath.Join(dir, "p"), SegmentBytes: segmentBytes, MarkerDelay: -1, FillBytesMax: -1})
	require.NoError(t, err)
	ix, err := index.Open(index.Options{Dir: "index", FS: newNode(t).ixFS})
	require.NoError(t, err)
	p, err := partition.Open(partition.Options{Log: log, Index: ix.Partition(0)})
	require.NoError(t, err)
	p.Start(&direct{log: log, part: p})
	p.Lead(1)
	t.Cleanup(func() {
		for _, c := range []io.Closer{p, log, ix} {
			require.NoError(t, c.Close())
		}
	})
	return p, log
}

// round gives one Append of count records away and waits for it.
type round struct {
	channel *partition.Channel
	value   []byte
	count   int
	done    chan error
	finish  func(*partition.Append)
}

func newRound(c *partition.Channel, count, size int) *round {
	r := &round{channel: c, value: make([]byte, size), count: count, done: make(chan error, 1)}
	r.finish = func(a *partition.Append) { r.done <- a.Err }
	return r
}

func (r *round) give() {
	a := r.channel.NewAppend()
	for range r.count {
		if err := a.AddValue(r.value); err != nil {
			panic(err)
		}
	}
	a.Done = r.finish
	r.channel.Append(a)
}

func (r *round) run() error {
	r.give()
	return <-r.done
}

// Aim: the append path takes no memory, per record or per entry, but for what
// the log takes. Method: count allocations of an Append of one record and of
// many, from Append to Done, in the steady state, and of a log that gets the
// same entry.
func TestAppendAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget under the race detector")
	}
	p, _ := directNode(t, vfs.NewMem(), "", 64<<20)
	c, err := p.Ensure("orders")
	require.NoError(t, err)
	for _, count := range []int{1, 1000} {
		r := newRound(c, count, 10)
		for range 200 {
			require.NoError(t, r.run())
		}
		got := testing.AllocsPerRun(300, func() {
			if err := r.run(); err != nil {
				panic(err)
			}
		})
		t.Logf("%d records: %.0f allocations", count, got)
		require.LessOrEqual(t, got, logAllocs(t, count*11+4*count+100), "%d records", count)
	}
	// Several channels in one entry, whose payload is put together.
	var rounds []*round
	for i := range 20 {
		c, err := p.Ensure(fmt.Sprint("c", i))
		require.NoError(t, err)
		rounds = append(rounds, newRound(c, 10, 100))
	}
	all := func() {
		for _, r := range rounds {
			r.give()
		}
		for _, r := range rounds {
			if err := <-r.done; err != nil {
				panic(err)
			}
		}
	}
	for range 100 {
		all()
	}
	got := testing.AllocsPerRun(200, all)
	t.Logf("20 channels: %.2f allocations", got)
	require.LessOrEqual(t, got, 20*logAllocs(t, 1300), "at worst each is an entry")
}

// logAllocs counts what appending an entry of so many bytes takes below.
func logAllocs(t *testing.T, size int) float64 {
	t.Helper()
	log, err := segment.Open(segment.Options{FS: vfs.NewMem(), Dir: "p", SegmentBytes: 64 << 20, MarkerDelay: -1, FillBytesMax: -1})
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	var b record.Builder
	b.Reset("orders")
	b.AppendValue(make([]byte, size))
	entry := []segment.Entry{{Term: 1, Type: record.FrameData, Payload: b.Finish(record.CodecNone)}}
	record.Stamp(entry[0].Payload, 1, 1, 1, 1)
	one := func() {
		entry[0].Index++
		if err := log.Append(entry); err != nil {
			panic(err)
		}
	}
	for range 200 {
		one()
	}
	return testing.AllocsPerRun(300, one)
}

// Aim: reading takes no memory per batch. Method: read a segment's worth of
// batches, plain and compressed.
func TestReadAllocs(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory")
	}
	p, _ := directNode(t, vfs.NewMem(), "", 64<<20)
	for _, codec := range []string{"none", "s2"} {
		c, err := p.Create(t.Context(), codec, partition.Config{Compression: codec})
		require.NoError(t, err)
		r := newRound(c, 20, 100)
		for range 1000 {
			require.NoError(t, r.run())
		}
		var b record.Batch
		got := testing.AllocsPerRun(5, func() {
			r := c.NewReader(1)
			batches := 0
			for {
				_, ok, err := r.Next(&b)
				if err != nil {
					panic(err)
				}
				if !ok {
					break
				}
				batches++
			}
			r.Close()
			if batches != 1000 {
				panic(batches)
			}
		})
		t.Logf("%s: %.2f allocations for 1,000 batches", codec, got)
		require.LessOrEqual(t, got, 40.0)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, bm := range []struct{ count, size, window int }{
		{1, 128, 1}, {1, 128, 1000}, {100, 128, 64}, {100, 1024, 64},
	} {
		b.Run(fmt.Sprintf("records=%d/bytes=%d/window=%d", bm.count, bm.size, bm.window), func(b *testing.B) {
			p, log := directNode(b, vfs.NewMem(), "", 64<<20)
			c, err := p.Ensure("orders")
			require.NoError(b, err)
			r := newRound(c, bm.count, bm.size)
			slots := make(chan struct{}, bm.window)
			r.finish = func(a *partition.Append) {
				if a.Err != nil {
					panic(a.Err)
				}
				<-slots
			}
			b.SetBytes(int64(bm.count * bm.size))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				slots <- struct{}{}
				r.give()
				if i++; i%(1<<12) == 0 { // memory is not for ever
					last, _ := log.Last()
					require.NoError(b, log.TruncatePrefix(last))
				}
			}
			for range bm.window {
				slots <- struct{}{}
			}
			b.ReportMetric(float64(b.N*bm.count)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkReader(b *testing.B) {
	for _, bm := range []struct{ count, size int }{{1, 1024}, {64, 1024}, {1000, 128}} {
		for _, visit := range []bool{false, true} {
			b.Run(fmt.Sprintf("records=%d/bytes=%d/visit=%t", bm.count, bm.size, visit), func(b *testing.B) {
				p, _ := directNode(b, vfs.OS{}, b.TempDir(), 64<<20)
				c, err := p.Ensure("orders")
				require.NoError(b, err)
				r := newRound(c, bm.count, bm.size)
				r.done = make(chan error, 1000)
				const total = 128 << 20
				rounds := total / (bm.count * bm.size)
				for i := 0; i < rounds; i += 500 {
					for range min(500, rounds-i) {
						r.give()
					}
					for range min(500, rounds-i) {
						require.NoError(b, <-r.done)
					}
				}
				b.SetBytes(total)
				b.ReportAllocs()
				for b.Loop() {
					records, size := readAll(b, c, visit)
					require.Equal(b, rounds*bm.count, records)
					if visit {
						require.Equal(b, rounds*bm.count*bm.size, size)
					}
				}
			})
		}
	}
}

func readAll(b *testing.B, c *partition.Channel, visit bool) (records, size int) {
	b.Helper()
	r := c.NewReader(1)
	defer r.Close()
	var batch record.Batch
	var rec record.Record
	for {
		first, ok, err := r.Next(&batch)
		require.NoError(b, err)
		if !ok {
			return records, size
		}
		records += int(batch.Count) - first
		for k := first; visit && k < int(batch.Count); k++ {
			if err := batch.Record(k, &rec); err != nil {
				b.Fatal(err)
			}
			size += len(rec.Value)
		}
	}
}
