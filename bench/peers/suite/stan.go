package suite

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"leat.dev/leat/bench/peers/peer"
	"leat.dev/leat/bench/peers/report"
)

// stanWork is stan-bench, as it is published, with one publisher.
func stanWork(title string, subscribers int) work {
	w := work{id: "P3", title: title}
	metrics := []string{"published"}
	if subscribers > 0 {
		metrics = append(metrics, "delivered")
	}
	for _, k := range []peer.Kind{peer.Leat, peer.Streaming} {
		w.participants = append(w.participants, participant{
			string(k), k == peer.Leat,
			func(ctx context.Context, r *runner) ([]figure, error) { return r.runStanBench(ctx, k, subscribers) },
		})
	}
	for _, m := range metrics {
		w.targets = append(w.targets, report.Target{
			Subject: string(peer.Leat), Metric: m, Against: string(peer.Streaming), Ratio: 2,
		})
	}
	return w
}

// runStanBench runs stan-bench once. It checks by itself that every publish is
// acknowledged without error and that subscribers get all.
func (r *runner) runStanBench(ctx context.Context, k peer.Kind, subscribers int) ([]figure, error) {
	return r.withServer(ctx, k, true, func(url string) ([]figure, uint64, error) {
		cmd := exec.CommandContext(ctx, filepath.Join(r.o.BinDir, "stan-bench"),
			"-s", url, "-c", peer.ClusterID, "-np", "1", "-ns", strconv.Itoa(subscribers),
			"-n", strconv.Itoa(r.o.StanMessages), "-ms", strconv.Itoa(r.o.PayloadBytes),
			"-mpa", strconv.Itoa(r.o.StanInFlight), "bench")
		out, cost, err := output(cmd)
		if err != nil {
			return nil, 0, err
		}
		figures, err := parseStanBench(string(out), subscribers > 0)
		if err != nil {
			return nil, 0, err
		}
		messages := uint64(r.o.StanMessages) * uint64(1+subscribers)
		return append(figures, figure{
			Name: "client processor time", Unit: "µs/msg", Value: perMessage(cost, messages),
		}), messages, nil
	})
}

var stanLine = regexp.MustCompile(`^\s*(NATS Streaming Pub/Sub|Pub|Sub) stats: ([0-9,]+) msgs/sec`)

// parseStanBench reads the report of stan-bench: one line "Pub stats" without
// subscribers, else a line for both together, for publishers, for subscribers.
func parseStanBench(out string, subscribers bool) ([]figure, error) {
	names := map[string]string{"Pub": "published", "Sub": "delivered", "NATS Streaming Pub/Sub": "published and delivered"}
	var figures []figure
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		m := stanLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		v, err := strconv.ParseFloat(strings.ReplaceAll(m[2], ",", ""), 64)
		if err != nil {
			return nil, fmt.Errorf("read stan-bench's figures: %w", err)
		}
		seen[m[1]] = true
		figures = append(figures, figure{Name: names[m[1]], Unit: "msg/s", Value: v})
	}
	if !seen["Pub"] || (subscribers && !seen["Sub"]) {
		return nil, fmt.Errorf("%w of stan-bench: %q", ErrNoFigure, out)
	}
	return figures, nil
}
