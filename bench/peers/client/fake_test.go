package client_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// fault is what a fake store does wrong, at its hundredth record.
type fault int

const (
	none fault = iota
	ackTwice
	ackError
	ackNever
	ackSameSeq
	storeLess   // say that one record less is stored
	replaySwap  // deliver two records in the wrong order
	replayTwice // deliver one record twice
	replayOther // deliver one record with another content
	replayEnds  // say that there are no more records than a hundred
	replayRefused
	fanoutRepeat // deliver a core message twice
)

// fake speaks the NATS protocol and the part of Leat's API that the workloads
// use, on one goroutine a connection, and keeps records in memory.
type fake struct {
	fault fault
	addr  string
	tasks sync.WaitGroup

	mu      sync.Mutex
	subs    []fakeSub
	records [][]byte
	routed  int
	conns   []net.Conn
}

type fakeSub struct {
	prefix string // everything below it matches
	sid    string
	out    *bufio.Writer
}

func startFake(t *testing.T, f fault) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &fake{fault: f, addr: l.Addr().String()}
	s.tasks.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			s.tasks.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.mu.Lock()
		for _, c := range s.conns {
			_ = c.Close()
		}
		s.mu.Unlock()
		s.tasks.Wait()
	})
	return "nats://" + s.addr
}

func (s *fake) serve(conn net.Conn) {
	in, out := bufio.NewReaderSize(conn, 1<<20), bufio.NewWriterSize(conn, 1<<20)
	s.mu.Lock()
	fmt.Fprintf(out, "INFO {\"server_id\":\"fake\",\"version\":\"2.11.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n")
	_ = out.Flush()
	s.mu.Unlock()
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		f := strings.Fields(line)
		s.mu.Lock()
		switch f[0] {
		case "PING":
			fmt.Fprintf(out, "PONG\r\n")
		case "SUB":
			s.subs = append(s.subs, fakeSub{strings.TrimSuffix(f[1], "*"), f[len(f)-1], out})
		case "PUB":
			var size int
			_, _ = fmt.Sscan(f[len(f)-1], &size)
			payload := make([]byte, size+2)
			if _, err := io.ReadFull(in, payload); err != nil {
				s.mu.Unlock()
				return
			}
			reply := ""
			if len(f) == 4 {
				reply = f[2]
			}
			s.published(f[1], reply, payload[:size])
		}
		if in.Buffered() == 0 {
			for _, sub := range s.subs {
				_ = sub.out.Flush() // a closed connection is no matter
			}
			_ = out.Flush()
		}
		s.mu.Unlock()
	}
}

func (s *fake) published(subject, reply string, payload []byte) {
	switch {
	case strings.HasPrefix(subject, "orders."):
		s.records = append(s.records, payload)
		s.ack(reply)
	case strings.HasPrefix(subject, "$LEAT.API.CHANNEL.SHOW."):
		n := len(s.records)
		if s.fault == storeLess {
			n--
		}
		s.deliver(reply, fmt.Appendf(nil, `{"channel":"orders","records":%d}`, n))
	case strings.HasPrefix(subject, "$LEAT.API."):
		s.deliver(reply, []byte("{}"))
	case strings.HasPrefix(subject, "$LEAT.REPLAY."):
		s.replay(reply)
	default:
		s.routed++
		s.deliver(subject, payload)
		if s.fault == fanoutRepeat && s.routed == 100 {
			s.deliver(subject, payload)
		}
	}
}

func (s *fake) ack(reply string) {
	n := len(s.records)
	ack := fmt.Appendf(nil, `{"stream":"orders","seq":%d}`, n)
	if n == 100 {
		switch s.fault {
		case ackTwice:
			s.deliver(reply, ack)
		case ackError:
			ack = []byte(`{"error":{"code":503,"description":"no leader"},"stream":"orders","seq":0}`)
		case ackSameSeq:
			ack = []byte(`{"stream":"orders","seq":99}`)
		case ackNever:
			return
		}
	}
	s.deliver(reply, ack)
}

func (s *fake) replay(inbox string) {
	if s.fault == replayRefused {
		s.deliver(inbox, []byte(`{"error":{"code":404,"description":"no such channel"}}`))
		return
	}
	for i := range s.records {
		if s.fault == replayEnds && i == 100 {
			break
		}
		r := s.records[i]
		if i == 100 {
			switch s.fault {
			case replaySwap:
				r = s.records[101]
			case replayTwice:
				s.deliver(inbox, r)
			case replayOther:
				r = bytes.Clone(r)
				r[len(r)-1]++
			}
		}
		s.deliver(inbox, r)
	}
	if s.fault == replayEnds {
		const end = "NATS/1.0 204 End Of Replay\r\n\r\n"
		for _, sub := range s.subs {
			if inbox == sub.prefix {
				fmt.Fprintf(sub.out, "HMSG %s %s %d %d\r\n%s\r\n", inbox, sub.sid, len(end), len(end), end)
			}
		}
	}
}

func (s *fake) deliver(subject string, payload []byte) {
	for _, sub := range s.subs {
		if strings.HasPrefix(subject, sub.prefix) {
			fmt.Fprintf(sub.out, "MSG %s %s %d\r\n%s\r\n", subject, sub.sid, len(payload), payload)
		}
	}
}
