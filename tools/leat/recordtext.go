package main

import (
	"encoding/base64"
	"strconv"
	"time"
	"unicode/utf8"

	"leat.dev/leat/bench/rawnats"
	"leat.dev/leat/wire/api"
)

// delivery is a delivered record. Its slices belong to the connection's buffer.
type delivery struct {
	offset  uint64
	time    int64 // ns since 1970
	channel []byte
	key     []byte // nil: none
	subject []byte // nil: none
	headers []nameValue
	value   []byte
	null    bool
	status  []byte // of the header's first line: the message is no record
}

type nameValue struct{ name, value []byte }

// decoder takes deliveries apart without allocating.
type decoder struct {
	d     delivery
	visit func(name, value []byte)
}

func newDecoder() *decoder {
	c := &decoder{}
	c.visit = c.header // bound once
	return c
}

// decode returns what is valid until the next call.
func (c *decoder) decode(m *rawnats.Msg) *delivery {
	c.d = delivery{headers: c.d.headers[:0], value: m.Data}
	if m.Header != nil {
		c.d.status = rawnats.EachHeader(m.Header, c.visit)
	}
	return &c.d
}

func (c *decoder) header(name, value []byte) {
	d := &c.d
	switch string(name) {
	case api.HeaderOffset:
		d.offset = parseUint(value)
	case api.HeaderTime:
		d.time = int64(parseUint(value))
	case api.HeaderChannel:
		d.channel = value
	case api.HeaderKey:
		d.key = value
	case api.HeaderSubject:
		d.subject = value
	case api.HeaderNull:
		d.null = true
	case api.HeaderCount:
	default:
		d.headers = append(d.headers, nameValue{name, value})
	}
}

// parseUint returns 0, which is no offset, for what is no number.
func parseUint(b []byte) uint64 {
	n, err := strconv.ParseUint(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// appendRaw writes the value and a line end.
func appendRaw(dst []byte, d *delivery) []byte {
	return append(append(dst, d.value...), '\n')
}

// appendJSON writes the record as a line of JSON.
func appendJSON(dst []byte, d *delivery) []byte {
	dst = append(dst, `{"offset":`...)
	dst = strconv.AppendUint(dst, d.offset, 10)
	dst = append(dst, `,"time":"`...)
	dst = time.Unix(0, d.time).UTC().AppendFormat(dst, time.RFC3339Nano)
	dst = append(dst, `","channel":`...)
	dst = appendQuoted(dst, d.channel)
	if d.subject != nil {
		dst = append(dst, `,"subject":`...)
		dst = appendQuoted(dst, d.subject)
	}
	if d.key != nil {
		dst = appendField(dst, "key", d.key)
	}
	if len(d.headers) > 0 {
		dst = append(dst, `,"headers":{`...)
		dst = appendHeaders(dst, d.headers)
		dst = append(dst, '}')
	}
	if d.null {
		dst = append(dst, `,"value":null`...)
	} else {
		dst = appendField(dst, "value", d.value)
	}
	return append(dst, "}\n"...)
}

// appendField writes bytes as a string, or, where they are no UTF-8, in base64
// under a name that says so.
func appendField(dst []byte, name string, b []byte) []byte {
	dst = append(append(dst, `,"`...), name...)
	if utf8.Valid(b) {
		return appendQuoted(append(dst, `":`...), b)
	}
	dst = append(dst, `_base64":"`...)
	dst = base64.StdEncoding.AppendEncode(dst, b)
	return append(dst, '"')
}

// appendHeaders writes each name once, with all of its values.
func appendHeaders(dst []byte, headers []nameValue) []byte {
	for i, h := range headers {
		seen := false
		for _, before := range headers[:i] {
			seen = seen || string(before.name) == string(h.name)
		}
		if seen {
			continue
		}
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendQuoted(dst, h.name), `:[`...)
		for k, other := range headers[i:] {
			if string(other.name) != string(h.name) {
				continue
			}
			if k > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, other.value)
		}
		dst = append(dst, ']')
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendQuoted writes a JSON string; bytes that are no UTF-8 become U+FFFD.
func appendQuoted(dst, s []byte) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = append(append(dst, s[start:i]...), "\ufffd"...)
				start = i + 1
			}
			i += n
			continue
		}
		if c >= ' ' && c != '"' && c != '\\' {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, `\n`...)
		case '\r':
			dst = append(dst, `\r`...)
		case '\t':
			dst = append(dst, `\t`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	return append(append(dst, s[start:]...), '"')
}

// appendText writes the record for people: a line that says what it is, then
// its value.
func appendText(dst []byte, d *delivery) []byte {
	dst = strconv.AppendUint(append(dst, '#'), d.offset, 10)
	dst = append(dst, ' ')
	dst = time.Unix(0, d.time).UTC().AppendFormat(dst, "2006-01-02T15:04:05.000000Z07:00")
	if d.subject != nil {
		dst = appendReadable(append(dst, " subject "...), d.subject)
	}
	if d.key != nil {
		dst = append(dst, " key "...)
		dst = appendReadable(dst, d.key)
	}
	for _, h := range d.headers {
		dst = appendReadable(append(dst, ' '), h.name)
		dst = appendReadable(append(dst, '='), h.value)
	}
	if d.null {
		return append(dst, "\n(null)\n"...)
	}
	return append(appendReadable(append(dst, '\n'), d.value), '\n')
}

// appendReadable writes text as it is, anything else with escapes, so that a
// record can't change the terminal it is shown on.
func appendReadable(dst, b []byte) []byte {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if (r == utf8.RuneError && n == 1) || (!strconv.IsPrint(r) && r != '\t' && r != '\n') {
			return strconv.AppendQuote(dst, string(b))
		}
		i += n
	}
	return append(dst, b...)
}

// readable is appendReadable for names that a file holds.
func readable(s string) string { return string(appendReadable(nil, []byte(s))) }
