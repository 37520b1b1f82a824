package pb

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

// ErrMalformed is returned when bytes are not the message that they were taken
// for.
var ErrMalformed = errors.New("malformed protobuf message")

// kinds a known field may have.
type kind uint8

const (
	kindUnknown kind = iota // skipped
	kindVarint
	kindBytes
)

// field is one decoded field.
type field struct {
	num    protowire.Number
	number uint64
	bytes  []byte
}

// next takes the next known field off src; ok is false at the end. kindOf says
// which fields are known.
func next(src []byte, kinds []kind, f *field) (rest []byte, ok bool, err error) {
	for len(src) > 0 {
		num, typ, n := protowire.ConsumeTag(src)
		if n < 0 {
			return nil, false, malformed(n)
		}
		src = src[n:]
		want := kindUnknown
		if int(num) < len(kinds) {
			want = kinds[num]
		}
		f.num = num
		switch {
		case want == kindUnknown:
			n = protowire.ConsumeFieldValue(num, typ, src)
		case want == kindVarint && typ == protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(src)
		case want == kindBytes && typ == protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(src)
		default:
			return nil, false, fmt.Errorf("%w: field %d has wire type %d", ErrMalformed, num, typ)
		}
		if n < 0 {
			return nil, false, malformed(n)
		}
		src = src[n:]
		if want != kindUnknown {
			return src, true, nil
		}
	}
	return nil, false, nil
}

func malformed(n int) error { return fmt.Errorf("%w: %w", ErrMalformed, protowire.ParseError(n)) }

func appendBytes(dst []byte, num protowire.Number, v []byte) []byte {
	if len(v) == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return protowire.AppendBytes(dst, v)
}

func appendString(dst []byte, num protowire.Number, v string) []byte {
	if v == "" {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	return protowire.AppendString(dst, v)
}

func appendUint(dst []byte, num protowire.Number, v uint64) []byte {
	if v == 0 {
		return dst
	}
	dst = protowire.AppendTag(dst, num, protowire.VarintType)
	return protowire.AppendVarint(dst, v)
}

// appendInt writes a negative number in ten bytes, as proto3's int32 and int64
// want it.
func appendInt(dst []byte, num protowire.Number, v int64) []byte {
	return appendUint(dst, num, uint64(v))
}

func appendBool(dst []byte, num protowire.Number, v bool) []byte {
	if !v {
		return dst
	}
	return appendUint(dst, num, 1)
}
