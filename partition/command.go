package partition

import (
	"encoding/binary"
	"errors"
	"fmt"

	"leat.dev/leat/segment/record"
)

// A command batch's body is operations back to back:
//
//	+------+------------------+----------------------+
//	| op   | length           | fields               |
//	| u8   | uvarint          | uvarints, and byte   |
//	|      | of the fields    | strings with uvarint |
//	+------+------------------+----------------------+
//
// An operation is decided before it is proposed and cannot fail when applied:
// one that finds nothing to do (a cursor that is gone) does nothing, on every
// replica alike. An unknown op is an error: a newer version wrote it. A command
// without operations is a barrier: it is logged for its place only.
type op uint8

const (
	opCreateChannel op = 1 // id, created, name, config
	opSetChannel    op = 2 // id, config
	opTrimChannel   op = 3 // id, first: records below first are gone
	opDeleteChannel op = 4 // id
	opPutCursor     op = 5 // id, cursor name, meta, state
	opAdvanceCursor op = 6 // id, cursor name, delta
	opDeleteCursor  op = 7 // id, cursor name
	opPutSession    op = 8 // kind, name, value
	opDeleteSession op = 9 // kind, name
)

const (
	// opBytesMax is what an operation takes besides its strings: op, length, two
	// numbers.
	opBytesMax = 1 + 3*binary.MaxVarintLen64
	// commandBytesMax is what a command takes besides its operations.
	commandBytesMax = record.BatchHeaderBytes + 8
)

var errCommand = errors.New("malformed command")

// appendString appends a byte string as an operation has it.
func appendString[S string | []byte](dst []byte, s S) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

// appendOp appends one operation: numbers, and behind them strings that
// appendString has encoded.
func appendOp(dst []byte, o op, numbers []uint64, strings []byte) []byte {
	n := len(strings)
	for _, v := range numbers {
		n += uvarintBytes(v)
	}
	dst = append(dst, byte(o))
	dst = binary.AppendUvarint(dst, uint64(n))
	for _, v := range numbers {
		dst = binary.AppendUvarint(dst, v)
	}
	return append(dst, strings...)
}

func uvarintBytes(v uint64) int {
	n := 1
	for ; v >= 0x80; v >>= 7 {
		n++
	}
	return n
}

// fields reads the fields of one operation; the first error sticks.
type fields struct {
	b   []byte
	err error
}

func (f *fields) uint() uint64 {
	v, n := binary.Uvarint(f.b)
	if n <= 0 {
		f.fail()
		return 0
	}
	f.b = f.b[n:]
	return v
}

// bytes is a view into the command.
func (f *fields) bytes() []byte {
	n := f.uint()
	if n > uint64(len(f.b)) {
		f.fail()
		return nil
	}
	v := f.b[:n:n]
	f.b = f.b[n:]
	return v
}

func (f *fields) fail() {
	f.b = nil
	if f.err == nil {
		f.err = fmt.Errorf("%w: fields end early", errCommand)
	}
}

// nextOp takes one operation off the front of body.
func nextOp(body []byte) (o op, f fields, rest []byte, err error) {
	if len(body) < 2 {
		return 0, fields{}, nil, fmt.Errorf("%w: %d bytes left", errCommand, len(body))
	}
	n, w := binary.Uvarint(body[1:])
	if w <= 0 || n > uint64(len(body)-1-w) {
		return 0, fields{}, nil, fmt.Errorf("%w: operation %d ends early", errCommand, body[0])
	}
	at := 1 + w
	return op(body[0]), fields{b: body[at : at+int(n)]}, body[at+int(n):], nil
}
