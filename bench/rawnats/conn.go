package rawnats

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"sync"
	"time"
)

const (
	readBytes   = 256 << 10
	lineBytes   = 64 << 10 // INFO of a large cluster is the longest line
	messageMax  = 128 << 20
	dialTimeout = 5 * time.Second
)

// Options say where to connect to, and as whom.
type Options struct {
	// URL is nats://[user:password@]host[:port], or only host:port.
	URL string
	// Name is the client's name, for the server's lists and logs.
	Name string
	// IdleMax is how long the server may be silent before it is asked whether
	// it lives, and then before it is given up. Default 20 s.
	IdleMax time.Duration
}

// Info is what a server tells of itself.
type Info struct {
	ServerName      string `json:"server_name"`
	Version         string `json:"version"`
	PayloadBytesMax int    `json:"max_payload"`
	Headers         bool   `json:"headers"`
	TLSRequired     bool   `json:"tls_required"`
}

// Conn is one connection. Write may be called by anyone at any time; Receive by
// one goroutine.
type Conn struct {
	conn    net.Conn
	info    Info
	idleMax time.Duration

	writeMu sync.Mutex

	// of the goroutine that is in Receive
	buf   []byte
	start int // of what is not parsed yet
	end   int // of what was read
	asked bool
}

// Dial connects and greets. The server has taken the CONNECT when it returns.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	address, greeting, err := greet(o)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	c := &Conn{conn: nc, idleMax: o.IdleMax, buf: make([]byte, readBytes)}
	if c.idleMax <= 0 {
		c.idleMax = 20 * time.Second
	}
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	err = c.handshake(greeting)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		_ = nc.Close() // the first error counts
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return c, nil
}

// greet gives the address and the CONNECT line.
func greet(o Options) (address string, line []byte, err error) {
	text := o.URL
	if !bytes.Contains([]byte(text), []byte("://")) {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	if err != nil {
		return "", nil, fmt.Errorf("%w: %w", ErrURL, err)
	}
	if u.Scheme != "nats" || u.Hostname() == "" {
		return "", nil, fmt.Errorf("%w, got %q", ErrURL, o.URL)
	}
	port := u.Port()
	if port == "" {
		port = "4222"
	}
	connect := map[string]any{
		"verbose": false, "pedantic": false, "echo": true, "headers": true, "no_responders": true,
		"protocol": 1, "name": o.Name, "lang": "go", "version": "1",
	}
	if user := u.User; user != nil {
		if password, ok := user.Password(); ok {
			connect["user"], connect["pass"] = user.Username(), password
		} else {
			connect["auth_token"] = user.Username()
		}
	}
	b, err := json.Marshal(connect)
	if err != nil {
		return "", nil, fmt.Errorf("encode CONNECT: %w", err)
	}
	return net.JoinHostPort(u.Hostname(), port), fmt.Appendf(nil, "CONNECT %s\r\nPING\r\n", b), nil
}

func (c *Conn) handshake(greeting []byte) error {
	info, err := c.line()
	if err != nil {
		return err
	}
	rest, ok := bytes.CutPrefix(info, []byte("INFO "))
	if !ok {
		return fmt.Errorf("%w: got %.40q, want INFO", ErrProtocol, info)
	}
	if err := json.Unmarshal(rest, &c.info); err != nil {
		return fmt.Errorf("%w: INFO: %w", ErrProtocol, err)
	}
	if c.info.TLSRequired {
		return fmt.Errorf("%w: the server wants TLS", ErrURL)
	}
	if _, err := c.conn.Write(greeting); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	for {
		answer, err := c.line()
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(answer, []byte("-ERR")):
			return fmt.Errorf("%w %s", ErrServer, bytes.TrimSpace(answer[4:]))
		case bytes.HasPrefix(answer, []byte("PONG")):
			return c.conn.SetDeadline(time.Time{})
		}
	}
}

// Info is what the server told when it greeted.
func (c *Conn) Info() Info { return c.info }

// Write sends whole protocol operations.
func (c *Conn) Write(ops []byte) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if _, err := c.conn.Write(ops); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return nil
}

// Close ends the connection; Receive returns net.ErrClosed.
func (c *Conn) Close() error { return c.conn.Close() }

// fill reads once, behind what is there. It asks a silent server whether it
// lives.
func (c *Conn) fill() error {
	if c.start == c.end {
		c.start, c.end = 0, 0
	} else if len(c.buf)-c.end < len(c.buf)/4 {
		c.room(len(c.buf) / 2)
	}
	for {
		if err := c.conn.SetReadDeadline(time.Now().Add(c.idleMax)); err != nil {
			return err
		}
		n, err := c.conn.Read(c.buf[c.end:])
		if n > 0 {
			c.end += n
			c.asked = false
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("receive: %w", err)
		}
		if c.asked {
			return fmt.Errorf("%w for %s", ErrStale, 2*c.idleMax)
		}
		c.asked = true
		if err := c.Write([]byte("PING\r\n")); err != nil {
			return err
		}
	}
}

// room makes room for at least n bytes behind what was read.
func (c *Conn) room(n int) {
	unread := c.end - c.start
	if unread+n > len(c.buf) {
		grown := make([]byte, max(2*len(c.buf), unread+n))
		copy(grown, c.buf[c.start:c.end])
		c.buf = grown
	} else {
		copy(c.buf, c.buf[c.start:c.end])
	}
	c.start, c.end = 0, unread
}

// line reads one line for the handshake, which has a deadline of its own.
func (c *Conn) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.start:c.end], '\n'); i >= 0 {
			l := c.buf[c.start : c.start+i]
			c.start += i + 1
			return bytes.TrimSuffix(l, []byte{'\r'}), nil
		}
		if c.end-c.start > lineBytes {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", ErrProtocol, lineBytes)
		}
		if c.end == len(c.buf) {
			c.room(readBytes)
		}
		n, err := c.conn.Read(c.buf[c.end:])
		if n == 0 && err != nil {
			return nil, fmt.Errorf("greet: %w", err)
		}
		c.end += n
	}
}
