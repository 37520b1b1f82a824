package api

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"leat.dev/leat/segment/record"
)

// Names of the headers that carry what a record has beside its value. A publish
// may have HeaderKey or HeaderKeyBase64, and HeaderNull; a delivery has them
// all. No other header of a record begins with "Leat-": what a publish has of
// those is left out, so that a delivered message can be published again as it
// is.
const (
	HeaderChannel   = "Leat-Channel"
	HeaderOffset    = "Leat-Offset"
	HeaderTime      = "Leat-Time" // ns since 1970
	HeaderKey       = "Leat-Key"
	HeaderKeyBase64 = "Leat-Key-Base64" // a key that a header line can't hold
	HeaderSubject   = "Leat-Subject"    // the one it was published on, when the channel is bound
	HeaderCount     = "Leat-Redelivered"
	HeaderNull      = "Leat-Null" // the record has no value, not an empty one
)

const (
	headerLine   = "NATS/1.0"
	headerPrefix = "Leat-"
)

// headersRefused are headers of nats-server, or beginnings of them, that ask for
// something to be checked or done, or for the message not to be stored. Who sends
// one relies on that, so a message that has one is refused rather than stored
// without it. Nats-Msg-Id is none: it is stored, and a reader can tell duplicates
// by it.
var headersRefused = []string{
	"Nats-Expected-", "Nats-Rollup", "Nats-TTL", "Nats-Incr", "Nats-Schedule", "Nats-Batch-", "Nats-Required-", "Nats-Trace-Only",
}

// encodeHeaders turns a NATS header block into the stored form, appended to dst.
// What describes the record goes to r instead.
func encodeHeaders(dst, block []byte, r *record.Record) ([]byte, error) {
	line, rest, ok := bytes.Cut(block, crlf)
	if !ok || len(line) < len(headerLine) || string(line[:len(headerLine)]) != headerLine {
		return dst, fmt.Errorf("%w: header block without %s", errBadRequest, headerLine)
	}
	for len(rest) > 0 {
		if line, rest, ok = bytes.Cut(rest, crlf); !ok {
			return dst, fmt.Errorf("%w: header line without its end", errBadRequest)
		}
		if len(line) == 0 {
			break
		}
		at := bytes.IndexByte(line, ':')
		if at <= 0 {
			return dst, fmt.Errorf("%w: header line %q without a name", errBadRequest, line)
		}
		name, value := line[:at], trim(line[at+1:])
		if len(name) > len(headerPrefix) && string(name[:len(headerPrefix)]) == headerPrefix {
			if err := takeOwn(r, name, value); err != nil {
				return dst, err
			}
			continue
		}
		if err := checkHeader(name); err != nil {
			return dst, err
		}
		dst = record.AppendHeader(dst, name, value)
	}
	return dst, nil
}

// takeOwn takes a header that describes the record.
func takeOwn(r *record.Record, name, value []byte) error {
	switch string(name) {
	case HeaderKey:
		r.Key = value
	case HeaderKeyBase64:
		key, err := base64.StdEncoding.AppendDecode(nil, value)
		if err != nil {
			return fmt.Errorf("%w: header %s: %w", errBadRequest, name, err)
		}
		if r.Key = key; key == nil {
			r.Key = []byte{}
		}
	case HeaderNull:
		if len(r.Value) > 0 {
			return fmt.Errorf("%w: header %s with a payload of %d bytes", errBadRequest, name, len(r.Value))
		}
		r.Value = nil
	}
	return nil
}

func checkHeader(name []byte) error {
	if name[0] != 'N' && name[0] != 'n' {
		return nil
	}
	for _, refused := range headersRefused {
		if len(name) >= len(refused) && strings.EqualFold(string(name[:len(refused)]), refused) {
			return fmt.Errorf("%w: header %s asks for what is not supported here: publish without it", errBadRequest, name)
		}
	}
	return nil
}

// trim cuts blanks off both ends. It is bytes.Trim of " \t" at a fraction of
// its cost.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

var crlf = []byte("\r\n") // read only
