package index

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are those of one Index; Pebble's own are read when they are collected.
type metrics struct {
	registerer  prometheus.Registerer
	registered  []prometheus.Collector
	commits     prometheus.Counter
	commitBytes prometheus.Counter
}

func newMetrics(r prometheus.Registerer, x *Index) (*metrics, error) {
	m := &metrics{
		registerer: r,
		commits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_index_commits_total", Help: "Batches written to the index.",
		}),
		commitBytes: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "leat_index_commit_bytes_total", Help: "Bytes of batches written to the index.",
		}),
	}
	if r == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{m.commits, m.commitBytes, newStoreCollector(x)} {
		if err := r.Register(c); err != nil {
			m.unregister()
			return nil, fmt.Errorf("register metrics: %w", err)
		}
		m.registered = append(m.registered, c)
	}
	return m, nil
}

func (m *metrics) unregister() {
	for _, c := range m.registered {
		m.registerer.Unregister(c)
	}
	m.registered = nil
}

func (m *metrics) observe(bytes int) {
	m.commits.Inc()
	m.commitBytes.Add(float64(bytes))
}

// storeCollector reads Pebble's metrics, which takes its lock: never while the index is closed or has failed.
type storeCollector struct {
	x                                           *Index
	disk, memtables, cache, readAmp, compaction *prometheus.Desc
}

func newStoreCollector(x *Index) *storeCollector {
	desc := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("leat_index_"+name, help, nil, nil)
	}
	return &storeCollector{
		x:          x,
		disk:       desc("disk_bytes", "Bytes of the index on disk."),
		memtables:  desc("memtable_bytes", "Bytes of memtables."),
		cache:      desc("cache_bytes", "Bytes in the block cache."),
		readAmp:    desc("read_amplification", "Sorted runs that a look-up may have to read."),
		compaction: desc("compaction_debt_bytes", "Bytes that compaction has yet to move."),
	}
}

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.disk, c.memtables, c.cache, c.readAmp, c.compaction} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	if !c.x.gate.enter() {
		return
	}
	defer c.x.gate.leave()
	if errors.Is(c.x.health.get(), ErrFailed) {
		return
	}
	m := c.x.db.Metrics()
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	gauge(c.disk, float64(m.DiskSpaceUsage()))
	gauge(c.memtables, float64(m.MemTable.Size))
	gauge(c.cache, float64(m.BlockCache.Size))
	gauge(c.readAmp, float64(m.ReadAmp()))
	gauge(c.compaction, float64(m.Compact.EstimatedDebt))
}
