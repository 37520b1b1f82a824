package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"leat.dev/leat/bench/rawnats"
	"leat.dev/leat/wire/api"
)

// ReplayOptions say what to replay.
type ReplayOptions struct {
	Target
	// Records are stored first; 500,000 by default.
	Records int
	// RecordBytes is the size of each; 1,024 by default.
	RecordBytes int
	// Rounds is how often they are replayed; 3 by default. The figures are
	// those of the round in the middle.
	Rounds int
	// Pipeline receives over a bare connection instead of with nats.go.
	Pipeline bool
}

// EnsureDefaults fills in what was left out.
func (o *ReplayOptions) EnsureDefaults() {
	if o.Records == 0 {
		o.Records = 500_000
	}
	if o.RecordBytes == 0 {
		o.RecordBytes = 1024
	}
	if o.Rounds == 0 {
		o.Rounds = 3
	}
	if o.Channel == "" {
		o.Channel = "bench-" + nuid.Next()
	}
}

// Validate says what makes no sense.
func (o *ReplayOptions) Validate() error {
	if o.Records < 1 || o.Rounds < 1 {
		return fmt.Errorf("%w: %d records, %d rounds, want 1 or more", ErrOptions, o.Records, o.Rounds)
	}
	return nil
}

// Replay stores records and measures how fast a client gets them again. Order
// and content of each are compared.
func Replay(ctx context.Context, o ReplayOptions) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	content, err := newPayloads(o.RecordBytes)
	if err != nil {
		return nil, err
	}
	client, read := "nats.go", readNATS
	if o.Pipeline {
		client, read = "bare connection", readRaw
	}
	r := &Report{Workload: "replay", Parameters: []Parameter{
		{"client", client}, {"records", o.Records}, {"record bytes", o.RecordBytes}, {"rounds", o.Rounds},
	}}
	err = o.withChannel(ctx, func(*nats.Conn) error {
		if err := fill(ctx, &o, content); err != nil {
			return err
		}
		var took []time.Duration
		for range o.Rounds {
			c := &checked{content: content, left: uint64(o.Records)}
			start := time.Now()
			if err := read(ctx, &o, c); err != nil {
				return err
			}
			took = append(took, time.Since(start))
		}
		r.rates("replayed", uint64(o.Records), o.RecordBytes, median(took))
		return nil
	})
	return r, err
}

// checked compares records with those that were stored.
type checked struct {
	content *payloads
	next    uint64
	left    uint64
}

func (c *checked) take(data []byte) error {
	if _, err := c.content.check(data, c.next); err != nil {
		return err
	}
	c.next++
	c.left--
	return nil
}

// fill stores the records over a bare connection.
func fill(ctx context.Context, o *ReplayOptions, content *payloads) error {
	conn, err := rawnats.Dial(ctx, rawnats.Options{URL: o.Server, Name: "leat bench"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what went wrong on it was told by its calls
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	inbox := nats.NewInbox()
	if err := conn.Write(rawnats.AppendSub(nil, inbox, 1)); err != nil {
		return err
	}
	// Half of the window is sent whenever half of it is acknowledged: that
	// needs no second goroutine.
	half := uint64(max(1, min(8192, fillBytes/o.RecordBytes)))
	var acked acks
	sent, total := uint64(0), uint64(o.Records)
	var buf, data []byte
	more := func() error {
		buf = buf[:0]
		for n := min(half, total-sent); n > 0; n-- {
			data = content.appendTo(data[:0], sent, 0)
			buf = rawnats.AppendPub(buf, api.Prefix+"PUB."+o.Channel, inbox, data)
			sent++
		}
		return conn.Write(buf)
	}
	if err := errors.Join(more(), more()); err != nil {
		return err
	}
	err = conn.Receive(func(m *rawnats.Msg) error { return acked.take(m.Data) }, func() error {
		switch {
		case acked.last == total:
			return errDone
		case sent < total && sent-acked.last <= half:
			return more()
		}
		return nil
	})
	return finished(ctx, err)
}

const fillBytes = 4 << 20

// errDone ends a Receive that has all it wants.
var errDone = errors.New("done")

// finished is nil for errDone, and the reason of ctx when it ended the
// connection.
func finished(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, errDone):
		return nil
	case ctx.Err() != nil && errors.Is(err, net.ErrClosed):
		return context.Cause(ctx)
	}
	return err
}

func replayBody(o *ReplayOptions) ([]byte, error) {
	return json.Marshal(api.ReplayRequest{Count: uint64(o.Records)})
}

func readRaw(ctx context.Context, o *ReplayOptions, c *checked) error {
	conn, err := rawnats.Dial(ctx, rawnats.Options{URL: o.Server, Name: "leat bench"})
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // what went wrong on it was told by its calls
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	body, err := replayBody(o)
	if err != nil {
		return err
	}
	inbox := nats.NewInbox()
	if err := conn.Write(rawnats.AppendPub(rawnats.AppendSub(nil, inbox, 1), api.Prefix+"REPLAY."+o.Channel, inbox, body)); err != nil {
		return err
	}
	return finished(ctx, conn.Receive(func(m *rawnats.Msg) error {
		if m.Header == nil {
			return errors.Join(ErrContent, refused(m.Data))
		}
		if err := c.take(m.Data); err != nil {
			return err
		}
		if c.left == 0 {
			return errDone
		}
		return nil
	}, nil))
}

func readNATS(ctx context.Context, o *ReplayOptions, c *checked) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	closed := make(chan struct{})
	nc, err := nats.Connect(o.Server, nats.Name("leat bench"), nats.NoReconnect(), nats.ClosedHandler(func(nc *nats.Conn) {
		fail(errors.Join(nc.LastError(), nats.ErrConnectionClosed))
		close(closed)
	}))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", o.Server, err)
	}
	defer func() { nc.Close(); <-closed }()
	body, err := replayBody(o)
	if err != nil {
		return err
	}
	inbox := nats.NewInbox()
	sub, err := nc.Subscribe(inbox, func(m *nats.Msg) {
		if c.left == 0 {
			return // the end of the replay is told by one more message
		}
		err := refused(m.Data)
		if err == nil {
			err = c.take(m.Data)
		}
		if err != nil {
			fail(err)
		} else if c.left == 0 {
			fail(errDone)
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err == nil {
		err = nc.PublishRequest(api.Prefix+"REPLAY."+o.Channel, inbox, body)
	}
	if err != nil {
		return fmt.Errorf("ask for a replay: %w", err)
	}
	<-ctx.Done()
	return finished(ctx, context.Cause(ctx))
}

func median(d []time.Duration) time.Duration {
	return slices.Sorted(slices.Values(d))[len(d)/2]
}
