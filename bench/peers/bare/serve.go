package bare

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// CountSubject is where a request is answered with the number of messages that
// were acknowledged.
const CountSubject = "BARE.COUNT"

const (
	fileBytes = 32 << 20 // written over from the front again when it is full
	// overheadBytes is written with each payload: as much as a frame, a batch
	// and a record take in a segment.
	overheadBytes   = 216
	payloadBytesMax = 1 << 20
)

// errProtocol is returned for what no client of the comparison sends.
var errProtocol = errors.New("not understood")

// server is what connections share.
type server struct {
	file  *os.File
	acked atomic.Uint64

	mu  sync.Mutex // held over a write and its sync
	pos int64      // guarded by mu
}

// Serve serves at the address until ctx is done, with its file in dir, which is
// made.
func Serve(ctx context.Context, addr, dir string) (err error) {
	s := &server{}
	if err := s.prepare(dir); err != nil {
		return fmt.Errorf("prepare the file: %w", err)
	}
	defer func() { err = errors.Join(err, s.file.Close()) }()
	var config net.ListenConfig
	l, err := config.Listen(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	var conns sync.WaitGroup
	defer conns.Wait()
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // ends Accept
	defer stop()
	for {
		nc, err := l.Accept()
		if ctx.Err() != nil {
			return nil // asked to end
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = nc.Close() }) // ends its reads
			defer stop()
			defer nc.Close()
			if err := s.serve(nc); !errors.Is(err, io.EOF) && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "bare:", err)
			}
		})
	}
}

// prepare makes the file and writes all of it.
func (s *server) prepare(dir string) (err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if s.file, err = os.Create(filepath.Join(dir, "file")); err != nil {
		return err
	}
	if _, err := s.file.WriteAt(make([]byte, fileBytes), 0); err != nil {
		return err
	}
	return s.file.Sync()
}

// store writes a payload and syncs.
func (s *server) store(frame []byte) (seq uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pos+int64(len(frame)) > fileBytes {
		s.pos = 0
	}
	if _, err := s.file.WriteAt(frame, s.pos); err != nil {
		return 0, err
	}
	s.pos += int64(len(frame))
	if err := syscall.Fdatasync(int(s.file.Fd())); err != nil {
		return 0, err
	}
	return s.acked.Add(1), nil
}

// conn is one connection.
type conn struct {
	*server
	in    *bufio.Reader
	out   net.Conn
	sids  map[string]string // by subject
	frame []byte            // scratch
	msg   []byte            // scratch
}

// serve serves a connection until its end, and returns why it ended.
func (s *server) serve(nc net.Conn) error {
	c := &conn{server: s, in: bufio.NewReaderSize(nc, 64<<10), out: nc, sids: map[string]string{}}
	_, err := fmt.Fprintf(nc, "INFO {\"server_id\":\"bare\",\"version\":\"2.15.2\",\"proto\":1,\"headers\":true,\"max_payload\":%d}\r\n", payloadBytesMax)
	for err == nil {
		err = c.next()
	}
	return err
}

// next serves one line of the protocol.
func (c *conn) next() error {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return err
	}
	args := bytes.Fields(line)
	if len(args) == 0 {
		return nil
	}
	switch op := string(args[0]); {
	case op == "CONNECT", op == "PONG", op == "UNSUB":
		return nil
	case op == "PING":
		_, err := c.out.Write([]byte("PONG\r\n"))
		return err
	case op == "SUB" && len(args) >= 3:
		c.sids[string(args[1])] = string(args[len(args)-1])
		return nil
	case op == "PUB" && (len(args) == 3 || len(args) == 4):
		return c.publish(args)
	}
	return fmt.Errorf("%w: %.80q", errProtocol, line)
}

// publish stores one message and answers it.
func (c *conn) publish(args [][]byte) error {
	n, err := strconv.Atoi(string(args[len(args)-1]))
	if err != nil || n < 0 || n > payloadBytesMax {
		return fmt.Errorf("%w: payload of %s bytes", errProtocol, args[len(args)-1])
	}
	count := string(args[1]) == CountSubject
	var reply, sid string
	if len(args) == 4 {
		reply = string(args[2])
		sid = c.sidOf(reply)
	}
	if need := overheadBytes + n; cap(c.frame) < need {
		c.frame = make([]byte, need)
	}
	c.frame = c.frame[:overheadBytes+n]
	if _, err := io.ReadFull(c.in, c.frame[overheadBytes:]); err != nil {
		return err
	}
	if _, err := c.in.Discard(len("\r\n")); err != nil {
		return err
	}
	body := strconv.FormatUint(c.acked.Load(), 10)
	if !count {
		seq, err := c.store(c.frame)
		if err != nil {
			return err
		}
		body = `{"stream":"bare","seq":` + strconv.FormatUint(seq, 10) + `}`
	}
	if sid == "" {
		return nil
	}
	c.msg = fmt.Appendf(c.msg[:0], "MSG %s %s %d\r\n%s\r\n", reply, sid, len(body), body)
	_, err = c.out.Write(c.msg)
	return err
}

// sidOf finds the subscription of this connection that a reply subject is for:
// the subject itself, or its last token as a wildcard.
func (c *conn) sidOf(reply string) string {
	if sid := c.sids[reply]; sid != "" {
		return sid
	}
	return c.sids[reply[:strings.LastIndexByte(reply, '.')+1]+"*"]
}
