package segment

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics counts what a log does. Without a Registerer they count for nobody.
type metrics struct {
	appends     prometheus.Counter
	entries     prometheus.Counter
	bytes       prometheus.Counter
	syncSeconds prometheus.Histogram
	markers     prometheus.Counter
	filledBytes prometheus.Counter
	fillWaits   prometheus.Counter
	rolls       prometheus.Counter
	seals       prometheus.Counter
	noSpace     prometheus.Counter
	cutBytes    prometheus.Counter
	corruptions prometheus.Counter
	poisoned    prometheus.Gauge
}

// newMetrics registers the metrics. Logs of several partitions that share a
// Registerer share them.
func newMetrics(r prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(r, prometheus.NewCounter(prometheus.CounterOpts{Namespace: "leat", Subsystem: "segment", Name: name, Help: help}))
	}
	return &metrics{
		appends: counter("appends_total", "Calls of Append that became durable."),
		entries: counter("entries_total", "Entries that became durable."),
		bytes:   counter("bytes_total", "Bytes of frames that became durable."),
		syncSeconds: register(r, prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: "leat", Subsystem: "segment", Name: "sync_seconds", Help: "Time of the fdatasync of an append.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 18),
		})),
		markers:     counter("markers_total", "Sync markers written when idle."),
		filledBytes: counter("filled_bytes_total", "Zeros written ahead of appends."),
		fillWaits:   counter("fill_waits_total", "Appends that waited for zeros to be written."),
		rolls:       counter("rolls_total", "Segments taken into use."),
		seals:       counter("seals_total", "Segments sealed."),
		noSpace:     counter("no_space_total", "Times that there was no room for a segment or the manifest."),
		cutBytes:    counter("cut_bytes_total", "Bytes cut from tails at recovery."),
		corruptions: counter("corruptions_total", "Damage found by a look-up or at recovery."),
		poisoned: register(r, prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "leat", Subsystem: "segment", Name: "poisoned", Help: "Logs that take no changes any more since a write or sync failed.",
		})),
	}
}

// register returns the collector that is registered under this name, which is
// another log's when that came first.
func register[C prometheus.Collector](r prometheus.Registerer, c C) C {
	if r == nil {
		return c
	}
	if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](r.Register(c)); ok {
		if have, ok := already.ExistingCollector.(C); ok {
			return have
		}
	}
	return c
}
