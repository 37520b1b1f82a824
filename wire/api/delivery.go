package api

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strconv"

	"leat.dev/leat/segment/record"
)

// Meta says how what a record has beside its value is delivered. Headers cost
// NATS clients more than anything else in a message.
type Meta string

const (
	// MetaHeaders: all in headers. It is the default.
	MetaHeaders Meta = "headers"
	// MetaReply: offset and time in the reply subject, as in
	// "$LEAT.ACK.<replay>.<offset>.<time>", which ParseDelivery reads; headers
	// only for records that have a key, a subject or headers of their own, have
	// no value, or are sent again.
	MetaReply Meta = "reply"
	// MetaNone: the value alone, and the subject to acknowledge at if there is
	// a window.
	MetaNone Meta = "none"
)

func (m Meta) check() error {
	switch m {
	case "", MetaHeaders, MetaReply, MetaNone:
		return nil
	}
	return fmt.Errorf("%w: meta %q, want %s, %s or %s", errBadRequest, string(m), MetaHeaders, MetaReply, MetaNone)
}

// encoder makes the header block and the reply subject of deliveries. What is
// the same for all records of a replay is made once, so is what is the same for
// all of a batch.
type encoder struct {
	meta     Meta
	head     []byte // of the header block: its first line, the channel, and the offset's name
	fixed    int    // length of the reply subject up to the offset; 0 when there is none
	timed    bool   // the reply subject has the time
	time     int64  // that timeText shows
	timeText []byte // never empty

	header []byte // of the last record; nil when there is none
	reply  []byte // of the last record; nil when there is none
	block  []byte // memory of header
}

func newEncoder(p *plan) encoder {
	e := encoder{meta: p.Meta}
	if e.meta == "" {
		e.meta = MetaHeaders
	}
	e.init(p.channel.Name(), p.id, p.Window > 0)
	return e
}

func (e *encoder) init(channel string, replay uint64, acked bool) {
	e.timeText = strconv.AppendInt(nil, e.time, 10)
	e.head = append(e.head, headerLine+"\r\n"+HeaderChannel+": "+channel+"\r\n"+HeaderOffset+": "...)
	if acked || e.meta == MetaReply {
		e.reply = append(e.reply, Prefix+"ACK."+formatReplay(replay)+"."...)
		e.fixed = len(e.reply)
		e.timed = e.meta == MetaReply
	}
}

// encode sets header and reply to what the record is delivered with.
func (e *encoder) encode(r *record.Record, redelivered uint32) (err error) {
	if r.Time != e.time {
		e.time = r.Time
		e.timeText = strconv.AppendInt(e.timeText[:0], r.Time, 10)
	}
	if e.fixed > 0 {
		e.reply = strconv.AppendUint(e.reply[:e.fixed], uint64(r.Offset), 10)
		if e.timed {
			e.reply = append(append(e.reply, '.'), e.timeText...)
		}
	}
	e.header = nil
	switch e.meta {
	case MetaNone:
		return nil
	case MetaReply:
		if r.Key == nil && r.Subject == nil && r.Headers == nil && r.Value != nil && redelivered == 0 {
			return nil
		}
		e.block = append(e.block[:0], headerLine+"\r\n"...)
	default:
		e.block = strconv.AppendUint(append(e.block[:0], e.head...), uint64(r.Offset), 10)
		e.block = append(append(e.block, "\r\n"+HeaderTime+": "...), e.timeText...)
		e.block = append(e.block, '\r', '\n')
	}
	e.block, err = appendOwn(e.block, r, redelivered)
	e.block = append(e.block, '\r', '\n')
	e.header = e.block
	return err
}

// appendOwn appends the header lines of what not every record has.
func appendOwn(dst []byte, r *record.Record, redelivered uint32) ([]byte, error) {
	switch {
	case r.Key == nil:
	case lineSafe(r.Key):
		dst = appendHeaderLine(dst, HeaderKey, r.Key)
	default:
		dst = append(dst, HeaderKeyBase64+": "...)
		dst = base64.StdEncoding.AppendEncode(dst, r.Key)
		dst = append(dst, '\r', '\n')
	}
	if r.Subject != nil {
		dst = appendHeaderLine(dst, HeaderSubject, r.Subject)
	}
	if redelivered > 0 {
		dst = strconv.AppendUint(append(dst, HeaderCount+": "...), uint64(redelivered), 10)
		dst = append(dst, '\r', '\n')
	}
	if r.Value == nil {
		dst = append(dst, HeaderNull+": 1\r\n"...)
	}
	for list := r.Headers; len(list) > 0; {
		name, value, rest, err := record.NextHeader(list)
		if err != nil {
			return dst, fmt.Errorf("headers of offset %d: %w", r.Offset, err)
		}
		list = rest
		if len(name) == 0 || bytes.IndexByte(name, ':') >= 0 || !lineSafe(name) {
			continue // no NATS client could have given it, and none could read it
		}
		from := len(dst) + len(name) + len(": ")
		dst = appendHeaderLine(dst, string(name), value)
		blank(dst[from : len(dst)-len("\r\n")])
	}
	return dst, nil
}

// lineSafe tells whether b comes out of a header line as it went in.
func lineSafe(b []byte) bool {
	n := len(b)
	if n > 0 && (b[0] == ' ' || b[0] == '\t' || b[n-1] == ' ' || b[n-1] == '\t') {
		return false
	}
	return bytes.IndexByte(b, '\r') < 0 && bytes.IndexByte(b, '\n') < 0
}

// blank replaces ends of lines: a value that has them came from another
// front-end, and must not become several headers.
func blank(value []byte) {
	for i, c := range value {
		if c == '\r' || c == '\n' {
			value[i] = ' '
		}
	}
}

func appendHeaderLine(dst []byte, name string, value []byte) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), '\r', '\n')
}
