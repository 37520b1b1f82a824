package client

import (
	"context"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// runLatency publishes one message at a time with nats.go's Request and waits
// for its acknowledgement. The round trip of an empty PING on the same
// connection is measured too: that part is not the store's.
func runLatency(ctx context.Context, j Job) (Result, error) {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	store, err := createAt(ctx, j)
	if err != nil {
		return Result{}, err
	}
	content, err := newPayloads(j.PayloadBytes)
	if err != nil {
		return Result{}, err
	}
	nc, err := connect(j.URL, fail)
	if err != nil {
		return Result{}, err
	}
	defer nc.Close()

	var got acks
	var payload, token []byte
	sent := uint64(0)
	request := func() error {
		payload = content.appendTo(payload[:0], sent)
		m, err := nc.Request(streamSubject, payload, 10*time.Second)
		if err != nil {
			return fmt.Errorf("publish message %d: %w", sent, err)
		}
		token = appendToken(append(token[:0], '.'), sent)
		sent++
		return got.add(token, m.Data)
	}
	if _, err := sample(ctx, j.Warmup, request); err != nil {
		return Result{}, err
	}
	hist, err := sample(ctx, j.Duration, request)
	if err != nil {
		return Result{}, err
	}
	ping, err := sample(ctx, j.Warmup, func() error { return nc.FlushTimeout(10 * time.Second) })
	if err != nil {
		return Result{}, fmt.Errorf("ping: %w", err)
	}
	if err := got.complete(sent); err != nil {
		return Result{}, err
	}
	if err := checkStored(ctx, store, j.URL, sent); err != nil {
		return Result{}, err
	}
	return Result{Messages: sent, Metrics: []Metric{
		{"acked p50", "µs", micros(hist, 50)},
		{"acked p90", "µs", micros(hist, 90)},
		{"acked p99", "µs", micros(hist, 99)},
		{"acked p99.9", "µs", micros(hist, 99.9)},
		{"acked max", "µs", float64(hist.Max()) / 1e3},
		{"acked", "msg/s", perSecond(uint64(hist.TotalCount()), j.Duration)},
		{"ping p50", "µs", micros(ping, 50)},
	}}, nil
}

// sample calls once after once for d and records how long each took, in ns.
func sample(ctx context.Context, d time.Duration, once func() error) (*hdrhistogram.Histogram, error) {
	hist := hdrhistogram.New(100, int64(time.Minute), 3)
	end := time.Now().Add(d)
	for start := time.Now(); start.Before(end); {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err := once(); err != nil {
			return nil, err
		}
		now := time.Now()
		if err := hist.RecordValue(int64(now.Sub(start))); err != nil {
			return nil, fmt.Errorf("record a latency: %w", err)
		}
		start = now
	}
	return hist, nil
}

func micros(h *hdrhistogram.Histogram, percentile float64) float64 {
	return float64(h.ValueAtQuantile(percentile)) / 1e3
}
