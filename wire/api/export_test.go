package api

import "leat.dev/leat/segment/record"

// For tests: what has no use outside.
var (
	Overlap       = overlap
	CheckPattern  = checkPattern
	EncodeHeaders = encodeHeaders
	AppendEnding  = appendEnding
	ErrBadRequest = errBadRequest
)

// Deliver returns the header block and the reply subject that a record is
// delivered with.
func Deliver(meta Meta, window int, channel string, r *record.Record, redelivered uint32) (header, reply []byte, err error) {
	e := encoder{meta: meta, time: -1}
	e.init(channel, 35, window > 0)
	err = e.encode(r, redelivered)
	return e.header, e.reply, err
}

// DecodeReplay reads a replay request as one that came from a client.
func DecodeReplay(body []byte) (ReplayRequest, error) {
	p := &plan{}
	if err := (&request{body: body}).decode(&p.ReplayRequest); err != nil {
		return p.ReplayRequest, err
	}
	return p.ReplayRequest, p.checkWindow()
}
