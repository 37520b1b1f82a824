package nats_test

import (
	"bytes"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// The benchmarks in this file run the same load on this server and on an
// embedded nats-server, over the loopback interface. One operation is one
// published message of 128 bytes. cpu-ns/op is the processor time of the whole
// process, clients included, so only differences between servers mean something.

var servers = []struct {
	name  string
	start func(testing.TB, map[string]string) (string, func())
}{{"leat", startOwn}, {"nats-server", startReal}}

func cpu() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkRaw measures with clients that cost next to nothing: publishers
// write prepared bytes, subscribers count what they read.
func BenchmarkRaw(b *testing.B) {
	for _, shape := range []struct{ pubs, subs int }{{1, 0}, {1, 1}, {1, 8}, {4, 1}, {4, 4}} {
		for _, sv := range servers {
			b.Run(strconv.Itoa(shape.pubs)+"x"+strconv.Itoa(shape.subs)+"/"+sv.name, func(b *testing.B) {
				addr, stop := sv.start(b, nil)
				defer stop()
				one := "PUB bench.a 128\r\n" + strings.Repeat("x", 128) + "\r\n"
				const block = 300
				b.N = (b.N + block*shape.pubs - 1) / (block * shape.pubs) * block * shape.pubs
				var subs, pubs sync.WaitGroup
				var lost atomic.Int64
				for range shape.subs {
					c := dialRaw(b, addr)
					c.send("CONNECT {\"verbose\":false,\"pedantic\":false}\r\nSUB bench.a 1\r\n")
					c.sync()
					want := int64(b.N * len("MSG bench.a 1 128\r\n"+"\r\n"+strings.Repeat("x", 128)))
					subs.Go(func() {
						n, _ := io.CopyN(io.Discard, noDeadline(c.nc), want)
						lost.Add(want - n)
					})
				}
				writers := make([]*rawClient, shape.pubs)
				for i := range writers {
					writers[i] = dialRaw(b, addr)
					writers[i].send("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")
					writers[i].sync()
				}
				buf := bytes.Repeat([]byte(one), block)
				b.SetBytes(128)
				before := cpu()
				b.ResetTimer()
				for _, c := range writers {
					pubs.Go(func() {
						nc := noDeadline(c.nc)
						for range b.N / block / shape.pubs {
							_, _ = nc.Write(buf) // sync fails after an error
						}
						c.sync()
					})
				}
				pubs.Wait()
				subs.Wait()
				b.StopTimer()
				b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
				require.Zero(b, lost.Load(), "a subscriber was cut off")
			})
		}
	}
}

func noDeadline(nc net.Conn) net.Conn {
	nc.SetDeadline(time.Time{})
	return nc
}

// BenchmarkNatsGo measures with nats.go on both sides.
func BenchmarkNatsGo(b *testing.B) {
	for _, sv := range servers {
		b.Run("1x1/"+sv.name, func(b *testing.B) {
			addr, stop := sv.start(b, nil)
			defer stop()
			pub, err := natsgo.Connect("nats://" + addr)
			require.NoError(b, err)
			defer pub.Close()
			sub, err := natsgo.Connect("nats://" + addr)
			require.NoError(b, err)
			defer sub.Close()
			done := make(chan struct{})
			got := 0
			s, err := sub.Subscribe("bench.a", func(*natsgo.Msg) {
				if got++; got == b.N {
					close(done)
				}
			})
			require.NoError(b, err)
			require.NoError(b, s.SetPendingLimits(-1, -1))
			require.NoError(b, sub.Flush())
			payload := make([]byte, 128)
			b.SetBytes(128)
			before := cpu()
			b.ResetTimer()
			for range b.N {
				if err := pub.Publish("bench.a", payload); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, pub.Flush())
			<-done
			b.StopTimer()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
	for _, sv := range servers {
		b.Run("request/"+sv.name, func(b *testing.B) {
			addr, stop := sv.start(b, nil)
			defer stop()
			nc, err := natsgo.Connect("nats://" + addr)
			require.NoError(b, err)
			defer nc.Close()
			server, err := natsgo.Connect("nats://" + addr)
			require.NoError(b, err)
			defer server.Close()
			_, err = server.Subscribe("svc", func(m *natsgo.Msg) { _ = m.Respond(m.Data) }) // the request fails otherwise
			require.NoError(b, err)
			require.NoError(b, server.Flush())
			before := cpu()
			b.ResetTimer()
			for range b.N {
				_, err := nc.Request("svc", nil, waitMax)
				require.NoError(b, err)
			}
			b.StopTimer()
			b.ReportMetric(float64(cpu()-before)/float64(b.N), "cpu-ns/op")
		})
	}
}
