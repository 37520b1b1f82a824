package stan

import (
	"slices"
	"sync"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// handler gives the messages of one internal subscription to take.
type handler struct {
	f    *Frontend
	take func(*source, *wire.Msg)
}

// Attach implements wire.Handler.
func (h *handler) Attach(src wire.Source) wire.Sink {
	return &sink{h: h, s: h.f.attach(src)}
}

type sink struct {
	h *handler
	s *source
}

// Msg implements wire.Sink.
func (k *sink) Msg(m *wire.Msg) { k.h.take(k.s, m) }

// Flush implements wire.Sink.
func (k *sink) Flush() { k.s.flush() }

// Detach implements wire.Sink.
func (k *sink) Detach() { k.h.f.detach(k.s) }

// source is where messages come from: what it published and acknowledged since
// the last flush. The sinks of all internal subscriptions share one, so that a
// request can be a barrier behind what the source sent before. It belongs to
// the source's goroutine but for what mu guards.
type source struct {
	f     *Frontend
	id    uint64
	sinks int // guarded by Frontend.mu

	// The last client and channel that were looked up: most messages are of
	// the same as the one before.
	client    *client
	clientKey []byte // connID, or client ID when byID
	byID      bool
	channel   *partition.Channel
	name      []byte
	deletions uint64 // Frontend.deletions when channel was looked up

	msg     pb.PubMsg // scratch
	headers []byte    // scratch
	open    []*pending
	acks    ackBatch

	mu     sync.Mutex
	flying []*pending // given away and not done; guarded by mu
}

// attach returns the source's state; messages of this process come through many
// couriers, so each of those is a source of its own.
func (f *Frontend) attach(src wire.Source) *source {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sources[src.ID()]
	if s == nil {
		s = &source{f: f, id: src.ID()}
		if s.id != 0 {
			f.sources[s.id] = s
		}
	}
	s.sinks++
	return s
}

func (f *Frontend) detach(s *source) {
	s.flush()
	f.mu.Lock()
	defer f.mu.Unlock()
	s.sinks--
	if s.sinks == 0 && s.id != 0 {
		delete(f.sources, s.id)
	}
}

// flush gives away what was gathered. It blocks while the store is full.
func (s *source) flush() {
	s.flushAcks()
	if len(s.open) > 0 {
		s.flushPublishes()
	}
}

// barrier is passed when everything that the source had given away to be stored
// is done, and acknowledged.
type barrier struct {
	left   int // guarded by source.mu
	passed chan struct{}
}

// barrier flushes, and returns what to wait for; nil is nothing.
func (s *source) barrier() *barrier {
	s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.flying) == 0 {
		return nil
	}
	b := &barrier{left: len(s.flying), passed: make(chan struct{})}
	for _, p := range s.flying {
		p.barriers = append(p.barriers, b)
	}
	return b
}

func (s *source) launched(p *pending) {
	s.mu.Lock()
	s.flying = append(s.flying, p)
	s.mu.Unlock()
}

func (s *source) landed(p *pending) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.flying, p); i >= 0 {
		last := len(s.flying) - 1
		s.flying[i] = s.flying[last]
		s.flying[last] = nil
		s.flying = s.flying[:last]
	}
	for i, b := range p.barriers {
		if b.left--; b.left == 0 {
			close(b.passed)
		}
		p.barriers[i] = nil
	}
	p.barriers = p.barriers[:0]
}

// wait returns false when the front-end closes first.
func (b *barrier) wait(f *Frontend) bool {
	if b == nil {
		return true
	}
	select {
	case <-b.passed:
		return true
	case <-f.ctx.Done():
		return false
	}
}
