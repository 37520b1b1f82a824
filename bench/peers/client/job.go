package client

import (
	"context"
	"fmt"
	"time"
)

// A Kind names a workload.
type Kind string

// The workloads.
const (
	Publish  Kind = "publish"  // acknowledged publishes with nats.go
	Pipeline Kind = "pipeline" // acknowledged publishes over a bare TCP connection
	Replay   Kind = "replay"   // read stored records from the first on
	Fanout   Kind = "fanout"   // core publish and subscribe, no storage
	Latency  Kind = "latency"  // one publish at a time
)

// A Job is one run of one workload. It is passed to a fresh process as JSON.
type Job struct {
	Kind  Kind
	Store string // "jetstream", "leat" or "bare"; unused by Fanout
	URL   string

	PayloadBytes int
	InFlightMax  int // Publish, Pipeline: messages without acknowledgement; Fanout: without delivery

	Warmup   time.Duration // not measured, before Duration
	Duration time.Duration // measured; all but Replay

	Records uint64 // Replay: how many

	Publishers  int // Fanout
	Subscribers int // Fanout
}

// A Metric is one figure.
type Metric struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// A Result is what a Job measured.
type Result struct {
	// Messages is how many messages the server handled in all, warm-up
	// included; for cost per message.
	Messages uint64   `json:"messages"`
	Metrics  []Metric `json:"metrics"`
}

// Run runs a job to its end.
func Run(ctx context.Context, j Job) (Result, error) {
	run, ok := map[Kind]func(context.Context, Job) (Result, error){
		Publish: runPublish, Pipeline: runPipeline, Replay: runReplay, Fanout: runFanout, Latency: runLatency,
	}[j.Kind]
	if !ok {
		return Result{}, fmt.Errorf("%w: workload %q", ErrUnknownJob, j.Kind)
	}
	res, err := run(ctx, j)
	if err != nil {
		return Result{}, fmt.Errorf("%s against %s at %s: %w", j.Kind, j.Store, j.URL, err)
	}
	return res, nil
}

func perSecond(n uint64, d time.Duration) float64 { return float64(n) / d.Seconds() }
