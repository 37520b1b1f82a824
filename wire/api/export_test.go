package api

import "leat.dev/leat/segment/record"

// For tests: what has no use outside.
var (
	Overlap       = overlap
	CheckPattern  = checkPattern
	EncodeHeaders = encodeHeaders
	ErrBadRequest = errBadRequest
)

// Deliverer is the encoder of a replay.
type Deliverer struct{ e encoder }

// NewDeliverer makes one as a replay would that has the number 35.
func NewDeliverer(meta Meta, window int, channel string) *Deliverer {
	d := &Deliverer{encoder{meta: meta}}
	d.e.init(channel, 35, window > 0)
	return d
}

// Encode encodes one record.
func (d *Deliverer) Encode(r *record.Record, redelivered uint32) error {
	return d.e.encode(r, redelivered)
}

// Deliver returns the header block and the reply subject that a record is
// delivered with.
func Deliver(meta Meta, window int, channel string, r *record.Record, redelivered uint32) (header, reply []byte, err error) {
	d := NewDeliverer(meta, window, channel)
	err = d.Encode(r, redelivered)
	return d.e.header, d.e.reply, err
}

// DecodeReplay reads a replay request as one that came from a client.
func DecodeReplay(body []byte) (ReplayRequest, error) {
	p := &plan{}
	if err := (&request{body: body}).decode(&p.ReplayRequest); err != nil {
		return p.ReplayRequest, err
	}
	return p.ReplayRequest, p.checkWindow()
}
