package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
)

// publishHandler takes messages that are to be stored: in the channel that the
// subject names behind "$LEAT.PUB.", or in a bound one.
type publishHandler struct {
	f       *Frontend
	channel *partition.Channel // nil: the subject names it
}

// Attach implements wire.Handler.
func (h *publishHandler) Attach(src wire.Source) wire.Sink {
	return &publishSink{publisher: h.f.attach(src), bound: h.channel}
}

// publishSink is one subscription's end of a publisher.
type publishSink struct {
	*publisher
	bound *partition.Channel // nil: the subject names it
}

// publisher gathers what one source publishes to its channels. All sinks of the
// source share it, or what comes to one channel by two subscriptions would lose
// its order. It belongs to the source's goroutine but for sinks.
type publisher struct {
	f     *Frontend
	id    uint64
	sinks int // guarded by Frontend.sourcesMu
	// internal: the source is this process, perhaps the acker itself. There are
	// many of those with one ID, so that their sinks share nothing.
	internal bool

	last    *partition.Channel // of the last message, as most follow their like
	lastTo  []byte             // subject of the last message
	names   map[string]*partition.Channel
	open    []*pending                      // one for each channel written to since the last flush
	index   map[*partition.Channel]*pending // of open, once it is long
	headers []byte                          // scratch
	record  record.Record                   // scratch
}

const (
	// namesMax bounds the channels that a source remembers by name.
	namesMax = 4096
	// indexFrom is the number of open appends from which looking through them
	// costs more than a map does.
	indexFrom = 16
)

// pending is an Append being filled, and then its outcome, with what its
// acknowledgement needs.
type pending struct {
	f       *Frontend
	channel *partition.Channel
	append  *partition.Append // nil once it is done
	replies []byte            // the reply subjects, back to back
	ends    []int             // end of record k's reply in replies; equal to the end before it when it has none
	done    func(*partition.Append)

	base record.Offset // of the outcome
	err  error
}

var pendingPool = sync.Pool{New: func() any { return new(pending) }}

// attach returns the source's publisher.
func (f *Frontend) attach(src wire.Source) *publisher {
	if src.ID() == 0 {
		return &publisher{f: f, internal: true}
	}
	f.sourcesMu.Lock()
	defer f.sourcesMu.Unlock()
	s := f.sources[src.ID()]
	if s == nil {
		s = &publisher{f: f, id: src.ID()}
		f.sources[s.id] = s
	}
	s.sinks++
	return s
}

// Msg implements wire.Sink.
func (s *publishSink) Msg(m *wire.Msg) {
	c := s.bound
	if c == nil {
		name := m.Subject[len(Prefix)+len("PUB."):]
		var err error
		if c, err = s.channel(m.Subject, name); err != nil {
			s.f.refuse(m, string(name), err)
			return
		}
	}
	if err := s.add(c, m, s.bound != nil); err != nil {
		s.f.refuse(m, c.Name(), err)
	}
}

// channel returns the channel that a subject names, which comes into being with
// the first record. One that was remembered may have been deleted meanwhile.
func (s *publisher) channel(subject, name []byte) (*partition.Channel, error) {
	if s.last != nil && string(subject) == string(s.lastTo) && s.last.Exists() {
		return s.last, nil
	}
	c := s.names[string(name)]
	if c == nil || !c.Exists() {
		var err error
		if c, err = s.f.store.Ensure(string(name)); err != nil {
			return nil, err
		}
		if s.names == nil || len(s.names) >= namesMax {
			s.names = make(map[string]*partition.Channel)
		}
		s.names[c.Name()] = c
	}
	s.last, s.lastTo = c, append(s.lastTo[:0], subject...)
	return c, nil
}

// add adds a message to the channel's open append. Where the subject does not
// follow from the channel, it is stored.
func (s *publisher) add(c *partition.Channel, m *wire.Msg, subject bool) error {
	r := &s.record
	*r = record.Record{Value: m.Data}
	if r.Value == nil {
		r.Value = empty
	}
	if subject {
		r.Subject = m.Subject
	}
	if m.Header != nil {
		var err error
		if s.headers, err = encodeHeaders(s.headers[:0], m.Header, r); err != nil {
			return err
		}
		if len(s.headers) > 0 {
			r.Headers = s.headers
		}
	}
	p := s.pendingFor(c)
	err := p.append.Add(r, nil)
	if errors.Is(err, partition.ErrTooLarge) && p.append.Count() > 0 {
		// It may be so only because of those before it.
		s.Flush()
		p = s.pendingFor(c)
		err = p.append.Add(r, nil)
	}
	if err != nil {
		return err
	}
	p.replies = append(p.replies, m.Reply...)
	p.ends = append(p.ends, len(p.replies))
	if p.append.Full() {
		s.Flush()
	}
	return nil
}

var empty = []byte{} // read only

// pendingFor returns the open append of a channel.
func (s *publisher) pendingFor(c *partition.Channel) *pending {
	if n := len(s.open); n > 0 && s.open[n-1].channel == c {
		return s.open[n-1]
	}
	if len(s.open) >= indexFrom {
		if p := s.index[c]; p != nil {
			return p
		}
	} else {
		for _, p := range s.open {
			if p.channel == c {
				return p
			}
		}
	}
	p := pendingPool.Get().(*pending)
	if p.done == nil {
		p.done = p.landed // bound once, not once per Append
	}
	p.f, p.channel = s.f, c
	s.f.ackerOf(c).Begin()
	p.append = c.NewAppend()
	p.append.Done = p.done
	s.open = append(s.open, p)
	switch n := len(s.open); {
	case n == indexFrom:
		if s.index == nil {
			s.index = make(map[*partition.Channel]*pending)
		}
		for _, o := range s.open {
			s.index[o.channel] = o
		}
	case n > indexFrom:
		s.index[c] = p
	}
	return p
}

// Flush implements wire.Sink. It blocks while the store is full, or far behind
// with acknowledgements.
func (s *publisher) Flush() {
	for i, p := range s.open {
		s.open[i] = nil
		if len(p.replies) > 0 {
			s.f.ackerOf(p.channel).Expect(len(p.replies), s.internal)
		}
		p.channel.Append(p.append)
	}
	if len(s.open) >= indexFrom {
		clear(s.index)
	}
	s.open = s.open[:0]
}

// Detach implements wire.Sink.
func (s *publisher) Detach() {
	s.Flush()
	if s.internal {
		return
	}
	s.f.sourcesMu.Lock()
	defer s.f.sourcesMu.Unlock()
	if s.sinks--; s.sinks == 0 {
		delete(s.f.sources, s.id)
	}
}

// landed is called when the outcome of the Append is known, by a goroutine that
// must not be held up.
func (p *pending) landed(a *partition.Append) {
	p.base, p.err, p.append = a.Base, a.Err, nil
	if len(p.replies) > 0 {
		p.f.ackerOf(p.channel).Take(p)
		return
	}
	p.f.ackerOf(p.channel).Drop()
	p.recycle()
}

// HeldBytes implements wire.Outcome.
func (p *pending) HeldBytes() int { return len(p.replies) }

// Answer implements wire.Outcome: it answers every publisher that waits for it.
func (p *pending) Answer(out wire.Outlet, body []byte) []byte {
	if p.err != nil {
		body = appendRefusal(body[:0], p.channel.Name(), p.err)
	} else {
		body = append(body[:0], `{"stream":`...)
		body = appendJSONString(body, p.channel.Name())
		body = append(body, `,"seq":`...)
	}
	fixed := len(body)
	start := 0
	for i, end := range p.ends {
		if reply := p.replies[start:end]; len(reply) > 0 {
			if p.err == nil {
				body = strconv.AppendUint(body[:fixed], uint64(p.base)+uint64(i), 10)
				body = append(body, '}')
			}
			out.Send(reply, nil, nil, body, nil)
		}
		start = end
	}
	return body
}

// Answered implements wire.Outcome.
func (p *pending) Answered() { p.recycle() }

// pendingKeepBytes bounds what an idle pending holds on to.
const pendingKeepBytes = 1 << 20

func (p *pending) recycle() {
	keep := cap(p.replies)+8*cap(p.ends) <= pendingKeepBytes
	*p = pending{replies: p.replies[:0], ends: p.ends[:0], done: p.done}
	if keep {
		pendingPool.Put(p)
	}
}

// refuse answers a message that was not stored.
func (f *Frontend) refuse(m *wire.Msg, channel string, err error) {
	if len(m.Reply) == 0 {
		return
	}
	f.bus.Publish(string(m.Reply), "", nil, appendRefusal(nil, channel, err))
}

func appendRefusal(dst []byte, channel string, err error) []byte {
	dst, encodeErr := appendJSON(dst, struct {
		Error  *Error `json:"error"`
		Stream string `json:"stream,omitempty"`
	}{wireError(err), channel})
	if encodeErr != nil {
		panic(fmt.Sprintf("api: encode an error: %v", encodeErr)) // strings and numbers always encode
	}
	return dst
}

// appendJSONString appends s in quotes. Channel names hold nothing that JSON
// escapes but quotes and backslashes, and seldom those.
func appendJSONString(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			quoted, err := json.Marshal(s)
			if err != nil {
				panic(err) // a string always encodes
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, s...)
	return append(dst, '"')
}
