package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"

	"leat.dev/leat/bench/peers/report"
)

// engineWork compares Leat's engine, without a network, with fio: appends of
// one block, fdatasync after each.
func engineWork() work {
	target := func(against string) report.Target {
		return report.Target{Subject: leatEngine, Metric: "synced", Against: against, Ratio: 0.8}
	}
	return work{
		"P6", "engine append, synced groups, no network",
		[]participant{
			{leatEngine, true, runEngine},
			{fioWritten, false, func(ctx context.Context, r *runner) ([]figure, error) { return r.runFio(ctx, "--overwrite=1") }},
			{fioAllocated, false, func(ctx context.Context, r *runner) ([]figure, error) { return r.runFio(ctx, "--fallocate=native") }},
		},
		[]report.Target{target(fioWritten), target(fioAllocated)},
	}
}

// inFolder runs f with a fresh folder on the disk that is measured.
func (r *runner) inFolder(f func(dir string) ([]figure, error)) (_ []figure, err error) {
	dir, err := os.MkdirTemp(r.o.DataRoot, "engine-")
	if err != nil {
		return nil, fmt.Errorf("make a data folder: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	return f(dir)
}

// runFio runs Debian's fio.
func (r *runner) runFio(ctx context.Context, layout string) ([]figure, error) {
	bin, err := exec.LookPath("fio")
	if err != nil {
		return nil, fmt.Errorf("fio is not installed (apt-get install fio, or leave P6 out with --cases): %w", err)
	}
	return r.inFolder(func(dir string) ([]figure, error) {
		out, _, err := output(exec.CommandContext(ctx, bin, "--name=append", "--directory="+dir, "--rw=write",
			"--ioengine=psync", "--bs="+strconv.Itoa(r.o.EngineBlockBytes), "--size="+strconv.Itoa(r.o.EngineBytes),
			"--runtime="+strconv.FormatFloat(r.o.Duration.Seconds(), 'f', 0, 64), "--fdatasync=1", "--output-format=json", layout))
		if err != nil {
			return nil, err
		}
		return parseFio(out)
	})
}

// parseFio reads the report of fio.
func parseFio(out []byte) ([]figure, error) {
	var rep struct {
		Jobs []struct {
			Error int `json:"error"`
			Write struct {
				BytesPerSecond float64 `json:"bw_bytes"`
			} `json:"write"`
			Sync struct {
				Latency struct {
					Percentile map[string]float64 `json:"percentile"`
				} `json:"lat_ns"`
			} `json:"sync"`
		} `json:"jobs"`
	}
	if err := json.Unmarshal(out, &rep); err != nil {
		return nil, fmt.Errorf("read fio's report: %w", err)
	}
	if len(rep.Jobs) != 1 || rep.Jobs[0].Error != 0 || rep.Jobs[0].Write.BytesPerSecond == 0 {
		return nil, fmt.Errorf("%w of fio: %s", ErrNoFigure, out)
	}
	job := rep.Jobs[0]
	return []figure{
		{Name: "synced", Unit: "MB/s", Value: job.Write.BytesPerSecond / 1e6},
		{Name: "sync p50", Unit: "µs", Value: job.Sync.Latency.Percentile["50.000000"] / 1e3},
		{Name: "sync p99", Unit: "µs", Value: job.Sync.Latency.Percentile["99.000000"] / 1e3},
	}, nil
}

// runEngine runs leat bench engine with groups of the block's size.
func runEngine(ctx context.Context, r *runner) ([]figure, error) {
	return r.inFolder(func(dir string) ([]figure, error) {
		out, _, err := output(exec.CommandContext(ctx, r.o.LeatPath, "bench", "engine", "--data", dir,
			"--block", strconv.Itoa(r.o.EngineBlockBytes), "--duration", r.o.Duration.String(), "--output", "json"))
		if err != nil {
			return nil, err
		}
		return parseEngine(out)
	})
}

// parseEngine reads figures in the form {"metrics":[{"name":…,"unit":…,"value":…}]}
// and wants one named "synced" in MB/s.
func parseEngine(out []byte) ([]figure, error) {
	var rep struct {
		Metrics []figure `json:"metrics"`
	}
	if err := json.Unmarshal(out, &rep); err != nil {
		return nil, fmt.Errorf("read the report of leat bench engine: %w", err)
	}
	for i, m := range rep.Metrics {
		if m.Name == "synced" && m.Unit == "MB/s" {
			rep.Metrics[0], rep.Metrics[i] = m, rep.Metrics[0] // the first is shown as progress
			return rep.Metrics, nil
		}
	}
	return nil, fmt.Errorf("%w of leat bench engine: no metric \"synced\" in MB/s: %s", ErrNoFigure, out)
}
