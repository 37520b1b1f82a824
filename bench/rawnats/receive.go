package rawnats

import (
	"bytes"
	"fmt"
	"strconv"
)

// Msg is a message as it lies in the connection's buffer.
type Msg struct {
	Subject []byte
	SID     uint64 // of the subscription
	Reply   []byte // nil when there is none
	Header  []byte // the whole block, from NATS/1.0 on; nil when there is none
	Data    []byte
}

// Receive hands messages over until the connection ends or a function returns
// an error, which is returned. each takes one message; after takes what is to be
// done at the end of what one read returned, and may be nil.
func (c *Conn) Receive(each func(*Msg) error, after func() error) error {
	var m Msg
	for {
		more := true
		for more {
			var err error
			if more, err = c.next(&m, each); err != nil {
				return err
			}
		}
		if after != nil {
			if err := after(); err != nil {
				return err
			}
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// next takes one operation off the buffer, if it is there as a whole.
func (c *Conn) next(m *Msg, each func(*Msg) error) (more bool, err error) {
	in := c.buf[c.start:c.end]
	i := bytes.IndexByte(in, '\n')
	if i < 0 {
		if len(in) > lineBytes {
			return false, fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, lineBytes)
		}
		return false, nil
	}
	line, used := bytes.TrimSuffix(in[:i], []byte{'\r'}), i+1
	switch {
	case bytes.HasPrefix(line, []byte("MSG ")):
		return c.message(m, line[4:], used, false, each)
	case bytes.HasPrefix(line, []byte("HMSG ")):
		return c.message(m, line[5:], used, true, each)
	case bytes.Equal(line, []byte("PING")):
		err = c.Write([]byte("PONG\r\n"))
	case bytes.HasPrefix(line, []byte("-ERR")):
		err = fmt.Errorf("%w %s", ErrServer, bytes.TrimSpace(line[4:]))
	case bytes.Equal(line, []byte("PONG")), bytes.Equal(line, []byte("+OK")), bytes.HasPrefix(line, []byte("INFO ")):
	default:
		err = fmt.Errorf("%w: got %.40q", ErrProtocol, line)
	}
	c.start += used
	return true, err
}

// message takes a MSG or HMSG whose line has the given arguments.
func (c *Conn) message(m *Msg, args []byte, used int, headers bool, each func(*Msg) error) (more bool, err error) {
	var words [5][]byte
	n := split(args, &words)
	numbers := 1
	if headers {
		numbers = 2
	}
	if n < 2+numbers || n > 3+numbers {
		return false, fmt.Errorf("%w: a message with %q", ErrProtocol, args)
	}
	sid, ok1 := number(words[1])
	size, ok2 := number(words[n-1])
	var head uint64
	ok3 := true
	if headers {
		head, ok3 = number(words[n-2])
	}
	if !ok1 || !ok2 || !ok3 || head > size || size > messageMax {
		return false, fmt.Errorf("%w: a message with %q", ErrProtocol, args)
	}
	total := used + int(size) + 2
	if c.end-c.start < total {
		if len(c.buf)-c.start < total {
			c.room(total - (c.end - c.start))
		}
		return false, nil
	}
	body := c.buf[c.start+used : c.start+total]
	if body[size] != '\r' || body[size+1] != '\n' {
		return false, fmt.Errorf("%w: a message without its end", ErrProtocol)
	}
	*m = Msg{Subject: words[0], SID: sid, Data: body[head:size:size]}
	if n == 3+numbers {
		m.Reply = words[2]
	}
	if headers {
		m.Header = body[:head:head]
	}
	c.start += total
	return true, each(m)
}

// split cuts at spaces; it returns more than fits when there are too many.
func split(line []byte, words *[5][]byte) int {
	n := 0
	for len(line) > 0 {
		i := bytes.IndexByte(line, ' ')
		word := line
		if i >= 0 {
			word, line = line[:i], line[i+1:]
		} else {
			line = nil
		}
		if len(word) == 0 {
			continue
		}
		if n == len(words) {
			return n + 1
		}
		words[n] = word
		n++
	}
	return n
}

func number(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	var n uint64
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	return n, true
}

// EachHeader calls visit for each line of a header block behind its first, and
// returns the status on that first line ("204"), or nil when there is none.
func EachHeader(block []byte, visit func(name, value []byte)) (status []byte) {
	line, rest, _ := bytes.Cut(block, []byte("\r\n"))
	if s := bytes.TrimSpace(bytes.TrimPrefix(line, []byte("NATS/1.0"))); len(s) > 0 {
		status, _, _ = bytes.Cut(s, []byte{' '})
	}
	for len(rest) > 0 {
		line, rest, _ = bytes.Cut(rest, []byte("\r\n"))
		if i := bytes.IndexByte(line, ':'); i > 0 {
			visit(line[:i], bytes.Trim(line[i+1:], " \t"))
		}
	}
	return status
}

// AppendPub lays out a PUB.
func AppendPub(dst []byte, subject, reply string, data []byte) []byte {
	dst = append(append(dst, "PUB "...), subject...)
	dst = append(dst, ' ')
	if reply != "" {
		dst = append(append(dst, reply...), ' ')
	}
	dst = strconv.AppendUint(dst, uint64(len(data)), 10)
	dst = append(append(dst, "\r\n"...), data...)
	return append(dst, "\r\n"...)
}

// AppendSub lays out a SUB.
func AppendSub(dst []byte, subject string, sid uint64) []byte {
	dst = append(append(append(dst, "SUB "...), subject...), ' ')
	return append(strconv.AppendUint(dst, sid, 10), "\r\n"...)
}
