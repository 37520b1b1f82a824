package api

import (
	"bytes"
	"fmt"
	"strconv"

	"leat.dev/leat/segment/record"
)

// Names of the headers that carry what a record has beside its value. Those of
// a publish: HeaderKey. Those of a delivery: all.
const (
	HeaderChannel = "Leat-Channel"
	HeaderOffset  = "Leat-Offset"
	HeaderTime    = "Leat-Time" // ns since 1970
	HeaderKey     = "Leat-Key"
	HeaderSubject = "Leat-Subject" // the one it was published on, when the channel is bound
	HeaderCount   = "Leat-Redelivered"
	HeaderNull    = "Leat-Null" // the record has no value, not an empty one
)

const headerLine = "NATS/1.0"

// encodeHeaders turns a NATS header block into the stored form, appended to dst.
// A key goes to r instead.
func encodeHeaders(dst, block []byte, r *record.Record) ([]byte, error) {
	line, rest, ok := bytes.Cut(block, crlf)
	if !ok || !bytes.HasPrefix(line, []byte(headerLine)) {
		return dst, fmt.Errorf("%w: header block without %s", errBadRequest, headerLine)
	}
	for len(rest) > 0 {
		if line, rest, ok = bytes.Cut(rest, crlf); !ok {
			return dst, fmt.Errorf("%w: header line without its end", errBadRequest)
		}
		if len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || len(name) == 0 {
			return dst, fmt.Errorf("%w: header line %q without a name", errBadRequest, line)
		}
		value = bytes.Trim(value, " \t")
		if string(name) == HeaderKey {
			r.Key = value
			continue
		}
		dst = record.AppendHeader(dst, name, value)
	}
	return dst, nil
}

var crlf = []byte("\r\n")

// appendDelivery builds the header block of a delivered record.
func appendDelivery(dst []byte, channel string, r *record.Record, redelivered uint32) ([]byte, error) {
	dst = append(dst, headerLine+"\r\n"+HeaderChannel+": "...)
	dst = append(dst, channel...)
	dst = append(dst, "\r\n"+HeaderOffset+": "...)
	dst = strconv.AppendUint(dst, uint64(r.Offset), 10)
	dst = append(dst, "\r\n"+HeaderTime+": "...)
	dst = strconv.AppendInt(dst, r.Time, 10)
	dst = append(dst, crlf...)
	if r.Key != nil {
		dst = appendHeaderLine(dst, HeaderKey, r.Key)
	}
	if r.Subject != nil {
		dst = appendHeaderLine(dst, HeaderSubject, r.Subject)
	}
	if redelivered > 0 {
		dst = append(dst, HeaderCount+": "...)
		dst = strconv.AppendUint(dst, uint64(redelivered), 10)
		dst = append(dst, crlf...)
	}
	if r.Value == nil {
		dst = append(dst, HeaderNull+": 1\r\n"...)
	}
	for list := r.Headers; len(list) > 0; {
		name, value, rest, err := record.NextHeader(list)
		if err != nil {
			return dst, fmt.Errorf("headers of offset %d: %w", r.Offset, err)
		}
		dst = append(dst, name...)
		dst = append(dst, ": "...)
		dst = append(dst, value...)
		dst = append(dst, crlf...)
		list = rest
	}
	return append(dst, crlf...), nil
}

func appendHeaderLine(dst []byte, name string, value []byte) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, crlf...)
}
