package report

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"
)

// SyncLatency is how long the disk takes to make a small append durable.
type SyncLatency struct {
	AppendBytes int     `json:"append_bytes"`
	Samples     int64   `json:"samples"`
	P50Micros   float64 `json:"p50_us"`
	P99Micros   float64 `json:"p99_us"`
	MaxMicros   float64 `json:"max_us"`
}

// probeFileBytes is enough for a long probe of small appends, so that it
// never comes back to a block's start.
const probeFileBytes = 64 << 20

// ProbeSync appends blocks of appendBytes to a file in dir, one after the
// other, each followed by fdatasync, for d. The file's blocks were written and
// synced before, so that a sync has data to write and no metadata: the least
// that a store with durable acknowledgements can do.
func ProbeSync(dir string, appendBytes int, d time.Duration) (_ SyncLatency, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return SyncLatency{}, fmt.Errorf("make the folder for the probe: %w", err)
	}
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return SyncLatency{}, fmt.Errorf("create the probe's file: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	chunk := make([]byte, 1<<20)
	for off := int64(0); off < probeFileBytes; off += int64(len(chunk)) {
		if _, err := f.WriteAt(chunk, off); err != nil {
			return SyncLatency{}, fmt.Errorf("fill the probe's file: %w", err)
		}
	}
	if err := f.Sync(); err != nil {
		return SyncLatency{}, fmt.Errorf("sync the probe's file: %w", err)
	}

	block := make([]byte, appendBytes)
	for i := range block {
		block[i] = byte(i) + 1
	}
	hist := hdrhistogram.New(100, int64(time.Minute), 3)
	end := time.Now().Add(d)
	off := int64(0)
	for start := time.Now(); start.Before(end); off += int64(appendBytes) {
		if off+int64(appendBytes) > probeFileBytes {
			break
		}
		if _, err := f.WriteAt(block, off); err != nil {
			return SyncLatency{}, fmt.Errorf("append: %w", err)
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return SyncLatency{}, fmt.Errorf("fdatasync: %w", err)
		}
		now := time.Now()
		if err := hist.RecordValue(int64(now.Sub(start))); err != nil {
			return SyncLatency{}, fmt.Errorf("record a latency: %w", err)
		}
		start = now
	}
	return SyncLatency{
		AppendBytes: appendBytes, Samples: hist.TotalCount(),
		P50Micros: float64(hist.ValueAtQuantile(50)) / 1e3,
		P99Micros: float64(hist.ValueAtQuantile(99)) / 1e3,
		MaxMicros: float64(hist.Max()) / 1e3,
	}, nil
}
