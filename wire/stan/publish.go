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
	append *partition.Append
	// replies and guids of the messages, back to back; ends has, for each
	// message, where its reply ends and where its guid ends.
	arena    []byte
	ends     []int
	done     func(*partition.Append) // acknowledge, bound once
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
	if err := p.append.Add(&r, nil); err != nil {
		return err
	}
	p.arena = append(p.arena, reply...)
	p.ends = append(p.ends, len(p.arena))
	p.arena = append(p.arena, m.GUID...)
	p.ends = append(p.ends, len(p.arena))
	if p.append.Bytes() >= partition.AppendBytesMax {
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
		p.done = p.acknowledge
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
		p.append.Channel().Append(p.append)
	}
	s.open = s.open[:0]
}

// acknowledge answers every publisher of the Append.
func (p *pending) acknowledge(a *partition.Append) {
	s := p.s
	c := a.Channel()
	s.f.ackers[c.Partition().ID()].acknowledge(p, a.Err)
	if a.Err != nil {
		s.f.channels.unmade(c)
	}
	s.landed(p)
	p.s, p.append = nil, nil
	p.arena, p.ends = p.arena[:0], p.ends[:0]
	if cap(p.arena) <= pendingKeepBytes {
		s.f.pendings.Put(p)
	}
}

// pendingKeepBytes bounds what an idle pending holds on to.
const pendingKeepBytes = 1 << 20

func newPendings() *sync.Pool { return &sync.Pool{New: func() any { return &pending{} }} }

// acker writes the acknowledgements of one partition. Appends of a partition
// are done one after the other, so its lock is hardly ever waited for.
type acker struct {
	mu     sync.Mutex
	outlet wire.Outlet // guarded by mu; nil after close
	body   []byte      // guarded by mu
}

func (k *acker) acknowledge(p *pending, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.outlet == nil {
		return
	}
	ack := pb.PubAck{}
	if err != nil {
		ack.Error = []byte(told(err).Error())
	}
	start := 0
	for i := 0; i < len(p.ends); i += 2 {
		reply, guid := p.arena[start:p.ends[i]], p.arena[p.ends[i]:p.ends[i+1]]
		start = p.ends[i+1]
		if len(reply) == 0 {
			continue
		}
		ack.GUID = guid
		k.body = ack.Append(k.body[:0])
		k.outlet.Send(reply, nil, nil, k.body, nil)
	}
	k.outlet.Flush()
}

func (k *acker) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.outlet.Close()
	k.outlet = nil
}

// refusePublish answers a message that was not stored.
func refusePublish(f *Frontend, m *wire.Msg, guid []byte, reason error) {
	if len(m.Reply) == 0 {
		return
	}
	ack := pb.PubAck{GUID: guid, Error: []byte(reason.Error())}
	f.bus.Publish(string(m.Reply), "", nil, ack.Append(nil))
}
