package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"leat.dev/leat/bench/rawnats"
	"leat.dev/leat/wire/api"
)

// PublishOptions say how to publish.
type PublishOptions struct {
	Target
	Span
	// RecordBytes is the size of each record; 128 by default.
	RecordBytes int
	// InFlight is how many may be without acknowledgement; 4,000 by default,
	// 16,000 with Pipeline.
	InFlight int
	// Pipeline publishes over a bare connection, in large writes, instead of
	// with nats.go.
	Pipeline bool
}

// EnsureDefaults fills in what was left out.
func (o *PublishOptions) EnsureDefaults() {
	o.Span.EnsureDefaults()
	if o.RecordBytes == 0 {
		o.RecordBytes = 128
	}
	if o.InFlight == 0 {
		o.InFlight = 4000
		if o.Pipeline {
			o.InFlight = 16000
		}
	}
	if o.Channel == "" {
		o.Channel = "bench-" + nuid.Next()
	}
}

// Validate says what makes no sense.
func (o *PublishOptions) Validate() error {
	if o.InFlight < 1 || o.InFlight > 1<<20 {
		return fmt.Errorf("%w: %d in flight, want 1 to %d", ErrOptions, o.InFlight, 1<<20)
	}
	return nil
}

// latencyEvery is which messages have their latency taken: reading the clock
// twice for each would be a good part of the client's work.
const latencyEvery = 16

// Publish measures acknowledged publishes.
func Publish(ctx context.Context, o PublishOptions) (*Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	content, err := newPayloads(o.RecordBytes)
	if err != nil {
		return nil, err
	}
	client := "nats.go"
	if o.Pipeline {
		client = "bare connection"
	}
	r := &Report{Workload: "publish", Parameters: []Parameter{
		{"client", client}, {"record bytes", o.RecordBytes}, {"in flight", o.InFlight}, {"seconds", o.Duration.Seconds()},
	}}
	err = o.withChannel(ctx, func(nc *nats.Conn) error {
		p := newPublisher(&o, content)
		n, took, err := p.run(ctx, o.Span, o.Pipeline)
		if err != nil {
			return err
		}
		r.rates("acked", n, o.RecordBytes, took)
		p.latency.report(r, "acknowledged after")
		return p.complete(ctx, nc, o.Channel)
	})
	return r, err
}

func (r *Report) rates(name string, n uint64, recordBytes int, took time.Duration) {
	perSecond := float64(n) / took.Seconds()
	r.add(name, "msgs/s", perSecond)
	r.add(name+" bytes", "MB/s", perSecond*float64(recordBytes)/1e6)
}

// publisher publishes numbered records until it is stopped. One goroutine sends
// (run's own or sendRaw), one takes answers.
type publisher struct {
	o       *PublishOptions
	content *payloads
	win     *window
	now     func() int64
	subject string
	inbox   string // ends with a dot
	stop    atomic.Bool
	measure atomic.Bool
	// begin and end are called when measuring begins and ends; nil does nothing.
	begin, end func()

	// of the goroutine that takes answers, until it has ended
	acks    acks
	latency *Histogram
	sentAt  []atomic.Int64 // of every latencyEvery-th message in flight
}

func newPublisher(o *PublishOptions, content *payloads) *publisher {
	return &publisher{
		o: o, content: content, win: newWindow(o.InFlight), now: clock(), subject: api.Prefix + "PUB." + o.Channel,
		inbox: nats.NewInbox() + ".", latency: NewHistogram(), sentAt: make([]atomic.Int64, o.InFlight/latencyEvery+2),
	}
}

func (p *publisher) run(ctx context.Context, span Span, raw bool) (n uint64, took time.Duration, err error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	send, finish, err := p.start(ctx, fail, raw)
	if err != nil {
		return 0, 0, err
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		if err := send(); err != nil {
			fail(err)
		}
	}()
	n, took, err = span.measure(ctx, p.win.back.Load, func() {
		p.measure.Store(true)
		if p.begin != nil {
			p.begin()
		}
	})
	if p.end != nil {
		p.end()
	}
	p.stop.Store(true)
	if err != nil {
		fail(err)
	}
	<-sent
	// Also after an interrupt: a publish that the node has not taken yet would
	// make the channel anew once it is deleted.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainMax)
	defer cancel()
	if err != nil {
		drain, cancel = context.WithTimeout(drain, interruptedMax)
		defer cancel()
	}
	err = errors.Join(err, p.win.drain(drain))
	finish()
	return n, took, err
}

// start opens a connection. send publishes until stop; finish ends the
// connection and waits for whoever takes answers.
func (p *publisher) start(ctx context.Context, fail context.CancelCauseFunc, raw bool) (send func() error, finish func(), err error) {
	if raw {
		return p.startRaw(ctx, fail)
	}
	closed := make(chan struct{})
	nc, err := nats.Connect(p.o.Server, nats.Name("leat bench"), nats.NoReconnect(), nats.ClosedHandler(func(nc *nats.Conn) {
		fail(errors.Join(nc.LastError(), nats.ErrConnectionClosed))
		close(closed)
	}))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", p.o.Server, err)
	}
	sub, err := nc.Subscribe(p.inbox+"*", func(m *nats.Msg) {
		if err := p.answer([]byte(m.Subject), m.Data); err != nil {
			fail(err)
		}
		p.win.release(1)
	})
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err != nil {
		nc.Close()
		return nil, nil, fmt.Errorf("subscribe: %w", err)
	}
	finish = func() { nc.Close(); <-closed }
	return func() error { return p.sendNATS(ctx, nc) }, finish, nil
}

// answer takes the answer to the message that the subject names.
func (p *publisher) answer(subject, body []byte) error {
	if err := p.acks.take(body); err != nil {
		return err
	}
	if p.acks.last%latencyEvery != 0 || !p.measure.Load() {
		return nil
	}
	n, err := strconv.ParseUint(string(subject[len(p.inbox):]), 10, 64)
	if err != nil || n != p.acks.last-1 {
		return fmt.Errorf("%w: offset %d acknowledges message %s", ErrOrder, p.acks.last, subject[len(p.inbox):])
	}
	p.latency.Record(time.Duration(p.now() - p.sentAt[p.slot(n)].Load()))
	return nil
}

// slot is where the time of message n is kept; n+1 is a multiple of
// latencyEvery.
func (p *publisher) slot(n uint64) uint64 { return (n / latencyEvery) % uint64(len(p.sentAt)) }

func (p *publisher) sendNATS(ctx context.Context, nc *nats.Conn) error {
	var data []byte
	for n := uint64(0); !p.stop.Load(); {
		room, err := p.win.acquire(ctx)
		if err != nil {
			return err
		}
		for ; room > 0 && !p.stop.Load(); room-- {
			now := int64(0)
			if (n+1)%latencyEvery == 0 {
				now = p.now()
				p.sentAt[p.slot(n)].Store(now)
			}
			data = p.content.appendTo(data[:0], n, now)
			p.win.sent.Add(1)
			if err := nc.PublishRequest(p.subject, p.inbox+strconv.FormatUint(n, 10), data); err != nil {
				return fmt.Errorf("publish: %w", err)
			}
			n++
		}
	}
	return nil
}

// interruptedMax bounds the wait for answers after an interrupt or a failure.
const interruptedMax = 3 * time.Second

// writeBytes is how much is laid out for one write.
const writeBytes = 64 << 10

func (p *publisher) startRaw(ctx context.Context, fail context.CancelCauseFunc) (send func() error, finish func(), err error) {
	conn, err := rawnats.Dial(ctx, rawnats.Options{URL: p.o.Server, Name: "leat bench"})
	if err != nil {
		return nil, nil, err
	}
	if err := conn.Write(rawnats.AppendSub(nil, p.inbox+"*", 1)); err != nil {
		_ = conn.Close() // the first error counts
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		got := uint64(0)
		err := conn.Receive(func(m *rawnats.Msg) error {
			got++
			return p.answer(m.Subject, m.Data)
		}, func() error {
			p.win.release(got)
			got = 0
			return nil
		})
		if !errors.Is(err, net.ErrClosed) {
			fail(err)
		}
	}()
	finish = func() { _ = conn.Close(); <-done }
	return func() error { return p.sendRaw(ctx, conn) }, finish, nil
}

func (p *publisher) sendRaw(ctx context.Context, conn *rawnats.Conn) error {
	buf := make([]byte, 0, writeBytes+p.o.RecordBytes+256)
	head := fmt.Appendf(nil, "PUB %s %s", p.subject, p.inbox)
	size := fmt.Appendf(nil, " %d\r\n", p.o.RecordBytes)
	for n := uint64(0); !p.stop.Load(); {
		room, err := p.win.acquire(ctx)
		if err != nil {
			return err
		}
		buf = buf[:0]
		now, first := p.now(), n
		for ; room > 0 && len(buf) < writeBytes; room-- {
			if (n+1)%latencyEvery == 0 {
				p.sentAt[p.slot(n)].Store(now)
			}
			buf = strconv.AppendUint(append(buf, head...), n, 10)
			buf = p.content.appendTo(append(buf, size...), n, now)
			buf = append(buf, '\r', '\n')
			n++
		}
		p.win.sent.Add(n - first)
		if err := conn.Write(buf); err != nil {
			return err
		}
	}
	return nil
}

// complete asks the node whether it has what it acknowledged.
func (p *publisher) complete(ctx context.Context, nc *nats.Conn, channel string) error {
	var info api.ChannelInfo
	if err := callNode(ctx, nc, "SHOW", channel, &info); err != nil {
		return err
	}
	if info.Records != p.win.sent.Load() {
		return fmt.Errorf("%w: %d acknowledged, the node has %d", ErrOrder, p.win.sent.Load(), info.Records)
	}
	return nil
}
