package nats

import "bytes"

// The client protocol is lines, some of which are followed by a payload:
//
//	+--------------------------------------------------------------+
//	| PUB <subject> [reply] <#bytes>\r\n<payload>\r\n               |
//	| HPUB <subject> [reply] <#header> <#total>\r\n<both>\r\n       |
//	| SUB <subject> [queue] <sid>\r\n                               |
//	| UNSUB <sid> [max]\r\n                                         |
//	| CONNECT <json>\r\n                                            |
//	| PING\r\n  PONG\r\n  +OK\r\n  INFO <json>\r\n  -ERR <text>\r\n  |
//	+--------------------------------------------------------------+
//
// Verbs are case-insensitive, arguments are separated by blanks and tabs, and a
// line may end in LF alone. A payload always ends in CRLF.

type opKind uint8

const (
	opNone opKind = iota
	opPub         // PUB and HPUB
	opSub
	opUnsub
	opConnect
	opPing
	opPong
	opInfo
	opOK
	opErr
)

// op is one protocol operation. Its slices point into the buffer that was
// parsed.
type op struct {
	kind opKind

	subject []byte // opPub, opSub
	reply   []byte // opPub, nil when there is none
	header  []byte // opPub, nil when there is none
	data    []byte // opPub
	// tail is what follows the subject and its blank, through the last CRLF,
	// when those bytes can be sent to a receiver as they are; otherwise nil.
	tail []byte

	queue []byte // opSub, nil when there is none
	sid   []byte // opSub, opUnsub
	max   int    // opUnsub: -1 when there is none or it is no number
	arg   []byte // opConnect, opInfo, opErr
}

// parser takes operations off the front of a buffer. It keeps nothing between
// calls, so where the buffer was split cannot matter.
type parser struct {
	controlLineBytesMax int
	payloadBytesMax     int
	headers             bool // the client may send HPUB
	connectFirst        bool // anything but CONNECT is a violation

	// want is set when next returns 0: the bytes that the buffer must hold
	// for the operation at its front, or 0 when that is not known yet.
	want int
}

var verbs = [...]struct {
	name  string
	kind  opKind
	blank bool // a blank must follow
}{
	{"PUB", opPub, true},
	{"HPUB", opPub, true},
	{"SUB", opSub, true},
	{"UNSUB", opUnsub, true},
	{"PING", opPing, false},
	{"PONG", opPong, false},
	{"CONNECT", opConnect, false},
	{"INFO", opInfo, false},
	{"+OK", opOK, false},
	{"-ERR", opErr, true},
}

// next parses the operation at the front of buf into o and returns its length.
// 0 without an error means that buf holds only a part of it.
func (p *parser) next(buf []byte, o *op) (int, error) {
	p.want = 0
	if len(buf) == 0 {
		return 0, nil
	}
	if p.connectFirst && buf[0]|0x20 != 'c' {
		return 0, errAuthorization
	}
	// The two operations that come by the million are recognised at once.
	if len(buf) > 5 {
		if buf[0]|0x20 == 'p' && buf[1]|0x20 == 'u' && buf[2]|0x20 == 'b' && buf[3] == ' ' {
			return p.pub(buf, 4, false, o)
		}
		if buf[0]|0x20 == 'h' && buf[1]|0x20 == 'p' && buf[2]|0x20 == 'u' && buf[3]|0x20 == 'b' && buf[4] == ' ' {
			return p.pub(buf, 5, true, o)
		}
	}
	kind, at, err := verb(buf)
	if err != nil || kind == opNone {
		return 0, err
	}
	if kind == opPub {
		return p.pub(buf, at, buf[0]|0x20 == 'h', o)
	}
	line, end, err := p.line(buf, at)
	if err != nil || end == 0 {
		return 0, err
	}
	*o = op{kind: kind}
	switch kind {
	case opSub:
		err = o.parseSub(line)
	case opUnsub:
		err = o.parseUnsub(line)
	case opConnect, opInfo, opErr:
		o.arg = bytes.Trim(line, " \t")
	}
	return end, err
}

// verb recognises the verb at the front of buf and returns where its arguments
// start: behind one blank, if there is one. opNone means that more bytes are
// needed to tell.
func verb(buf []byte) (kind opKind, at int, err error) {
	for i := range verbs {
		v := &verbs[i]
		n := min(len(buf), len(v.name))
		if !equalFold(buf[:n], v.name[:n]) {
			continue
		}
		if n < len(v.name) || len(buf) == n {
			return opNone, 0, nil
		}
		if b := buf[n]; b == ' ' || b == '\t' {
			n++
		} else if v.blank {
			return opNone, 0, errUnknownOperation
		}
		return v.kind, n, nil
	}
	return opNone, 0, errUnknownOperation
}

// equalFold compares b with an upper case verb of equal length.
func equalFold(b []byte, verb string) bool {
	for i := range b {
		c := b[i]
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != verb[i] {
			return false
		}
	}
	return true
}

// line returns the rest of the line from at on, without its end, and the
// position behind it, which is 0 when the line is not complete.
func (p *parser) line(buf []byte, at int) (line []byte, end int, err error) {
	rest := buf[at:]
	nl := bytes.IndexByte(rest, '\n')
	if nl >= 0 {
		line, end = rest[:nl], at+nl+1
	} else {
		line = rest
	}
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if len(line) > p.controlLineBytesMax {
		return nil, 0, errControlLine
	}
	return line, end, nil
}

// pub parses PUB and HPUB, whose arguments start at at.
func (p *parser) pub(buf []byte, at int, withHeader bool, o *op) (int, error) {
	line, start, err := p.line(buf, at)
	if err != nil || start == 0 {
		return 0, err
	}
	if withHeader && !p.headers {
		return 0, errHeadersUnsupported
	}
	var args [5][]byte
	n, canonical := split(line, &args)
	// canonical: CRLF follows the last argument, nothing but one blank lies
	// between arguments, so the bytes can go to receivers as they are.
	canonical = canonical && start-2 >= 0 && buf[start-2] == '\r'

	numbers := 1
	if withHeader {
		numbers = 2
	}
	if n != numbers+1 && n != numbers+2 {
		return 0, errArguments
	}
	total := parseSize(args[n-1])
	headerBytes := 0
	if withHeader {
		headerBytes = parseSize(args[n-2])
	}
	if total < 0 || headerBytes < 0 || headerBytes > total {
		return 0, errArguments
	}
	if total > p.payloadBytesMax {
		return 0, errPayload
	}
	end := start + total + 2
	if len(buf) > start+total && buf[start+total] != '\r' {
		return 0, errUnknownOperation
	}
	if len(buf) < end {
		p.want = end
		return 0, nil
	}
	if buf[end-1] != '\n' {
		return 0, errUnknownOperation
	}
	o.kind = opPub
	o.subject = args[0]
	o.reply = nil
	if n == numbers+2 {
		o.reply = args[1]
	}
	o.header = nil
	if headerBytes > 0 {
		o.header = buf[start : start+headerBytes : start+headerBytes]
	}
	o.data = buf[start+headerBytes : start+total : start+total]
	o.tail = nil
	if canonical && (!withHeader || headerBytes > 0) {
		first := at + len(args[0]) + 1
		o.tail = buf[first:end:end]
	}
	return end, nil
}

// split cuts line into arguments. It returns their number, which is one more
// than fits if there are too many, and whether the line consists of nothing but
// the arguments and single blanks between them.
func split(line []byte, args *[5][]byte) (n int, canonical bool) {
	canonical = true
	start := -1
	for i := range line {
		switch b := line[i]; {
		case b > ' ':
			if start < 0 {
				start = i
			}
		case b == ' ' || b == '\t':
			if start < 0 || b == '\t' {
				canonical = false
			}
			if start >= 0 {
				if n == len(args) {
					return n + 1, false
				}
				args[n] = line[start:i:i]
				n++
				start = -1
			}
		case start < 0: // other control characters are part of an argument
			start = i
		}
	}
	if start < 0 {
		return n, false
	}
	if n == len(args) {
		return n + 1, false
	}
	args[n] = line[start:]
	return n + 1, canonical
}

func (o *op) parseSub(line []byte) error {
	var args [5][]byte
	switch n, _ := split(line, &args); n {
	case 2:
		o.subject, o.sid = args[0], args[1]
	case 3:
		o.subject, o.queue, o.sid = args[0], args[1], args[2]
	default:
		return errArguments
	}
	return nil
}

func (o *op) parseUnsub(line []byte) error {
	var args [5][]byte
	o.max = -1
	switch n, _ := split(line, &args); n {
	case 1:
		o.sid = args[0]
	case 2:
		o.sid = args[0]
		o.max = parseSize(args[1])
	default:
		return errArguments
	}
	return nil
}

// parseSize reads a decimal number of at most nine digits; -1 is everything
// else.
func parseSize(b []byte) int {
	if len(b) == 0 || len(b) > 9 {
		return -1
	}
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}
