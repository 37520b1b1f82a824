package api

import (
	"encoding/json"
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
func (h *publishHandler) Attach(wire.Source) wire.Sink { return &publisher{f: h.f, bound: h.channel} }

// publisher gathers what one source publishes to its channels. It belongs to
// the source's goroutine.
type publisher struct {
	f     *Frontend
	bound *partition.Channel

	last    *partition.Channel // of the last message, as most follow their like
	lastTo  []byte             // subject of the last message
	open    []*pending         // one for each channel written to since the last flush
	headers []byte             // scratch
}

// pending is an Append being filled, with what its acknowledgement needs.
type pending struct {
	f       *Frontend
	append  *partition.Append
	replies []byte // the reply subjects, back to back
	ends    []int  // end of record k's reply in replies; equal to the end before it when it has none
	done    func(*partition.Append)
}

var pendingPool = sync.Pool{New: func() any { return new(pending) }}

// Msg implements wire.Sink.
func (s *publisher) Msg(m *wire.Msg) {
	c := s.bound
	if c == nil {
		if string(m.Subject) != string(s.lastTo) || s.last == nil {
			ch, err := s.f.store.Ensure(string(m.Subject[len(Prefix)+len("PUB."):]))
			if err != nil {
				s.f.refuse(m, "", err)
				return
			}
			s.last, s.lastTo = ch, append(s.lastTo[:0], m.Subject...)
		}
		c = s.last
	}
	if err := s.add(c, m); err != nil {
		s.f.refuse(m, c.Name(), err)
	}
}

func (s *publisher) add(c *partition.Channel, m *wire.Msg) error {
	r := record.Record{Value: m.Data}
	if r.Value == nil {
		r.Value = []byte{}
	}
	if s.bound != nil {
		r.Subject = m.Subject
	}
	if m.Header != nil {
		var err error
		if s.headers, err = encodeHeaders(s.headers[:0], m.Header, &r); err != nil {
			return err
		}
		if len(s.headers) > 0 {
			r.Headers = s.headers
		}
	}
	p := s.pendingFor(c)
	if err := p.append.Add(&r, nil); err != nil {
		return err
	}
	p.replies = append(p.replies, m.Reply...)
	p.ends = append(p.ends, len(p.replies))
	if p.append.Bytes() >= partition.AppendBytesMax {
		s.Flush()
	}
	return nil
}

func (s *publisher) pendingFor(c *partition.Channel) *pending {
	for _, p := range s.open {
		if p.append.Channel() == c {
			return p
		}
	}
	p := pendingPool.Get().(*pending)
	if p.done == nil {
		p.done = p.acknowledge // bound once, not once per Append
	}
	p.f = s.f
	p.append = c.NewAppend()
	p.append.Done = p.done
	s.open = append(s.open, p)
	return p
}

// Flush implements wire.Sink.
func (s *publisher) Flush() {
	for i, p := range s.open {
		s.open[i] = nil
		p.append.Channel().Append(p.append)
	}
	s.open = s.open[:0]
}

// Detach implements wire.Sink.
func (s *publisher) Detach() { s.Flush() }

// acknowledge answers every publisher of the Append that waits for it.
func (p *pending) acknowledge(a *partition.Append) {
	if len(p.replies) > 0 {
		p.f.ackers[a.Channel().Partition().ID()].acknowledge(p, a)
	}
	p.f, p.append = nil, nil
	p.replies, p.ends = p.replies[:0], p.ends[:0]
	if cap(p.replies) <= pendingKeepBytes {
		pendingPool.Put(p)
	}
}

// pendingKeepBytes bounds what an idle pending holds on to.
const pendingKeepBytes = 1 << 20

// acker writes the acknowledgements of one partition. Appends of a partition
// are done one after the other, so its lock is hardly ever waited for.
type acker struct {
	mu     sync.Mutex
	outlet wire.Outlet // guarded by mu; nil after close
	body   []byte      // guarded by mu
}

func (k *acker) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.outlet.Close()
	k.outlet = nil
}

func (k *acker) acknowledge(p *pending, a *partition.Append) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.outlet == nil {
		return
	}
	if a.Err != nil {
		k.body = appendRefusal(k.body[:0], a.Channel().Name(), a.Err)
	} else {
		k.body = append(k.body[:0], `{"stream":`...)
		k.body = appendJSONString(k.body, a.Channel().Name())
		k.body = append(k.body, `,"seq":`...)
	}
	fixed := len(k.body)
	start := 0
	for i, end := range p.ends {
		if reply := p.replies[start:end]; len(reply) > 0 {
			if a.Err == nil {
				k.body = strconv.AppendUint(k.body[:fixed], uint64(a.Base)+uint64(i), 10)
				k.body = append(k.body, '}')
			}
			k.outlet.Send(reply, nil, nil, k.body, nil)
		}
		start = end
	}
	k.outlet.Flush()
}

// refuse answers a message that was not stored.
func (f *Frontend) refuse(m *wire.Msg, channel string, err error) {
	if len(m.Reply) == 0 {
		return
	}
	f.bus.Publish(string(m.Reply), "", nil, appendRefusal(nil, channel, err))
}

func appendRefusal(dst []byte, channel string, err error) []byte {
	body, encodeErr := json.Marshal(struct {
		Error  *Error `json:"error"`
		Stream string `json:"stream,omitempty"`
	}{wireError(err), channel})
	if encodeErr != nil {
		panic(fmt.Sprintf("api: encode an error: %v", encodeErr)) // strings and numbers always encode
	}
	return append(dst, body...)
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
