package replication

import "github.com/prometheus/client_golang/prometheus"

// metrics of a group.
type metrics struct {
	proposed, refused, unknown prometheus.Counter
	applied, snapshots, leads  prometheus.Counter
	writesRefused              prometheus.Counter
	stopped                    prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "leat", Subsystem: "replication", Name: name, Help: help})
	}
	m := &metrics{
		proposed:      counter("proposals_total", "Proposals handed to Raft."),
		refused:       counter("proposals_refused_total", "Proposals that were surely not written."),
		unknown:       counter("proposals_unknown_total", "Proposals of unknown outcome."),
		applied:       counter("entries_applied_total", "Data entries handed to the state machine."),
		snapshots:     counter("snapshots_total", "Snapshots taken."),
		leads:         counter("leaderships_total", "Times this node began to lead."),
		writesRefused: counter("writes_refused_total", "Writes that the log refused, for want of space or else."),
		stopped: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "leat", Subsystem: "replication", Name: "stopped", Help: "1 when the group has stopped for good.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.proposed, m.refused, m.unknown, m.applied, m.snapshots, m.leads, m.writesRefused, m.stopped,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
