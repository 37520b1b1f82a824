package nats

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// collectors returns the metrics of the server. All read counters that exist
// anyway, so that they cost nothing until they are scraped.
func (s *Server) collectors() []prometheus.Collector {
	count := func(name, help string, v *atomic.Uint64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Namespace: "leat", Subsystem: "nats", Name: name, Help: help},
			func() float64 { return float64(v.Load()) })
	}
	gauge := func(name, help string, v func(Stats) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Namespace: "leat", Subsystem: "nats", Name: name, Help: help},
			func() float64 { return float64(v(s.Stats())) })
	}
	n := &s.counters
	return []prometheus.Collector{
		gauge("connections", "Clients connected now.", func(st Stats) int { return st.Connections }),
		gauge("subscriptions", "Subscriptions of clients and of the node itself.", func(st Stats) int { return st.Subscriptions }),
		count("connections_total", "Clients that connected.", &n.connections),
		count("in_msgs_total", "Messages published by clients.", &n.inMsgs),
		count("in_bytes_total", "Payload bytes published by clients.", &n.inBytes),
		count("out_msgs_total", "Messages sent to clients.", &n.outMsgs),
		count("out_bytes_total", "Payload bytes sent to clients.", &n.outBytes),
		count("slow_consumers_total", "Clients cut off because they did not read fast enough.", &n.slowConsumers),
		count("stale_connections_total", "Clients cut off because they did not answer pings.", &n.staleConnections),
		count("stalls_total", "Times a publisher was slowed down for a receiver.", &n.stalls),
	}
}

func (s *Server) register(r prometheus.Registerer) error {
	var errs []error
	for _, c := range s.collectors() {
		errs = append(errs, r.Register(c))
	}
	return errors.Join(errs...)
}

func (s *Server) unregister(r prometheus.Registerer) {
	for _, c := range s.collectors() {
		r.Unregister(c) // by description, so a new collector will do
	}
}
