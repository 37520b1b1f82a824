package stan

import (
	"bytes"
	"errors"
	"sync"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// HeaderReply is the record header that holds the reply subject of a message,
// when it had one.
const HeaderReply = "Stan-Reply"

// pending is an Append being filled, with what its acknowledgements need.
type pending struct {
	s      *source
	append *partition.Append // nil once it is done
	// replies and guids of the messages, back to back; ends has, for each
	// message, where its reply ends and where its guid ends.
	arena    []byte
	ends     []int
	done     func(*partition.Append) // outcome, bound once
	err      error                   // the outcome
	barriers []*barrier              // guarded by source.mu
}

// takePublish is _STAN.pub.<cluster>.<channel>. The channel is the one that the
// message names, not the subject.
func (f *Frontend) takePublish(s *source, m *wire.Msg) {
	p := &s.msg
	if err := p.Decode(m.Data); err != nil {
		refusePublish(f, m, nil, errInvalidPubReq)
		return
	}
	if len(p.GUID) == 0 || !s.knowsClient(p) {
		refusePublish(f, m, p.GUID, errInvalidPubReq)
		return
	}
	c, err := s.channelOf(p.Subject)
	if err != nil {
		if errors.Is(err, partition.ErrChannelName) {
			err = errInvalidPubReq
		}
		refusePublish(f, m, p.GUID, err)
		return
	}
	if err := s.add(c, p, m.Reply); err != nil {
		refusePublish(f, m, p.GUID, told(err))
	}
}

// knowsClient tells whether the publisher is connected: by its connection ID
// when it gives one, by its client ID when it is too old for that.
func (s *source) knowsClient(p *pb.PubMsg) bool {
	key, byID := p.ConnID, false
	if len(key) == 0 {
		key, byID = p.ClientID, true
	}
	if c := s.client; c != nil && s.byID == byID && bytes.Equal(key, s.clientKey) && !c.gone.Load() {
		return true
	}
	var c *client
	if byID {
		c = s.f.clients.lookUp(key)
	} else {
		c = s.f.clients.lookUpConn(key)
	}
	if c == nil {
		return false
	}
	s.client, s.byID = c, byID
	s.clientKey = append(s.clientKey[:0], key...)
	return true
}

func (s *source) channelOf(name []byte) (*partition.Channel, error) {
	deletions := s.f.deletions.Load()
	if s.channel != nil && s.deletions == deletions && bytes.Equal(name, s.name) {
		return s.channel, nil
	}
	c, err := s.f.channels.ensure(string(name))
	if err != nil {
		return nil, err
	}
	s.channel, s.deletions = c, deletions
	s.name = append(s.name[:0], name...)
	return c, nil
}

func (s *source) add(c *partition.Channel, m *pb.PubMsg, reply []byte) error {
	r := record.Record{Value: m.Data}
	if r.Value == nil {
		r.Value = []byte{}
	}
	if len(m.Reply) > 0 {
		s.headers = record.AppendHeader(s.headers[:0], []byte(HeaderReply), m.Reply)
		r.Headers = s.headers
	}
	p := s.pendingFor(c)
	err := p.append.Add(&r, nil)
	if errors.Is(err, partition.ErrTooLarge) && p.append.Count() > 0 {
		s.flushPublishes() // it may fit alone
		p = s.pendingFor(c)
		err = p.append.Add(&r, nil)
	}
	if err != nil {
		return err
	}
	p.arena = append(p.arena, reply...)
	p.ends = append(p.ends, len(p.arena))
	p.arena = append(p.arena, m.GUID...)
	p.ends = append(p.ends, len(p.arena))
	if p.append.Full() {
		s.flushPublishes()
	}
	return nil
}

func (s *source) pendingFor(c *partition.Channel) *pending {
	for _, p := range s.open {
		if p.append.Channel() == c {
			return p
		}
	}
	p := s.f.pendings.Get().(*pending)
	if p.done == nil {
		p.done = p.outcome
	}
	p.s = s
	p.append = c.NewAppend()
	p.append.Done = p.done
	s.open = append(s.open, p)
	return p
}

func (s *source) flushPublishes() {
	for i, p := range s.open {
		s.open[i] = nil
		s.launched(p)
		c := p.append.Channel()
		acker := s.f.ackers[c.Partition().ID()]
		acker.Begin()
		acker.Expect(len(p.arena), s.id == 0)
		c.Append(p.append)
	}
	s.open = s.open[:0]
}

// outcome is called when what becomes of the Append is known, by a goroutine
// that must not be held up.
func (p *pending) outcome(a *partition.Append) {
	c := a.Channel()
	p.err, p.append = a.Err, nil
	if a.Err != nil {
		p.s.f.channels.unmade(c)
	}
	p.s.f.ackers[c.Partition().ID()].Take(p)
}

// HeldBytes implements wire.Outcome.
func (p *pending) HeldBytes() int { return len(p.arena) }

// Answer implements wire.Outcome: it answers every publisher of the Append.
func (p *pending) Answer(out wire.Outlet, body []byte) []byte {
	ack := pb.PubAck{}
	if p.err != nil {
		ack.Error = []byte(told(p.err).Error())
	}
	start := 0
	for i := 0; i < len(p.ends); i += 2 {
		reply, guid := p.arena[start:p.ends[i]], p.arena[p.ends[i]:p.ends[i+1]]
		start = p.ends[i+1]
		if len(reply) == 0 {
			continue
		}
		ack.GUID = guid
		body = ack.Append(body[:0])
		out.Send(reply, nil, nil, body, nil)
	}
	return body
}

// Answered implements wire.Outcome. Barriers are behind the acknowledgements.
func (p *pending) Answered() {
	p.s.landed(p)
	p.recycle()
}

// pendingKeepBytes bounds what an idle pending holds on to.
const pendingKeepBytes = 1 << 20

func newPendings() *sync.Pool { return &sync.Pool{New: func() any { return &pending{} }} }

func (p *pending) recycle() {
	keep := cap(p.arena)+8*cap(p.ends) <= pendingKeepBytes
	*p = pending{s: p.s, arena: p.arena[:0], ends: p.ends[:0], done: p.done, barriers: p.barriers}
	pool := p.s.f.pendings
	p.s = nil
	if keep {
		pool.Put(p)
	}
}

// refusePublish answers a message that was not stored.
func refusePublish(f *Frontend, m *wire.Msg, guid []byte, reason error) {
	if len(m.Reply) == 0 {
		return
	}
	ack := pb.PubAck{GUID: guid, Error: []byte(reason.Error())}
	f.bus.Publish(string(m.Reply), "", nil, ack.Append(nil))
}
