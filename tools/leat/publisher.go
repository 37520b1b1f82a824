package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"leat.dev/leat/wire/api"
)

var (
	// errNoAck is returned when nothing was acknowledged for too long.
	errNoAck = errors.New("no acknowledgement")
	// errNotLeat is returned when the server has nobody that takes publishes.
	errNotLeat = errors.New("the server does not store: it is no Leat node")
)

const (
	inFlightBytesMax = 64 << 20
	againAfter       = 200 * time.Millisecond // a 503 is tried again after so long
	watchEvery       = 50 * time.Millisecond
)

// publisher publishes records with many in flight. Each record keeps its place
// in a ring until it is acknowledged, so that it can be published again.
//
// One goroutine calls publish; acknowledged is called by the connection;
// watchLoop publishes again and gives up.
type publisher struct {
	nc      *nats.Conn
	subject string
	inbox   string // ends with a dot; the record's number follows
	header  nats.Header
	ackWait time.Duration // a record is published again after so long
	// patience is how long nothing may be answered.
	patience time.Duration
	clock    func() time.Duration // since the start

	// sendMu keeps records in order: whoever publishes holds it.
	sendMu sync.Mutex

	mu       sync.Mutex
	moved    *sync.Cond // low or err changed
	ring     []inFlight // guarded by mu; record n is at n modulo its length
	low      uint64     // the first record in flight; guarded by mu
	next     uint64     // the next record's number; guarded by mu
	bytes    int        // in flight; guarded by mu
	err      error      // ends publishing; guarded by mu
	said     error      // why the node took nothing, last time; guarded by mu
	lastAck  time.Duration
	result   publishResult
	refusals []refusedLine

	stop chan struct{}
	done chan struct{} // closed when watchLoop has ended
}

// inFlight is a record on its way.
type inFlight struct {
	line     uint64
	data     []byte
	key      string
	keyed    bool
	waiting  bool
	sent     time.Duration
	firstTry time.Duration
	again    time.Duration // when to publish it again; 0: when ackWait is over
}

// publishResult counts what came of it.
type publishResult struct {
	Channel     string  `json:"channel"`
	Records     uint64  `json:"records"` // acknowledged
	Bytes       uint64  `json:"bytes"`
	Refused     uint64  `json:"refused"`
	Unknown     uint64  `json:"unknown"`   // without an answer at the end
	Repeated    uint64  `json:"repeated"`  // published again, perhaps stored twice
	First       uint64  `json:"first"`     // the lowest offset given; 0: none
	Last        uint64  `json:"last"`      // the highest
	Seconds     float64 `json:"seconds"`   // s
	RecordRate  float64 `json:"records_s"` // records/s
	ByteRate    float64 `json:"bytes_s"`   // bytes/s
	Interrupted bool    `json:"interrupted,omitempty"`
}

// refusedLine is a record that was not stored.
type refusedLine struct {
	line uint64
	err  error
}

const refusalsKept = 20

func newPublisher(nc *nats.Conn, channel string, window int, header nats.Header, ackWait, patience time.Duration) (*publisher, error) {
	start := time.Now()
	p := &publisher{
		nc: nc, subject: api.Prefix + "PUB." + channel, inbox: nats.NewInbox() + ".", header: header,
		ackWait: ackWait, patience: patience, clock: func() time.Duration { return time.Since(start) },
		ring: make([]inFlight, window), stop: make(chan struct{}), done: make(chan struct{}),
		result: publishResult{Channel: channel},
	}
	p.moved = sync.NewCond(&p.mu)
	sub, err := nc.Subscribe(p.inbox+"*", p.acknowledged)
	if err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return nil, fmt.Errorf("subscribe to acknowledgements: %w", err)
	}
	nc.SetReconnectHandler(func(*nats.Conn) { p.reconnected() })
	go p.watchLoop()
	return p, nil
}

// publish sends one record. It waits while the window is full, at most until ctx
// is done.
func (p *publisher) publish(ctx context.Context, ln line, key string, keyed bool) error {
	p.mu.Lock()
	for p.err == nil && ctx.Err() == nil && p.next > p.low && (p.next-p.low >= uint64(len(p.ring)) || p.bytes+len(ln.data) > inFlightBytesMax) {
		p.moved.Wait()
	}
	if p.err != nil || ctx.Err() != nil {
		defer p.mu.Unlock()
		return cmp.Or(p.err, ctx.Err())
	}
	n, now := p.next, p.clock()
	if n == p.low {
		p.lastAck = now // nothing was in flight, so nobody was silent
	}
	p.ring[n%uint64(len(p.ring))] = inFlight{
		line: ln.number, data: ln.data, key: key, keyed: keyed, waiting: true, sent: now, firstTry: now,
	}
	p.next++
	p.bytes += len(ln.data)
	p.mu.Unlock()

	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	return p.send(n, ln.data, key, keyed)
}

// send publishes record n, with sendMu held. While there is no connection it
// leaves the record to reconnected.
func (p *publisher) send(n uint64, data []byte, key string, keyed bool) error {
	reply := p.inbox + strconv.FormatUint(n, 10)
	var err error
	if p.header == nil && !keyed {
		err = p.nc.PublishRequest(p.subject, reply, data)
	} else {
		m := &nats.Msg{Subject: p.subject, Reply: reply, Data: data, Header: p.header}
		if keyed {
			m.Header = make(nats.Header, len(p.header)+1)
			maps.Copy(m.Header, p.header)
			m.Header[api.HeaderKey] = []string{key}
		}
		err = p.nc.PublishMsg(m)
	}
	if err != nil && !errors.Is(err, nats.ErrReconnectBufExceeded) && !errors.Is(err, nats.ErrConnectionReconnecting) {
		return fmt.Errorf("publish: %w", err)
	}
	return nil
}

// acknowledged takes an answer.
func (p *publisher) acknowledged(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[len(p.inbox):], 10, 64)
	if err != nil {
		return // not an answer to us
	}
	offset, ok := ackOffset(m.Data)
	var refused error
	if !ok {
		refused = answerError(m)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < p.low || n >= p.next {
		return // acknowledged before
	}
	f := &p.ring[n%uint64(len(p.ring))]
	now := p.clock()
	switch {
	case !f.waiting:
		return // acknowledged before
	case errors.Is(refused, errNotLeat) && p.result.Records == 0:
		p.failLocked(refused)
		return
	case refused != nil && unavailable(refused):
		// The line is as good as the next one, so it is not left out: it is
		// stored in a while, or publishing ends.
		p.said = refused
		if now-f.firstTry >= p.patience {
			p.failLocked(fmt.Errorf("the node takes no records for %s: %w", p.patience, refused))
			return
		}
		f.again = now + againAfter
		return
	case refused != nil:
		p.refuseLocked(f.line, refused)
	default:
		r := &p.result
		r.Records++
		r.Bytes += uint64(len(f.data))
		if r.First == 0 || offset < r.First {
			r.First = offset
		}
		r.Last = max(r.Last, offset)
	}
	p.lastAck = now
	p.bytes -= len(f.data)
	*f = inFlight{}
	for p.low < p.next && !p.ring[p.low%uint64(len(p.ring))].waiting {
		p.low++
	}
	p.moved.Signal()
}

// refuse counts a record that was not stored.
func (p *publisher) refuse(line uint64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuseLocked(line, err)
}

func (p *publisher) refuseLocked(line uint64, err error) {
	p.result.Refused++
	if len(p.refusals) < refusalsKept {
		p.refusals = append(p.refusals, refusedLine{line, err})
	}
}

func (p *publisher) failLocked(err error) {
	if p.err == nil {
		p.err = err
	}
	p.moved.Broadcast()
}

// reconnected publishes everything in flight again: what the old connection
// took with it is not known.
func (p *publisher) reconnected() {
	p.again(func(*inFlight) bool { return true })
}

// watchLoop publishes again what has waited too long, and gives up when nothing
// is answered at all.
func (p *publisher) watchLoop() {
	defer close(p.done)
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		now := p.clock()
		p.mu.Lock()
		if p.low < p.next && now-p.lastAck > p.patience {
			err := fmt.Errorf("%w for %s, %d records in flight", errNoAck, p.patience, p.next-p.low)
			if p.said != nil {
				err = fmt.Errorf("%w; the node said: %w", err, p.said)
			}
			p.failLocked(err)
		}
		p.mu.Unlock()
		if p.nc.IsConnected() {
			p.again(func(f *inFlight) bool {
				if f.again > 0 {
					return now >= f.again
				}
				return now-f.sent >= p.ackWait
			})
		}
	}
}

// again publishes those in flight that due picks, in order.
func (p *publisher) again(due func(*inFlight) bool) {
	p.sendMu.Lock()
	defer p.sendMu.Unlock()
	type resend struct {
		n uint64
		inFlight
	}
	var list []resend
	p.mu.Lock()
	for n := p.low; n < p.next; n++ {
		f := &p.ring[n%uint64(len(p.ring))]
		if f.waiting && due(f) {
			f.sent, f.again = p.clock(), 0
			list = append(list, resend{n, *f})
		}
	}
	p.result.Repeated += uint64(len(list))
	p.mu.Unlock()
	for _, r := range list {
		if err := p.send(r.n, r.data, r.key, r.keyed); err != nil {
			p.mu.Lock()
			p.failLocked(err)
			p.mu.Unlock()
			return
		}
	}
}

// drain waits until everything is answered, publishing has failed, or ctx is
// done.
func (p *publisher) drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.failLocked(ctx.Err())
	})()
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.err == nil && p.low < p.next {
		p.moved.Wait()
	}
	return p.err
}

// close ends watchLoop and returns what came of it all.
func (p *publisher) close() (publishResult, []refusedLine) {
	close(p.stop)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.result
	for n := p.low; n < p.next; n++ {
		if p.ring[n%uint64(len(p.ring))].waiting {
			r.Unknown++
		}
	}
	r.Seconds = p.clock().Seconds()
	if r.Seconds > 0 {
		r.RecordRate, r.ByteRate = float64(r.Records)/r.Seconds, float64(r.Bytes)/r.Seconds
	}
	return r, p.refusals
}

func (p *publisher) acked() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return int64(p.result.Records)
}

// ackOffset reads {"stream":"…","seq":N} without a decoder: the number is
// last.
func ackOffset(body []byte) (offset uint64, ok bool) {
	i := bytes.LastIndex(body, []byte(`"seq":`))
	if i < 0 || !bytes.HasPrefix(body, []byte(`{"stream":`)) || body[len(body)-1] != '}' {
		return 0, false
	}
	offset, err := strconv.ParseUint(string(body[i+len(`"seq":`):len(body)-1]), 10, 64)
	return offset, err == nil
}

// answerError is what an answer that is no acknowledgement says.
func answerError(m *nats.Msg) error {
	if m.Header.Get("Status") == "503" {
		return errNotLeat
	}
	if err := refusal(m.Data); err != nil {
		return err
	}
	return fmt.Errorf("%w but %.80q", errNoAck, m.Data)
}

// unavailable tells whether the same record may be taken a little later: there is
// no room on the disk, or the node is not ready. One that stops or starts has, for
// a moment, nobody that takes publishes; whether it is a Leat node is known once
// it has stored something.
func unavailable(err error) bool {
	var e *api.Error
	return errors.Is(err, errNotLeat) || errors.As(err, &e) && (e.Code == 503 || e.Code == 507)
}
