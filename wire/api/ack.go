package api

import (
	"bytes"
	"strconv"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
)

// ackHandler takes acknowledgements of delivered records: the reply subject of
// a delivery is "$LEAT.ACK.<replay>.<offset>", and any message there
// acknowledges it; one that says "+ALL" acknowledges all before it, too.
type ackHandler struct{ f *Frontend }

// Attach implements wire.Handler.
func (h *ackHandler) Attach(wire.Source) wire.Sink { return &ackSink{f: h.f} }

type ackSink struct{ f *Frontend }

// Msg implements wire.Sink.
func (s *ackSink) Msg(m *wire.Msg) {
	rest := m.Subject[len(Prefix)+len("ACK."):]
	replay, off, ok := bytes.Cut(rest, []byte{'.'})
	if !ok {
		return
	}
	id, err1 := strconv.ParseUint(string(replay), 10, 64)
	n, err2 := strconv.ParseUint(string(off), 10, 64)
	if err1 != nil || err2 != nil {
		return // not one of ours; there is nobody to tell
	}
	if a := s.f.replays.find(id); a != nil {
		a.ack(record.Offset(n), string(m.Data) == "+ALL")
	}
}

// Flush implements wire.Sink.
func (s *ackSink) Flush() {}

// Detach implements wire.Sink.
func (s *ackSink) Detach() {}
