package client

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// pieces is a connection that gives its bytes in reads of at most n.
type pieces struct {
	net.Conn
	b []byte
	n int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.b) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.n)], p.b)
	p.b = p.b[n:]
	return n, nil
}

// scanAll returns what a scanner makes of input, read in pieces of n bytes.
func scanAll(input string, n int) ([]string, error) {
	s := scanner{buf: make([]byte, 256)}
	conn := &pieces{b: []byte(input), n: n}
	var got []string
	for {
		op, err := s.next()
		switch {
		case err != nil:
			return got, err
		case op == opNone:
			if err := s.fill(conn); err != nil {
				return got, err
			}
		case op == opMsg:
			got = append(got, string(s.subject)+"|"+string(s.reply)+"|"+string(s.header)+"|"+string(s.payload))
		default:
			got = append(got, []string{"", "", "ping", "pong", "other"}[op])
		}
	}
}

// Aim: the scanner reads every line of the protocol wherever a read ends.
// Method: one input cut into pieces of every size.
func TestScannerPieces(t *testing.T) {
	input := "INFO {}\r\nPING\r\nPONG\r\n+OK\r\nMSG a.b 1 5\r\nhe\r\no\r\nMSG a 1 r.1 0\r\n\r\nHMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHMSG a 1 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"
	want := []string{"other", "ping", "pong", "other", "a.b|||he\r\no", "a|r.1||", "a||NATS/1.0\r\n\r\n|hi", "a|r|NATS/1.0\r\n\r\n|"}
	for n := 1; n <= len(input); n++ {
		got, err := scanAll(input, n)
		require.ErrorIs(t, err, io.EOF)
		require.Equal(t, want, got, "pieces of %d", n)
	}
}

// Aim: what is no protocol is an error. Method: a table of bad lines.
func TestScannerRefuses(t *testing.T) {
	for _, input := range []string{
		"-ERR 'Slow Consumer'\r\n", "HELLO\r\n", "MSG a 1\r\n", "MSG a 1 r x\r\n", "MSG a 1 r s 4 5\r\n",
		"HMSG a 1 9 8\r\n", "HMSG a 1 8\r\n", "MSG a 1 99999999999999\r\n", "MSG a 1 5000\r\n", "MSG a 1 -1\r\n",
	} {
		_, err := scanAll(input+string(make([]byte, 1000)), 64)
		require.ErrorIs(t, err, ErrProtocol, "%q", input)
	}
}

// Aim: no input makes the scanner panic or read beyond what it has. Method:
// fuzzing, with the pieces' size as input too.
func FuzzScanner(f *testing.F) {
	f.Add("MSG a 1 r 2\r\nhi\r\nPING\r\n", 3)
	f.Add("HMSG a 1 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", 7)
	f.Fuzz(func(t *testing.T, input string, n int) {
		_, err := scanAll(input, max(n%256, 1))
		if !errors.Is(err, io.EOF) {
			require.ErrorIs(t, err, ErrProtocol)
		}
	})
}

// Aim: only an acknowledgement is one. Method: a table.
func TestParseSeq(t *testing.T) {
	for in, want := range map[string]uint64{
		`{"stream":"orders","seq":7}`:                  7,
		`{"stream":"orders", "seq": 12, "domain":"x"}`: 12,
		`{"error":{"code":503},"stream":"x","seq":0}`:  0,
		`{"error":{"code":503},"stream":"x","seq":9}`:  0,
		`{"stream":"orders","seq":0}`:                  0,
		`{"stream":"orders"}`:                          0,
		``:                                             0,
	} {
		got, ok := parseSeq([]byte(in))
		require.Equal(t, want > 0, ok, in)
		if ok {
			require.Equal(t, want, got, in)
		}
	}
}
