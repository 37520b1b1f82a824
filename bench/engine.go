package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/tools/node"
)

// EngineOptions say what to append without a network.
type EngineOptions struct {
	Span
	// Dir is a fresh folder for the node's data, on the disk to be measured.
	Dir string
	// RecordBytes is the size of a record's value; 1,024 by default.
	RecordBytes int
	// BlockBytes is the size of an append, which is as many records as fit;
	// 256 KiB by default.
	BlockBytes int
	// Writers is how many appends are under way at once; 2 by default, so that
	// one is made ready while one is synced. Each has a channel of its own.
	Writers int
	// Partitions is 1 by default: one file, as a disk's own figure is taken.
	Partitions int
	// ReadRounds is how often everything is read again; 3 by default, −1 for
	// never.
	ReadRounds int
}

// EnsureDefaults fills in what was left out.
func (o *EngineOptions) EnsureDefaults() {
	o.Span.EnsureDefaults()
	for p, n := range map[*int]int{&o.RecordBytes: 1024, &o.BlockBytes: 256 << 10, &o.Writers: 2, &o.Partitions: 1, &o.ReadRounds: 3} {
		if *p == 0 {
			*p = n
		}
	}
}

// Validate says what makes no sense.
func (o *EngineOptions) Validate() error {
	switch {
	case o.Dir == "":
		return fmt.Errorf("%w: a folder is needed", ErrOptions)
	case o.BlockBytes < o.RecordBytes || o.BlockBytes > partition.AppendBytesMax:
		return fmt.Errorf("%w: blocks of %d bytes, want those of a record (%d) to %d", ErrOptions, o.BlockBytes, o.RecordBytes, partition.AppendBytesMax)
	case o.Writers < 1 || o.Writers > 4096:
		return fmt.Errorf("%w: %d writers, want 1 to 4096", ErrOptions, o.Writers)
	}
	return nil
}

// Engine measures the store by itself: appends through the partition and Raft to
// the synced segment, and reads of what was written, from the page cache.
func Engine(ctx context.Context, o EngineOptions) (r *Report, err error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	content, err := newPayloads(o.RecordBytes)
	if err != nil {
		return nil, err
	}
	n, err := node.Open(node.Options{Dir: o.Dir, Listen: "-", Partitions: o.Partitions})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	r = &Report{Workload: "engine", Parameters: []Parameter{
		{"record bytes", o.RecordBytes},
		{"block bytes", o.BlockBytes},
		{"writers", o.Writers},
		{"partitions", o.Partitions},
		{"seconds", o.Duration.Seconds()},
	}}
	e := &engine{o: &o, content: content}
	for i := range o.Writers {
		c, err := n.Store().Ensure(fmt.Sprintf("bench-%d", i))
		if err != nil {
			return nil, err
		}
		e.writers = append(e.writers, &engineWriter{e: e, channel: c, latency: NewHistogram(), done: make(chan error, 1)})
	}
	if err := e.appendAll(ctx, r); err != nil {
		return nil, err
	}
	return r, e.readAll(ctx, r)
}

// engine is that workload under way.
type engine struct {
	o       *EngineOptions
	content *payloads
	writers []*engineWriter
	bytes   atomic.Uint64 // of batches, acknowledged
	records atomic.Uint64
	measure atomic.Bool
	stop    atomic.Bool
}

// engineWriter appends one block at a time to its channel.
type engineWriter struct {
	e       *engine
	channel *partition.Channel
	next    uint64 // the next record's number
	latency *Histogram
	done    chan error
	data    []byte
}

func (e *engine) appendAll(ctx context.Context, r *Report) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var work sync.WaitGroup
	for _, w := range e.writers {
		work.Go(func() {
			if err := w.run(); err != nil {
				fail(err)
			}
		})
	}
	var records uint64
	n, took, err := e.o.Span.measure(ctx, e.bytes.Load, func() {
		e.measure.Store(true)
		records = e.records.Load()
	})
	records = e.records.Load() - records
	e.stop.Store(true)
	work.Wait()
	if err != nil {
		return err
	}
	all := NewHistogram()
	for _, w := range e.writers {
		all.Merge(w.latency)
	}
	// The first figure is the one that is compared with the disk's.
	r.add("synced", "MB/s", float64(n)/took.Seconds()/1e6)
	r.rates("appended", records, e.o.RecordBytes, took)
	all.report(r, "block synced after")
	return nil
}

func (w *engineWriter) run() error {
	e, now := w.e, clock()
	for !e.stop.Load() {
		a := w.channel.NewAppend()
		for a.Bytes()+e.o.RecordBytes <= e.o.BlockBytes || a.Count() == 0 {
			w.data = e.content.appendTo(w.data[:0], w.next, 0)
			if err := a.AddValue(w.data); err != nil {
				a.Discard()
				return err
			}
			w.next++
		}
		bytes, count := uint64(a.Bytes()), uint64(a.Count())
		a.Done = func(a *partition.Append) { w.done <- a.Err }
		start := now()
		w.channel.Append(a)
		if err := <-w.done; err != nil {
			return fmt.Errorf("append: %w", err)
		}
		if e.measure.Load() {
			w.latency.Record(time.Duration(now() - start))
		}
		e.bytes.Add(bytes)
		e.records.Add(count)
	}
	return nil
}

// readAll reads every record of every channel, from its first to its last.
func (e *engine) readAll(ctx context.Context, r *Report) error {
	var records uint64
	var took []time.Duration
	for range e.o.ReadRounds {
		start := time.Now()
		records = 0
		for _, w := range e.writers {
			n, err := e.read(ctx, w, false)
			if err != nil {
				return err
			}
			records += n
		}
		took = append(took, time.Since(start))
	}
	if len(took) == 0 {
		return nil
	}
	d := median(took)
	r.add("read from cache", "GB/s", float64(records)*float64(e.o.RecordBytes)/d.Seconds()/1e9)
	r.add("read from cache records", "msgs/s", float64(records)/d.Seconds())
	// What was read is compared once, outside of the measured time.
	for _, w := range e.writers {
		if _, err := e.read(ctx, w, true); err != nil {
			return err
		}
	}
	return nil
}

// read visits all records of a writer's channel and counts them. Checksums are
// always compared, contents if asked to.
func (e *engine) read(ctx context.Context, w *engineWriter, compare bool) (n uint64, err error) {
	reader := w.channel.NewReader(1)
	defer reader.Close()
	var b record.Batch
	var r record.Record
	for {
		first, ok, err := reader.Next(&b)
		if err != nil {
			return n, err
		}
		if !ok || ctx.Err() != nil {
			break
		}
		for k := first; k < int(b.Count); k++ {
			if err := b.Record(k, &r); err != nil {
				return n, err
			}
			if uint64(r.Offset) != n+1 || len(r.Value) != e.o.RecordBytes {
				return n, fmt.Errorf("%w: offset %d with %d bytes, want offset %d with %d", ErrOrder, r.Offset, len(r.Value), n+1, e.o.RecordBytes)
			}
			if compare {
				if _, err := e.content.check(r.Value, n); err != nil {
					return n, err
				}
			}
			n++
		}
	}
	if ctx.Err() != nil {
		return n, context.Cause(ctx)
	}
	if n != w.next {
		return n, fmt.Errorf("%w: %d records of %d", ErrOrder, n, w.next)
	}
	return n, nil
}
