package suite

import (
	"context"
	"fmt"
	"slices"
	"time"

	"leat.dev/leat/bench/peers/client"
	"leat.dev/leat/bench/peers/peer"
	"leat.dev/leat/bench/peers/report"
)

// Participants that are not servers.
const (
	leatEngine   = "leat-engine"
	fioWritten   = "fio-written"   // fio over blocks that were written before
	fioAllocated = "fio-allocated" // fio over blocks that are only reserved
	syncProbe    = "fdatasync"     // append and fdatasync, alone
)

// A figure is one value that a run gives.
type figure = client.Metric

// A participant does the work of a case once.
type participant struct {
	name string
	ours bool // belongs to Leat: left out with PeersOnly
	run  func(ctx context.Context, r *runner) ([]figure, error)
}

// A work is a case with all that is needed to run it.
type work struct {
	id, title    string
	participants []participant
	targets      []report.Target
}

// CaseIDs are the cases there are.
func CaseIDs() []string {
	var ids []string
	for _, w := range works(&Options{}) {
		if !slices.Contains(ids, w.id) {
			ids = append(ids, w.id)
		}
	}
	return ids
}

// works are all cases, Leat first in each. The targets are the project's.
func works(o *Options) []work {
	leat, lazy, always, bare := string(peer.Leat), string(peer.JetStreamLazy), string(peer.JetStreamAlways), string(peer.Bare)
	atLeast := func(metric, against string, ratio float64) report.Target {
		return report.Target{Subject: leat, Metric: metric, Against: against, Ratio: ratio}
	}
	publish := client.Job{Kind: client.Publish, PayloadBytes: o.PayloadBytes, InFlightMax: o.PublishInFlight}
	pipeline := client.Job{Kind: client.Pipeline, PayloadBytes: o.PayloadBytes, InFlightMax: o.PipelineInFlight}
	replay := client.Job{Kind: client.Replay, PayloadBytes: o.ReplayBytes, InFlightMax: 8_192, Records: uint64(o.ReplayRecords)}
	latency := client.Job{Kind: client.Latency, PayloadBytes: o.PayloadBytes}

	all := []work{
		{
			"P1", "acknowledged publish, nats.go", stores(publish, peer.Leat, peer.JetStreamLazy, peer.JetStreamAlways),
			[]report.Target{atLeast("acked", lazy, 2), atLeast("acked", always, 50)},
		},
		{
			"P2", "acknowledged publish, pipelining client", stores(pipeline, peer.Leat, peer.JetStreamLazy),
			[]report.Target{atLeast("acked", lazy, 10)},
		},
		stanWork("stan-bench, 1 publisher", 0),
		stanWork("stan-bench, 1 publisher, 1 subscriber", 1),
		{
			"P4", "replay from the first record", stores(replay, peer.Leat, peer.JetStreamLazy),
			[]report.Target{atLeast("replayed, nats.go", lazy, 4), atLeast("replayed, fastest client", lazy, 4)},
		},
	}
	for _, shape := range [][2]int{{1, 1}, {1, 8}, {8, 8}} {
		all = append(all, fanoutWork(o, shape[0], shape[1]))
	}
	return append(all, engineWork(), work{
		"P10", "one publish at a time, nats.go Request",
		append(stores(latency, peer.Leat, peer.JetStreamLazy, peer.JetStreamAlways, peer.Bare), participant{syncProbe, false, runProbe}),
		[]report.Target{
			{Subject: leat, Metric: "acked p50", Against: syncProbe, AgainstMetric: "sync p50", Ratio: 1.5, AtMost: true},
			{Subject: leat, Metric: "acked p99", Against: syncProbe, AgainstMetric: "sync p99", Ratio: 3, AtMost: true},
			{Subject: leat, Metric: "acked p99", Against: syncProbe, AgainstMetric: "sync p50", Ratio: 3, AtMost: true},
			// The same figures beside a server that does nothing else.
			{Subject: leat, Metric: "acked p50", Against: bare, AgainstMetric: "acked p50", Ratio: 1.5, AtMost: true},
			{Subject: leat, Metric: "acked p99", Against: bare, AgainstMetric: "acked p99", Ratio: 3, AtMost: true},
			{Subject: bare, Metric: "acked p50", Against: syncProbe, AgainstMetric: "sync p50", Ratio: 1.5, AtMost: true},
		},
	})
}

// stores are participants that run one job each on servers of their own.
func stores(j client.Job, kinds ...peer.Kind) []participant {
	var ps []participant
	for _, k := range kinds {
		ps = append(ps, participant{string(k), k == peer.Leat, func(ctx context.Context, r *runner) ([]figure, error) {
			j := j
			j.Store = "jetstream"
			switch {
			case k == peer.Leat:
				j.Store = "leat"
			case k == peer.Bare:
				j.Store = "bare"
			case j.Kind == client.Pipeline:
				// Deeper, it gets no faster, and slower when the processors are
				// busy: the peer runs at its best.
				j.InFlightMax = r.o.PipelineInFlightPeer
			}
			return r.runJob(ctx, k, j)
		}})
	}
	return ps
}

func fanoutWork(o *Options, publishers, subscribers int) work {
	j := client.Job{
		Kind: client.Fanout, PayloadBytes: o.PayloadBytes, InFlightMax: o.FanoutInFlight,
		Publishers: publishers, Subscribers: subscribers,
	}
	shape := fmt.Sprintf("%d:%d", publishers, subscribers)
	return work{
		"P5", "core publish and subscribe, " + shape + ", bare TCP", stores(j, peer.Leat, peer.Core),
		[]report.Target{{Subject: string(peer.Leat), Metric: "delivered", Against: string(peer.Core), Ratio: 1.2}},
	}
}

// probeDuration is one round's probe of the disk.
const probeDuration = time.Second

func runProbe(_ context.Context, r *runner) ([]figure, error) {
	p, err := report.ProbeSync(r.o.DataRoot, r.o.PayloadBytes, probeDuration)
	if err != nil {
		return nil, err
	}
	return []figure{
		{Name: "sync p50", Unit: "µs", Value: p.P50Micros},
		{Name: "sync p99", Unit: "µs", Value: p.P99Micros},
		{Name: "sync max", Unit: "µs", Value: p.MaxMicros},
	}, nil
}
