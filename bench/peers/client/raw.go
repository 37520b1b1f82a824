package client

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"time"
)

// rawConn is a NATS client connection without a library: whole buffers are
// written, and what is read is scanned in place. One goroutine may write while
// another reads.
type rawConn struct {
	net.Conn
	scan scanner
}

// writeChunkBytes is how much a pipelining publisher hands to one write.
const writeChunkBytes = 64 << 10

// dialRaw connects and subscribes to the subjects, with sids 1, 2, ….
func dialRaw(ctx context.Context, url string, subjects ...string) (*rawConn, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", strings.TrimPrefix(url, "nats://"))
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	c := &rawConn{Conn: conn, scan: scanner{buf: make([]byte, 1<<20)}}
	hello := []byte(`CONNECT {"verbose":false,"pedantic":false,"lang":"raw","version":"1","protocol":1,"headers":true,"no_responders":true}` + "\r\n")
	for i, s := range subjects {
		hello = fmt.Appendf(hello, "SUB %s %d\r\n", s, i+1)
	}
	if err := c.roundTrip(append(hello, "PING\r\n"...)); err != nil {
		return nil, fmt.Errorf("greet the server: %w", errClose(err, conn))
	}
	return c, nil
}

func errClose(err error, conn net.Conn) error {
	_ = conn.Close() // the first error is the one that tells
	return err
}

// roundTrip writes b, which ends with PING, and reads up to the PONG.
func (c *rawConn) roundTrip(b []byte) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := c.Write(b); err != nil {
		return err
	}
	for {
		op, err := c.scan.next()
		switch {
		case err != nil:
			return err
		case op == opPong:
			return c.SetDeadline(time.Time{})
		case op == opNone:
			if err := c.scan.fill(c); err != nil {
				return err
			}
		}
	}
}

// receive calls each for every message until the connection is closed or each
// returns an error, and afterRead after all those of one read.
func (c *rawConn) receive(each func(*scanner) error, afterRead func()) error {
	for {
		op, err := c.scan.next()
		if err != nil {
			return err
		}
		switch op {
		case opMsg:
			if err := each(&c.scan); err != nil {
				return err
			}
		case opPing:
			if _, err := c.Write([]byte("PONG\r\n")); err != nil {
				return err
			}
		case opNone:
			afterRead()
			if err := c.scan.fill(c); err != nil {
				return err
			}
		}
	}
}

// op is a protocol line that a server sends.
type op int

const (
	opNone op = iota // not all of it has been read yet
	opMsg
	opPing
	opPong
	opOther // INFO, +OK
)

// scanner cuts what was read into protocol lines. The slices are valid until
// the next call of fill.
type scanner struct {
	buf        []byte
	start, end int // what is read and not scanned

	subject, reply, header, payload []byte // of the last opMsg
}

// fill reads once, after moving what is left to the front.
func (s *scanner) fill(c net.Conn) error {
	if s.start > 0 {
		s.end = copy(s.buf, s.buf[s.start:s.end])
		s.start = 0
	}
	if s.end == len(s.buf) {
		return fmt.Errorf("%w: a message over %d bytes", ErrProtocol, len(s.buf))
	}
	n, err := c.Read(s.buf[s.end:])
	s.end += n
	if n > 0 {
		return nil
	}
	return err
}

var (
	msgVerb  = []byte("MSG ")
	hmsgVerb = []byte("HMSG ")
)

// next scans one protocol line, and the payload of a message.
func (s *scanner) next() (op, error) {
	b := s.buf[s.start:s.end]
	eol := bytes.IndexByte(b, '\n')
	if eol < 0 {
		return opNone, nil
	}
	line := bytes.TrimSuffix(b[:eol], []byte{'\r'})
	switch {
	case bytes.HasPrefix(line, msgVerb):
		return s.message(line[len(msgVerb):], b, eol+1, false)
	case bytes.HasPrefix(line, hmsgVerb):
		return s.message(line[len(hmsgVerb):], b, eol+1, true)
	}
	s.start += eol + 1
	verb, _, _ := strings.Cut(string(line), " ")
	switch strings.ToUpper(verb) {
	case "PING":
		return opPing, nil
	case "PONG":
		return opPong, nil
	case "INFO", "+OK":
		return opOther, nil
	default:
		return opNone, fmt.Errorf("%w: server sent %q", ErrProtocol, line)
	}
}

// message scans the arguments of MSG (subject sid [reply] bytes) or HMSG
// (subject sid [reply] header-bytes bytes); body is where the payload begins.
func (s *scanner) message(args, b []byte, body int, headers bool) (op, error) {
	var f [5][]byte
	n := 0
	for n < len(f) && len(args) > 0 {
		sp := bytes.IndexByte(args, ' ')
		if sp < 0 {
			sp = len(args)
		}
		f[n] = args[:sp]
		n++
		args = args[min(sp+1, len(args)):]
	}
	numbers := 1
	if headers {
		numbers = 2
	}
	if n < 2+numbers || n > 3+numbers {
		return opNone, fmt.Errorf("%w: a message with %d arguments", ErrProtocol, n)
	}
	size, ok := parseDecimal(f[n-1])
	headerSize, ok2 := 0, true
	if headers {
		headerSize, ok2 = parseDecimal(f[n-2])
	}
	if !ok || !ok2 || headerSize > size {
		return opNone, fmt.Errorf("%w: a message with lengths %q", ErrProtocol, f[:n])
	}
	if len(b) < body+size+2 {
		return opNone, nil
	}
	s.subject, s.reply = f[0], nil
	if n == 3+numbers {
		s.reply = f[2]
	}
	s.header, s.payload = b[body:body+headerSize], b[body+headerSize:body+size]
	s.start += body + size + 2
	return opMsg, nil
}

func parseDecimal(b []byte) (int, bool) {
	n := 0
	for _, c := range b {
		if c < '0' || c > '9' || n > 1<<30 {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, len(b) > 0
}
