package segment_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// payload is one batch of 1 KiB records that takes about bytes.
func payload(bytes int) []byte {
	var b record.Builder
	b.Reset("channel-1")
	value := make([]byte, 1000)
	for i := range value {
		value[i] = byte(i*7 + 1)
	}
	for b.Bytes()+1024 < bytes {
		b.AppendValue(value)
	}
	return b.Finish(record.CodecNone)
}

func benchLog(b *testing.B, fs vfs.FS) *segment.Log {
	o := options(fs)
	o.SegmentBytes = 128 << 20
	if fs == (vfs.OS{}) {
		o.Dir = b.TempDir()
	}
	return open(b, o)
}

// BenchmarkAppend is one entry a call, synced.
func BenchmarkAppend(b *testing.B) {
	for _, name := range []string{"mem", "os"} {
		for _, bytes := range []int{64 << 10, 256 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, bytes>>10), func(b *testing.B) {
				var fs vfs.FS = vfs.OS{}
				if name == "mem" {
					fs = vfs.NewMem()
				}
				l := benchLog(b, fs)
				p := payload(bytes)
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				entries := []segment.Entry{{Term: 1, Type: record.FrameData}}
				base := record.Offset(1)
				b.ResetTimer()
				for b.Loop() {
					record.Stamp(p, 1, base, 1, 1)
					base += 1 << 16
					entries[0].Index++
					entries[0].Payload = p
					if err := l.Append(entries); err != nil {
						b.Fatal(err)
					}
					if entries[0].Index%1024 == 0 {
						require.NoError(b, l.TruncatePrefix(entries[0].Index))
					}
				}
				b.StopTimer()
				closeLog(b, l)
			})
		}
	}
}

// BenchmarkRead is every record of every batch of one channel, in order, from
// the page cache.
func BenchmarkRead(b *testing.B) {
	for _, name := range []string{"mem", "os"} {
		for _, bytes := range []int{16 << 10, 256 << 10} {
			b.Run(fmt.Sprintf("%s/%dKiB", name, bytes>>10), func(b *testing.B) {
				var fs vfs.FS = vfs.OS{}
				if name == "mem" {
					fs = vfs.NewMem()
				}
				l := benchLog(b, fs)
				p := payload(bytes)
				record.Stamp(p, 1, 1, 1, 1)
				var entries []segment.Entry
				for i := range (100 << 20) / len(p) {
					entries = append(entries, segment.Entry{Index: uint64(i) + 1, Term: 1, Type: record.FrameData, Payload: p})
				}
				require.NoError(b, l.Append(entries))
				require.NoError(b, l.Roll())
				b.SetBytes(int64(len(p) * len(entries)))
				b.ReportAllocs()
				b.ResetTimer()
				for b.Loop() {
					lease, err := l.Acquire(1)
					require.NoError(b, err)
					it := lease.Seek(1, 0)
					var batch record.Batch
					var r record.Record
					n := 0
					for {
						ok, err := it.Next(&batch)
						if err != nil {
							b.Fatal(err)
						}
						if !ok {
							break
						}
						for k := range int(batch.Count) {
							if err := batch.Record(k, &r); err != nil {
								b.Fatal(err)
							}
							n += len(r.Value)
						}
					}
					lease.Release()
					if n == 0 {
						b.Fatal("nothing read")
					}
				}
				b.StopTimer()
				closeLog(b, l)
			})
		}
	}
}
