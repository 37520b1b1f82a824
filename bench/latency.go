package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"leat.dev/leat/bench/rawnats"
	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/api"
)

// LatencyOptions say what to publish one at a time.
type LatencyOptions struct {
	Target
	Span
	// RecordBytes is 128 by default.
	RecordBytes int
	// ProbeDir is a folder on the node's disk; one fdatasync at a time is
	// measured there as well, in turns with the publishes. None is measured
	// when it is empty.
	ProbeDir string
}

// EnsureDefaults fills in what was left out.
func (o *LatencyOptions) EnsureDefaults() {
	o.Span.EnsureDefaults()
	if o.RecordBytes == 0 {
		o.RecordBytes = 128
	}
	if o.Channel == "" {
		o.Channel = "bench-" + nuid.Next()
	}
}

const (
	probeBytes  = 64 << 20
	latencyTurn = 500 * time.Millisecond
	// What a node writes for one record of a few bytes: a frame with its header
	// and a batch.
	frameOverhead = 96 + 72 + 64
)

// Latency measures one synchronous publisher on a bare connection: the next
// record is sent when the one before is acknowledged.
func Latency(ctx context.Context, o LatencyOptions) (*Report, error) {
	o.EnsureDefaults()
	content, err := newPayloads(o.RecordBytes)
	if err != nil {
		return nil, err
	}
	r := &Report{Workload: "latency", Parameters: []Parameter{
		{"client", "bare connection"}, {"record bytes", o.RecordBytes}, {"in flight", 1}, {"seconds", o.Duration.Seconds()},
	}}
	published, synced := NewHistogram(), NewHistogram()
	err = o.withChannel(ctx, func(*nats.Conn) error {
		s := &syncPublisher{o: &o, content: content, latency: published}
		conn, err := rawnats.Dial(ctx, rawnats.Options{URL: o.Server, Name: "leat bench"})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }() // what went wrong on it was told by its calls
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		if err := s.turn(ctx, conn, o.Warmup); err != nil {
			return err
		}
		published.Reset()
		return o.turns(ctx, synced, func() error { return s.turn(ctx, conn, latencyTurn) })
	})
	if err != nil {
		return nil, err
	}
	published.report(r, "acknowledged after")
	synced.report(r, "fdatasync")
	if synced.Count() > 0 {
		r.add("p50 ratio", "x fdatasync", float64(published.Quantile(50))/float64(synced.Quantile(50)))
		r.add("p99 ratio", "x fdatasync", float64(published.Quantile(99))/float64(synced.Quantile(99)))
	}
	return r, nil
}

// turns alternates publishes and the probe, so that both see the same disk.
func (o *LatencyOptions) turns(ctx context.Context, synced *Histogram, publish func() error) error {
	var probe *syncProbe
	if o.ProbeDir != "" {
		p, err := newSyncProbe(vfs.OS{}, o.ProbeDir, o.RecordBytes+frameOverhead)
		if err != nil {
			return err
		}
		defer p.close()
		probe = p
	}
	for spent := time.Duration(0); spent < o.Duration; spent += latencyTurn {
		if err := publish(); err != nil {
			return err
		}
		if probe == nil {
			continue
		}
		if err := probe.run(ctx, latencyTurn, synced); err != nil {
			return err
		}
	}
	return nil
}

// syncPublisher publishes one record at a time.
type syncPublisher struct {
	o       *LatencyOptions
	content *payloads
	latency *Histogram
	acks    acks
	inbox   string
	buf     []byte
	data    []byte
}

// turn publishes for the given time. All of it happens in one goroutine, where
// an answer makes the next publish: nobody has to be woken.
func (s *syncPublisher) turn(ctx context.Context, conn *rawnats.Conn, d time.Duration) error {
	now := clock()
	var sent int64
	publish := func() error {
		s.data = s.content.appendTo(s.data[:0], s.acks.last, 0)
		s.buf = rawnats.AppendPub(s.buf, api.Prefix+"PUB."+s.o.Channel, s.inbox, s.data)
		sent = now()
		err := conn.Write(s.buf)
		s.buf = s.buf[:0]
		return err
	}
	if s.inbox == "" {
		s.inbox = nats.NewInbox()
		s.buf = rawnats.AppendSub(s.buf[:0], s.inbox, 1)
	}
	if err := publish(); err != nil {
		return err
	}
	return finished(ctx, conn.Receive(func(m *rawnats.Msg) error {
		at := now()
		if err := s.acks.take(m.Data); err != nil {
			return err
		}
		s.latency.Record(time.Duration(at - sent))
		if time.Duration(at) >= d {
			return errDone
		}
		return publish()
	}, nil))
}

// syncProbe measures what the disk takes: a small append and fdatasync, into
// blocks that were written before, as a segment's are.
type syncProbe struct {
	files vfs.FS
	path  string
	file  vfs.File
	data  []byte
	at    int64
}

func newSyncProbe(files vfs.FS, dir string, n int) (p *syncProbe, err error) {
	p = &syncProbe{files: files, path: filepath.Join(dir, "leat-probe-"+nuid.Next()), data: make([]byte, n)}
	if p.file, err = files.Create(p.path); err != nil {
		return nil, fmt.Errorf("make a file to sync: %w", err)
	}
	if err := errors.Join(p.file.Preallocate(probeBytes), p.file.Sync()); err != nil {
		p.close()
		return nil, fmt.Errorf("make a file to sync: %w", err)
	}
	for i := range p.data {
		p.data[i] = byte(i)
	}
	return p, nil
}

func (p *syncProbe) run(ctx context.Context, d time.Duration, h *Histogram) error {
	now := clock()
	for end := int64(d); now() < end; {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if p.at+int64(len(p.data)) > probeBytes {
			p.at = 0
		}
		start := now()
		if _, err := p.file.WriteAt(p.data, p.at); err != nil {
			return fmt.Errorf("write the probe: %w", err)
		}
		if err := p.file.SyncData(); err != nil {
			return fmt.Errorf("sync the probe: %w", err)
		}
		h.Record(time.Duration(now() - start))
		p.at += int64(len(p.data))
	}
	return nil
}

// close removes the file; that it can't be is no reason to lose the figures.
func (p *syncProbe) close() {
	_ = p.file.Close()
	_ = p.files.Remove(p.path)
}
