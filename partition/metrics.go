package partition

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of a partition. Without a Registerer they count for nobody. All are
// paid per Append or per entry, none per record.
type metrics struct {
	appends, records, bytes prometheus.Counter
	refused, unknown        prometheus.Counter
	entries                 prometheus.Counter
	queueBytes              prometheus.Gauge
	queueFull               prometheus.Counter
	appendSeconds           prometheus.Histogram
	channels                prometheus.Gauge
	flushes                 prometheus.Counter
	flushFailed             prometheus.Gauge
}

// newMetrics registers the metrics. Partitions that are opened one after the
// other with one Registerer share them.
func newMetrics(r prometheus.Registerer) (*metrics, error) {
	var errs error
	counter := func(name, help string) prometheus.Counter {
		return register[prometheus.Counter](r, &errs,
			prometheus.NewCounter(prometheus.CounterOpts{Namespace: "leat", Subsystem: "partition", Name: name, Help: help}))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return register[prometheus.Gauge](r, &errs,
			prometheus.NewGauge(prometheus.GaugeOpts{Namespace: "leat", Subsystem: "partition", Name: name, Help: help}))
	}
	m := &metrics{
		appends:    counter("appends_total", "Runs of records that were stored."),
		records:    counter("records_total", "Records that were stored."),
		bytes:      counter("bytes_total", "Bytes of batches that were stored."),
		refused:    counter("refused_total", "Appends and operations that were surely not stored."),
		unknown:    counter("unknown_total", "Appends and operations of unknown outcome."),
		entries:    counter("entries_applied_total", "Entries applied."),
		queueBytes: gauge("queue_bytes", "Bytes that wait to be proposed."),
		queueFull:  counter("queue_full_total", "Times that a source was held up by a full queue."),
		appendSeconds: register[prometheus.Histogram](r, &errs, prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "leat", Subsystem: "partition", Name: "append_seconds", Help: "Time from an append to its outcome.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 18),
		})),
		channels:    gauge("channels", "Channels that exist."),
		flushes:     counter("index_flushes_total", "Writes of the state to the index."),
		flushFailed: gauge("index_failed", "1 when the state is not written to the index any more."),
	}
	if errs != nil {
		return nil, fmt.Errorf("register metrics: %w", errs)
	}
	return m, nil
}

// register returns the collector that is registered under this name, which is
// another one when that came first.
func register[C prometheus.Collector](r prometheus.Registerer, errs *error, c C) C {
	if r == nil {
		return c
	}
	err := r.Register(c)
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
		if have, ok := already.ExistingCollector.(C); ok {
			return have
		}
	}
	*errs = errors.Join(*errs, err)
	return c
}

// landed counts the outcome of an entry. The clock is read once for all of it.
func (m *metrics) landed(items []item, err error, now func() int64) {
	switch {
	case errors.Is(err, ErrUnknownOutcome):
		m.unknown.Add(float64(len(items)))
		return
	case err != nil:
		m.refused.Add(float64(len(items)))
		return
	}
	appends, records, size, at := 0, 0, 0, now()
	for i := range items {
		a := items[i].data
		if a == nil || a.Err != nil {
			continue
		}
		appends++
		records += a.Count()
		size += len(a.batch)
		m.appendSeconds.Observe(max(0, float64(at-a.givenAt)/1e9))
	}
	m.appends.Add(float64(appends))
	m.records.Add(float64(records))
	m.bytes.Add(float64(size))
}
