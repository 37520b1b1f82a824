package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Histogram gathers latencies from 1 µs to 1 min in three digits, by the
// nanosecond below 1 ms. Use by one goroutine at a time.
type Histogram struct{ h *hdrhistogram.Histogram }

// NewHistogram returns an empty one.
func NewHistogram() *Histogram {
	return &Histogram{hdrhistogram.New(1, int64(time.Minute), 3)}
}

// Record takes one latency; what is over a minute counts as one.
func (h *Histogram) Record(d time.Duration) {
	// In range there is no error.
	_ = h.h.RecordValue(int64(min(max(d, 1), time.Minute)))
}

// Merge takes what another one has.
func (h *Histogram) Merge(other *Histogram) { h.h.Merge(other.h) }

// Reset forgets everything, after a warm-up for instance.
func (h *Histogram) Reset() { h.h.Reset() }

// Count is the number of latencies.
func (h *Histogram) Count() int64 { return h.h.TotalCount() }

// Quantile is the latency that the given percentage does not exceed.
func (h *Histogram) Quantile(percent float64) time.Duration {
	return time.Duration(h.h.ValueAtQuantile(percent))
}

// report adds the usual figures under a name; none when nothing was recorded.
func (h *Histogram) report(r *Report, name string) {
	if h.Count() == 0 {
		return
	}
	us := func(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
	r.add(name+" p50", "µs", us(h.Quantile(50)))
	r.add(name+" p90", "µs", us(h.Quantile(90)))
	r.add(name+" p99", "µs", us(h.Quantile(99)))
	r.add(name+" p99.9", "µs", us(h.Quantile(99.9)))
	r.add(name+" max", "µs", us(time.Duration(h.h.Max())))
}
