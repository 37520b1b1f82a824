package stan

import (
	"bytes"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// ackBatch is the acknowledgements of one source since its last flush, by
// group. It keeps its memory.
type ackBatch struct {
	token []byte // of the last acknowledgement
	sub   *subscription
	runs  []ackRun
	open  int // runs in use
}

type ackRun struct {
	g       *group
	offsets []record.Offset
}

// ackRunMax is how many acknowledgements are gathered before they are handed
// over although the source is not through.
const ackRunMax = 8192

// takeAck is an ack inbox. What does not fit (no such subscription, another
// channel, not a message at all) is ignored.
func (f *Frontend) takeAck(s *source, m *wire.Msg) {
	token, ok := inboxIn(f.subjects.acks, m.Subject)
	if !ok {
		return
	}
	b := &s.acks
	if b.sub == nil || b.sub.ended.Load() || !bytes.Equal(token, b.token) {
		b.sub = f.groups.byAckToken(token)
		b.token = append(b.token[:0], token...)
		if b.sub == nil {
			return
		}
	}
	var ack pb.Ack
	if ack.Decode(m.Data) != nil || string(ack.Subject) != b.sub.channelName() || ack.Sequence == 0 {
		return
	}
	r := b.run(b.sub.g)
	r.offsets = append(r.offsets, record.Offset(ack.Sequence))
	if len(r.offsets) >= ackRunMax {
		s.flushAcks()
	}
}

func (b *ackBatch) run(g *group) *ackRun {
	for i := b.open - 1; i >= 0; i-- {
		if b.runs[i].g == g {
			return &b.runs[i]
		}
	}
	if b.open == len(b.runs) {
		b.runs = append(b.runs, ackRun{})
	}
	r := &b.runs[b.open]
	b.open++
	r.g = g
	return r
}

func (s *source) flushAcks() {
	b := &s.acks
	for i := range b.runs[:b.open] {
		r := &b.runs[i]
		r.g.ack(r.offsets)
		r.g, r.offsets = nil, r.offsets[:0]
	}
	b.open = 0
}
