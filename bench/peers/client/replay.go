package client

import (
	"context"
	"fmt"
	"time"
)

// replayMax is how long one replay may take.
const replayMax = 2 * time.Minute

// runReplay stores j.Records records and reads them back in every way that the
// store has. The figure for a kind of client is the fastest way with it.
func runReplay(ctx context.Context, j Job) (Result, error) {
	store, err := createAt(ctx, j)
	if err != nil {
		return Result{}, err
	}
	if err := preload(ctx, j, store); err != nil {
		return Result{}, fmt.Errorf("store %d records: %w", j.Records, err)
	}
	ways := store.Replays()
	// The first to read would pay for what the others then find ready.
	warm := j
	warm.Records = max(j.Records/10, 1)
	if _, err := timeReplay(ctx, warm, ways[0]); err != nil {
		return Result{}, fmt.Errorf("warm up: %w", err)
	}
	res := Result{Messages: j.Records*uint64(1+len(ways)) + warm.Records}
	best := map[string]float64{}
	var detail []Metric
	for _, w := range ways {
		rate, err := timeReplay(ctx, j, w)
		if err != nil {
			return Result{}, fmt.Errorf("%s with %s: %w", w.name, w.client, err)
		}
		best[w.client] = max(best[w.client], rate)
		detail = append(detail, Metric{fmt.Sprintf("%s: %s", w.client, w.name), "msg/s", rate})
	}
	for _, client := range []string{natsLibrary, bareTCP} {
		res.Metrics = append(res.Metrics,
			Metric{"replayed, " + client, "msg/s", best[client]},
			Metric{"replayed payload, " + client, "MB/s", best[client] * float64(j.PayloadBytes) / 1e6})
	}
	fastest := max(best[natsLibrary], best[bareTCP])
	res.Metrics = append(res.Metrics, Metric{"replayed, fastest client", "msg/s", fastest})
	res.Metrics = append(res.Metrics, detail...)
	return res, nil
}

// preload publishes all records, each acknowledged.
func preload(ctx context.Context, j Job, store Store) error {
	p, err := startPipeline(ctx, j)
	if err != nil {
		return err
	}
	defer p.close()
	if err := p.finish(); err != nil {
		return err
	}
	return checkStored(ctx, store, j.URL, j.Records)
}

// timeReplay reads all records once, from connecting to the last record, and
// checks each.
func timeReplay(ctx context.Context, j Job, w replayer) (float64, error) {
	content, err := newPayloads(j.PayloadBytes)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, replayMax, fmt.Errorf("%w: replay took over %v", ErrLost, replayMax))
	defer cancel()
	next := uint64(0)
	start := time.Now()
	err = w.read(ctx, j.URL, j.Records, func(payload []byte) error {
		err := content.check(payload, next)
		next++
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("after %d records: %w", next, err)
	}
	return perSecond(j.Records, time.Since(start)), nil
}
