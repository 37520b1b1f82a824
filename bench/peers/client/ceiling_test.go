package client_test

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// BenchmarkReceiveCeiling says how many messages of 1 KiB nats.go can take from
// a server that costs next to nothing, so that a replay's figure can be seen
// beside what the client allows. Method: a listener that answers the first
// subscription with b.N copies of one encoded message.
func BenchmarkReceiveCeiling(b *testing.B) {
	headers := func(n int) string {
		h := "NATS/1.0\r\n"
		for i := range n {
			h += fmt.Sprintf("Leat-Header-%d: 1234567890123\r\n", i)
		}
		return h + "\r\n"
	}
	payload := strings.Repeat("x", 1024)
	for _, v := range []struct{ name, frame string }{
		{"plain", fmt.Sprintf("MSG inbox 1 1024\r\n%s\r\n", payload)},
		{"reply", fmt.Sprintf("MSG inbox 1 $JS.ACK.orders.consumer1.1.123456.123456.1700000000000000000.299999 1024\r\n%s\r\n", payload)},
		{"headers=1", fmt.Sprintf("HMSG inbox 1 %d %d\r\n%s%s\r\n", len(headers(1)), len(headers(1))+1024, headers(1), payload)},
		{"headers=4", fmt.Sprintf("HMSG inbox 1 %d %d\r\n%s%s\r\n", len(headers(4)), len(headers(4))+1024, headers(4), payload)},
	} {
		b.Run(v.name, func(b *testing.B) {
			nc, err := nats.Connect(flood(b, v.frame, b.N), nats.NoReconnect())
			require.NoError(b, err)
			defer nc.Close()
			done, left := make(chan struct{}), b.N
			b.ResetTimer()
			sub, err := nc.Subscribe("inbox", func(*nats.Msg) {
				if left--; left == 0 {
					close(done)
				}
			})
			require.NoError(b, err)
			require.NoError(b, sub.SetPendingLimits(-1, -1))
			require.NoError(b, nc.Flush())
			<-done
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
		})
	}
}

// flood serves one client and ends with it.
func flood(b *testing.B, frame string, n int) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprintf(conn, "INFO {\"server_id\":\"flood\",\"version\":\"2.11.0\",\"proto\":1,\"headers\":true,\"max_payload\":1048576}\r\n")
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			switch {
			case strings.HasPrefix(lines.Text(), "PING"):
				fmt.Fprintf(conn, "PONG\r\n")
			case strings.HasPrefix(lines.Text(), "SUB"):
				const many = 256
				chunk := []byte(strings.Repeat(frame, many))
				for left := n; left > 0; left -= many {
					if _, err := conn.Write(chunk[:min(left, many)*len(frame)]); err != nil {
						return
					}
				}
			}
		}
	}()
	return "nats://" + l.Addr().String()
}
