package stan

import (
	"container/heap"
	"crypto/rand"
	"encoding/base32"
	"strconv"
	"strings"
	"sync"
	"time"

	"leat.dev/leat/wire"
)

// heartbeats asks clients whether they live. One goroutine and one timer serve
// them all: a heap orders clients by when something is due, and every request
// has a reply subject of its own under one wildcard.
type heartbeats struct {
	f *Frontend

	mu      sync.Mutex
	due     beatHeap           // guarded by mu
	waiting map[uint64]*answer // by the token of the reply subject; guarded by mu
	tokens  uint64             // guarded by mu
	wake    chan struct{}      // the first in the heap has changed
	asks    []ask              // scratch of the loop

	outletMu sync.Mutex
	outlet   wire.Outlet // guarded by outletMu; nil after close
}

// beat is a client's place in the round.
type beat struct {
	at      time.Time // when the next request, or the end of the wait, is due
	index   int       // in the heap; −1 when not in it
	failed  int       // misses in a row
	waiting uint64    // token of the request that is out; 0 is none
}

// answer is a request that is out: a client's heartbeat, or a probe.
type answer struct {
	client *client
	probe  chan struct{}
}

func (h *heartbeats) init(f *Frontend) {
	h.f = f
	h.waiting = make(map[uint64]*answer)
	h.wake = make(chan struct{}, 1)
	h.outlet = f.bus.Outlet()
}

func (h *heartbeats) close() {
	h.outletMu.Lock()
	defer h.outletMu.Unlock()
	h.outlet.Close()
	h.outlet = nil
}

// add begins to ask a client, an interval from now.
func (h *heartbeats) add(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.beat.at = h.f.opts.Now().Add(h.f.opts.HeartbeatInterval)
	heap.Push(&h.due, c)
	h.poke(c)
}

func (h *heartbeats) remove(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.waiting, c.beat.waiting)
	if len(h.due) > c.beat.index && c.beat.index >= 0 && h.due[c.beat.index] == c {
		heap.Remove(&h.due, c.beat.index)
	}
}

// poke wakes the loop when c is the first to be looked after.
func (h *heartbeats) poke(c *client) {
	if c.beat.index == 0 {
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// loop ends when the front-end closes.
func (h *heartbeats) loop() {
	defer h.f.work.Done()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(h.round())
		select {
		case <-timer.C:
		case <-h.wake:
		case <-h.f.ctx.Done():
			return
		}
	}
}

// round does what is due, and returns how long there is nothing to do.
func (h *heartbeats) round() time.Duration {
	for {
		h.mu.Lock()
		now := h.f.opts.Now()
		wait := time.Hour
		h.asks = h.asks[:0]
		for len(h.due) > 0 {
			c := h.due[0]
			if wait = c.beat.at.Sub(now); wait > 0 {
				break
			}
			if c.beat.waiting != 0 {
				h.missed(c, now)
				continue
			}
			c.beat.waiting = h.expect(&answer{client: c})
			h.schedule(c, now.Add(h.f.opts.HeartbeatTimeout))
			h.asks = append(h.asks, ask{c, c.beat.waiting})
		}
		h.mu.Unlock()
		if len(h.asks) == 0 {
			return wait
		}
		h.send(h.asks)
	}
}

// ask is a request that is to be sent.
type ask struct {
	c     *client
	token uint64
}

// send sends requests. Nobody listening is a miss at once. The lock must not be
// held: a client may have given an inbox that leads back here.
func (h *heartbeats) send(asks []ask) {
	for _, a := range asks {
		if h.request(a.c.inbox, a.token) {
			continue
		}
		h.mu.Lock()
		if a.c.beat.waiting == a.token && a.c.beat.index >= 0 {
			h.missed(a.c, h.f.opts.Now())
		}
		h.mu.Unlock()
	}
	h.outletMu.Lock()
	defer h.outletMu.Unlock()
	if h.outlet != nil {
		h.outlet.Flush()
	}
}

func (h *heartbeats) request(inbox string, token uint64) (sent bool) {
	reply := strconv.AppendUint([]byte(h.f.subjects.heartbeats), token, 36)
	h.outletMu.Lock()
	defer h.outletMu.Unlock()
	return h.outlet != nil && h.outlet.Send([]byte(inbox), reply, nil, nil, nil) > 0
}

// expect notes a request and returns its token. The caller holds mu.
func (h *heartbeats) expect(a *answer) (token uint64) {
	h.tokens++
	h.waiting[h.tokens] = a
	return h.tokens
}

func (h *heartbeats) schedule(c *client, at time.Time) {
	c.beat.at = at
	heap.Fix(&h.due, c.beat.index)
}

// missed counts one more miss; with too many of them the client is closed.
func (h *heartbeats) missed(c *client, now time.Time) {
	delete(h.waiting, c.beat.waiting)
	c.beat.waiting = 0
	c.beat.failed++
	h.schedule(c, now.Add(h.f.opts.HeartbeatInterval))
	if c.beat.failed == 1 {
		c.enqueue(func() { h.suspect(c) })
	}
	if c.beat.failed <= h.f.opts.HeartbeatFailMax {
		return
	}
	closing := c.enqueue(func() {
		// What goes wrong is logged where it does.
		_ = h.f.endClient(c)
	})
	if !closing {
		return // too many of its requests wait; at the next miss, then
	}
	heap.Remove(&h.due, c.beat.index)
	h.f.opts.Logger.Warn("a client does not answer heartbeats and is closed", "client", c.id, "missed", c.beat.failed)
}

// suspect tells the client's subscriptions whether it answers.
func (h *heartbeats) suspect(c *client) {
	h.mu.Lock()
	failed := c.beat.failed > 0
	h.mu.Unlock()
	for _, s := range c.subscriptions() {
		s.suspect(failed)
	}
}

// answered takes a reply to a request.
func (h *heartbeats) answered(_ *source, m *wire.Msg) {
	text, ok := inboxIn(h.f.subjects.heartbeats, m.Subject)
	if !ok {
		return
	}
	token, err := strconv.ParseUint(string(text), 36, 64)
	if err != nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.waiting[token]
	if a == nil {
		return
	}
	delete(h.waiting, token)
	if a.probe != nil {
		close(a.probe)
		return
	}
	c := a.client
	if c.beat.waiting != token {
		return
	}
	c.beat.waiting = 0
	if c.beat.failed > 0 {
		c.beat.failed = 0
		c.enqueue(func() { h.suspect(c) })
	}
	h.schedule(c, h.f.opts.Now().Add(h.f.opts.HeartbeatInterval))
	h.poke(c)
}

// heard notes a sign of life: one that has missed heartbeats is asked again now.
func (h *heartbeats) heard(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if c.beat.failed == 0 || c.beat.waiting != 0 || c.beat.index < 0 {
		return
	}
	h.schedule(c, h.f.opts.Now())
	h.poke(c)
}

// probe asks an inbox once and tells whether it answered in time. It does not
// wait when nobody listens.
func (h *heartbeats) probe(inbox string, timeout time.Duration) bool {
	a := &answer{probe: make(chan struct{})}
	h.mu.Lock()
	token := h.expect(a)
	h.mu.Unlock()
	sent := h.request(inbox, token)
	h.send(nil) // flush
	defer func() {
		h.mu.Lock()
		delete(h.waiting, token)
		h.mu.Unlock()
	}()
	if !sent {
		return false
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-a.probe:
		return true
	case <-timer.C:
	case <-h.f.ctx.Done():
		return true // whoever asks is refused
	}
	return false
}

// beatHeap has the client that is due first at its head.
type beatHeap []*client

func (b beatHeap) Len() int           { return len(b) }
func (b beatHeap) Less(i, j int) bool { return b[i].beat.at.Before(b[j].beat.at) }
func (b beatHeap) Swap(i, j int) {
	b[i], b[j] = b[j], b[i]
	b[i].beat.index, b[j].beat.index = i, j
}

// Push implements heap.Interface.
func (b *beatHeap) Push(x any) {
	c, _ := x.(*client)
	c.beat.index = len(*b)
	*b = append(*b, c)
}

// Pop implements heap.Interface.
func (b *beatHeap) Pop() any {
	last := len(*b) - 1
	c := (*b)[last]
	(*b)[last] = nil
	*b = (*b)[:last]
	c.beat.index = -1
	return c
}

// token returns letters and digits that nobody else has.
func token() string {
	var b [15]byte
	_, _ = rand.Read(b[:]) // never fails
	return strings.ToLower(base32.StdEncoding.EncodeToString(b[:]))
}
