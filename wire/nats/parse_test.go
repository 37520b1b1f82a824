package nats

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// parseAll feeds input to a parser in the pieces that cuts gives, the way the
// read loop does, and returns what came out as text.
func parseAll(t testing.TB, input []byte, cuts []byte) string {
	p := parser{controlLineBytesMax: 64, payloadBytesMax: 300, headers: true}
	var (
		out strings.Builder
		buf []byte
		o   op
	)
	for i := 0; len(input) > 0; i++ {
		n := len(input)
		if len(cuts) > 0 {
			n = min(n, int(cuts[i%len(cuts)])+1)
		}
		buf = append(buf, input[:n]...)
		input = input[n:]
		for {
			used, err := p.next(buf, &o)
			if err != nil {
				var pe *protocolError
				require.ErrorAs(t, err, &pe, "%v", err)
				fmt.Fprintf(&out, "error %s", pe.reason)
				return out.String()
			}
			if used == 0 {
				// What waits is bounded: a line and a payload.
				require.LessOrEqual(t, len(buf), 64+16+300+2)
				require.True(t, p.want == 0 || p.want > len(buf))
				break
			}
			fmt.Fprintf(&out, "%d %q %q %q %q", o.kind, o.subject, o.reply, o.header, o.data)
			if o.kind != opPub {
				fmt.Fprintf(&out, " %q %q %d %q", o.queue, o.sid, o.max, o.arg)
			}
			if o.tail != nil && o.kind == opPub {
				var line []byte
				line = appendArguments(line, o.reply, len(o.header), len(o.header)+len(o.data))
				line = append(append(append(line, o.header...), o.data...), "\r\n"...)
				// Numbers may have zeros in front in the client's own form.
				require.Equal(t, strings.ReplaceAll(string(line), "0", ""), strings.ReplaceAll(string(o.tail), "0", ""))
			}
			out.WriteByte('\n')
			buf = buf[used:]
		}
	}
	return out.String()
}

func FuzzParse(f *testing.F) {
	// Aim: any bytes, split anywhere, parse to the same operations as the
	// whole, and nothing waits without bound. Method: compare the two.
	for _, seed := range []string{
		"CONNECT {\"verbose\":false}\r\nPING\r\nPONG\r\n+OK\r\n-ERR 'x'\r\nINFO {}\r\n",
		"SUB a.b 1\r\nSUB a.> q 2\r\nUNSUB 1\r\nUNSUB 2 10\r\n",
		"PUB a 5\r\nhello\r\nPUB a r 0\r\n\r\npub\ta  2 \nab\r\n",
		"HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\nHPUB a r 12 12\r\nNATS/1.0\r\n\r\n\r\n",
		"PUB a 301\r\n", "PUB a 2\r\nabc\r\n", "HPUB a 3 2\r\n", "PUX", "P", "PUB", "SUB a\r\n",
		"PUB " + strings.Repeat("a", 70), "PING " + strings.Repeat("a", 70), "GET / HTTP/1.1\r\n\r\n",
		"PUB a b c 1\r\n", "PUB a -1\r\n", "PUB a 1\r\nx\rPUB", "CONNECT\r\n", "\r\n",
	} {
		f.Add([]byte(seed), []byte{0})
		f.Add([]byte(seed), []byte{2, 0, 6})
	}
	f.Fuzz(func(t *testing.T, input, cuts []byte) {
		require.Equal(t, parseAll(t, input, nil), parseAll(t, input, cuts))
	})
}

func TestParsePartialVerbs(t *testing.T) {
	// Aim: what cannot become a verb any more is refused at once, what can is
	// waited for. Method: every prefix of every verb, with and without a
	// wrong byte behind it.
	p := parser{controlLineBytesMax: 64, payloadBytesMax: 64}
	var o op
	for _, v := range verbs {
		for i := range len(v.name) {
			n, err := p.next([]byte(v.name[:i]), &o)
			require.NoError(t, err)
			require.Zero(t, n)
			_, err = p.next([]byte(v.name[:i]+"!"), &o)
			require.ErrorIs(t, err, errUnknownOperation)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	// Measures the parser alone on a buffer of 128-byte publishes.
	p := parser{controlLineBytesMax: 4096, payloadBytesMax: 1 << 20}
	one := "PUB bench.subject 128\r\n" + strings.Repeat("x", 128) + "\r\n"
	buf := []byte(strings.Repeat(one, 400))
	var o op
	b.ReportAllocs()
	b.SetBytes(int64(len(one)))
	at := 0
	for b.Loop() {
		n, err := p.next(buf[at:], &o)
		if err != nil || n == 0 {
			b.Fatal(n, err)
		}
		if at += n; at == len(buf) {
			at = 0
		}
	}
}
