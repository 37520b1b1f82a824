package record

import (
	"encoding/binary"
	"fmt"
)

// A record inside a batch's body:
//
//	+-------+----------------+--------------------+---------------------+-----------+-----------+
//	| flags | key            | subject            | headers             | prod.time | value     |
//	| u8    | uvarint, bytes | uvarint, bytes     | uvarint, bytes      | i64       | the rest  |
//	+-------+----------------+--------------------+---------------------+-----------+-----------+
//
// A field is there when its flag is set. The value takes what is left up to the
// start of the next record (or of the table of starts), so it has no length of
// its own. Flags without a meaning are zero.
const (
	flagKey          = 1 << 0
	flagSubject      = 1 << 1
	flagHeaders      = 1 << 2
	flagProducerTime = 1 << 3
	flagNull         = 1 << 4 // no value: null is not empty
	flagsKnown       = flagKey | flagSubject | flagHeaders | flagProducerTime | flagNull
)

// Record is one message. Its slices belong to whoever filled it: a view that
// was decoded points into the batch it came from.
type Record struct {
	Offset Offset
	Time   int64 // leader's time, ns since 1970; the batch's

	Key     []byte // nil: none; empty is a key
	Subject []byte // nil: none
	Headers []byte // encoded by AppendHeader; nil: none
	Value   []byte // nil: null; empty is a value

	ProducerTime    int64 // ns since 1970, when HasProducerTime
	HasProducerTime bool
}

// appendRecord appends the record made of the given parts; value and more are
// the two halves of its value.
func appendRecord(dst []byte, r *Record, more []byte) []byte {
	at := len(dst)
	dst = append(dst, 0)
	var flags byte
	if r.Key != nil {
		flags |= flagKey
		dst = binary.AppendUvarint(dst, uint64(len(r.Key)))
		dst = append(dst, r.Key...)
	}
	if r.Subject != nil {
		flags |= flagSubject
		dst = binary.AppendUvarint(dst, uint64(len(r.Subject)))
		dst = append(dst, r.Subject...)
	}
	if r.Headers != nil {
		flags |= flagHeaders
		dst = binary.AppendUvarint(dst, uint64(len(r.Headers)))
		dst = append(dst, r.Headers...)
	}
	if r.HasProducerTime {
		flags |= flagProducerTime
		dst = binary.LittleEndian.AppendUint64(dst, uint64(r.ProducerTime))
	}
	if r.Value == nil && more == nil {
		flags |= flagNull
	} else {
		dst = append(dst, r.Value...)
		dst = append(dst, more...)
	}
	dst[at] = flags
	return dst
}

// parseRecord fills r from exactly the bytes of src. Offset and Time are left
// alone.
func parseRecord(src []byte, r *Record) error {
	if len(src) == 0 {
		return fmt.Errorf("%w: empty record", ErrFormat)
	}
	flags := src[0]
	src = src[1:]
	r.Key, r.Subject, r.Headers, r.Value = nil, nil, nil, nil
	r.ProducerTime, r.HasProducerTime = 0, false
	if flags == 0 { // the common record is a bare value
		r.Value = src
		return nil
	}
	if flags&^flagsKnown != 0 {
		return fmt.Errorf("%w: unknown record flags %#x", ErrFormat, flags)
	}
	var err error
	if flags&flagKey != 0 {
		if r.Key, src, err = cutBytes(src, KeyBytesMax); err != nil {
			return fmt.Errorf("key: %w", err)
		}
	}
	if flags&flagSubject != 0 {
		if r.Subject, src, err = cutBytes(src, SubjectBytesMax); err != nil {
			return fmt.Errorf("subject: %w", err)
		}
	}
	if flags&flagHeaders != 0 {
		if r.Headers, src, err = cutBytes(src, HeaderBytesMax); err != nil {
			return fmt.Errorf("headers: %w", err)
		}
	}
	if flags&flagProducerTime != 0 {
		if len(src) < 8 {
			return fmt.Errorf("producer time: %w", ErrShort)
		}
		r.ProducerTime, r.HasProducerTime = int64(binary.LittleEndian.Uint64(src)), true
		src = src[8:]
	}
	if flags&flagNull != 0 {
		if len(src) != 0 {
			return fmt.Errorf("%w: null record with %d value bytes", ErrFormat, len(src))
		}
		return nil
	}
	r.Value = src
	return nil
}

// cutBytes takes a length and that many bytes off the front of src. What it
// returns is never nil, so that empty stays apart from none.
func cutBytes(src []byte, limit uint64) (field, rest []byte, err error) {
	n, w := binary.Uvarint(src)
	if w <= 0 {
		return nil, nil, ErrShort
	}
	if n > limit {
		return nil, nil, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, n, limit)
	}
	src = src[w:]
	if uint64(len(src)) < n {
		return nil, nil, ErrShort
	}
	return src[:n:n], src[n:], nil
}

// AppendHeader appends one header to an encoded header list:
//
//	+---------+------+---------+-------+
//	| uvarint | name | uvarint | value |   … repeated, in the order given
//	+---------+------+---------+-------+
//
// Names may repeat and values may hold any bytes.
func AppendHeader(dst, name, value []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(name)))
	dst = append(dst, name...)
	dst = binary.AppendUvarint(dst, uint64(len(value)))
	return append(dst, value...)
}

// NextHeader takes the first header off an encoded list. It returns ErrShort or
// ErrTooLarge when the list is malformed; the end of the list is an empty list.
func NextHeader(list []byte) (name, value, rest []byte, err error) {
	if name, list, err = cutBytes(list, HeaderBytesMax); err != nil {
		return nil, nil, nil, err
	}
	if value, list, err = cutBytes(list, HeaderBytesMax); err != nil {
		return nil, nil, nil, err
	}
	return name, value, list, nil
}
