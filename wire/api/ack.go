package api

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
)

// ackHandler takes acknowledgements of delivered records. The reply subject of
// a delivery is "$LEAT.ACK.<replay>.<offset>", with ".<time>" behind it when
// the replay was asked to. A message there acknowledges the record, with the
// words that NATS clients have for it:
//
//	+ALL          this one and all before it
//	-NAK, +WPI    not yet: it is sent again when AckWait is over
//	all else      this one
//
// One that has a reply subject is answered there.
type ackHandler struct{ f *Frontend }

// Attach implements wire.Handler.
func (h *ackHandler) Attach(wire.Source) wire.Sink { return &ackSink{f: h.f} }

// ackSink gathers what one source acknowledges, as most of it is for the same
// replay. It belongs to the source's goroutine.
type ackSink struct {
	f       *Frontend
	id      uint64
	to      *windowed // of id; nil if there is none
	offsets []record.Offset
	through record.Offset
	replies []ackReply
}

type ackReply struct {
	to  string
	err error
}

// Msg implements wire.Sink.
func (s *ackSink) Msg(m *wire.Msg) {
	id, off, ok := parseAck(m.Subject[len(Prefix)+len("ACK."):])
	if !ok {
		s.reply(m, fmt.Errorf("%w: %q is no subject of a delivery", errBadRequest, m.Subject))
		return
	}
	if id != s.id || s.to == nil || s.to.isOver() {
		s.flushAcks()
		s.id, s.to = id, s.f.replays.find(id)
	}
	if s.to == nil {
		s.reply(m, fmt.Errorf("%w: %q: it is over, or was of an earlier life of the node", errNoReplay, formatReplay(id)))
		return
	}
	switch {
	case bytes.HasPrefix(m.Data, nak), bytes.Equal(m.Data, working):
	case bytes.Equal(m.Data, all):
		s.through = max(s.through, off)
	default:
		s.offsets = append(s.offsets, off)
	}
	s.reply(m, nil)
}

var all, nak, working = []byte("+ALL"), []byte("-NAK"), []byte("+WPI") // read only

// reply remembers who wants an answer.
func (s *ackSink) reply(m *wire.Msg, err error) {
	if len(m.Reply) > 0 {
		s.replies = append(s.replies, ackReply{string(m.Reply), err})
	}
}

// Flush implements wire.Sink. It waits while the replay is far behind with what
// was acknowledged before.
func (s *ackSink) Flush() {
	s.flushAcks()
	for i, r := range s.replies {
		s.f.answer(&request{reply: r.to}, Done{OK: true}, r.err)
		s.replies[i] = ackReply{}
	}
	s.replies = s.replies[:0]
}

func (s *ackSink) flushAcks() {
	if s.to == nil {
		return
	}
	if s.through > 0 {
		s.to.ackThrough(s.through)
		s.through = 0
	}
	if len(s.offsets) > 0 {
		s.to.consumer.AckBatch(s.offsets)
		s.offsets = s.offsets[:0]
	}
}

// Detach implements wire.Sink.
func (s *ackSink) Detach() { s.flushAcks() }

// parseAck reads what is behind "$LEAT.ACK.": a replay, an offset and, unless
// it was not asked for, a time.
func parseAck(rest []byte) (id uint64, off record.Offset, ok bool) {
	replay, rest, ok := bytes.Cut(rest, dot)
	if !ok {
		return 0, 0, false
	}
	offset, ns, timed := bytes.Cut(rest, dot)
	id, err := strconv.ParseUint(string(replay), replayIDBase, 64)
	if err != nil {
		return 0, 0, false
	}
	n, err := strconv.ParseUint(string(offset), 10, 64)
	if err != nil || n == 0 {
		return 0, 0, false
	}
	if timed {
		if _, err := strconv.ParseInt(string(ns), 10, 64); err != nil {
			return 0, 0, false
		}
	}
	return id, record.Offset(n), true
}

var dot = []byte(".") // read only

// ParseDelivery reads the reply subject of a delivered record: its offset, and
// its time in ns since 1970 when the replay was asked for with MetaReply.
func ParseDelivery(reply string) (offset uint64, ns int64, ok bool) {
	rest, ok := strings.CutPrefix(reply, Prefix+"ACK.")
	if !ok {
		return 0, 0, false
	}
	_, off, ok := parseAck([]byte(rest))
	if !ok {
		return 0, 0, false
	}
	if parts := strings.Split(rest, "."); len(parts) == 3 {
		ns, _ = strconv.ParseInt(parts[2], 10, 64) // parseAck has checked it
	}
	return uint64(off), ns, true
}
