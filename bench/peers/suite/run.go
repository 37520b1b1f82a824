package suite

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"leat.dev/leat/bench/peers/client"
	"leat.dev/leat/bench/peers/peer"
	"leat.dev/leat/bench/peers/report"
)

// runMax is how long one run may take, server start included.
const runMax = 4 * time.Minute

// runner is a comparison at work.
type runner struct {
	o Options
}

// Run runs the comparison. When some case failed, the report has the others
// and names the failures, and the error is ErrFailed.
func Run(ctx context.Context, o Options) (*report.Report, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	r := &runner{o: o}
	start := time.Now()
	rep := &report.Report{
		Name: o.Name, Date: start.UTC(), Rounds: o.Rounds, Settings: o.settings(),
		Versions: r.versions(ctx), Machine: report.Describe(o.DataRoot),
	}
	probe, err := report.ProbeSync(o.DataRoot, o.PayloadBytes, probeDuration)
	if err != nil {
		return nil, err
	}
	rep.Machine.Sync = probe

	if load := rep.Machine.LoadBefore; load >= 0.5 {
		fmt.Fprintf(o.Progress, "warning: the machine is busy (load %.2f); figures will be low and unsteady\n", load)
	}

	var chosen []work
	for _, w := range works(&o) {
		if len(o.Cases) == 0 || slices.Contains(o.Cases, w.id) {
			chosen = append(chosen, w)
			rep.Cases = append(rep.Cases, &report.Case{ID: w.id, Title: w.title, Targets: w.targets})
		}
	}
	err = r.rounds(ctx, chosen, rep)
	for _, c := range rep.Cases {
		c.Judge()
	}
	rep.Took = time.Since(start).Round(time.Second).String()
	return rep, err
}

// rounds runs everything. A participant that failed sits out the rest.
func (r *runner) rounds(ctx context.Context, works []work, rep *report.Report) error {
	failed := map[string]bool{}
	for round := range r.o.Rounds {
		for i, w := range works {
			for k := range w.participants {
				p := w.participants[(k+round)%len(w.participants)]
				key := fmt.Sprint(i, p.name)
				if failed[key] || (p.ours && r.o.PeersOnly) {
					continue
				}
				if err := r.once(ctx, round, w, p, rep.Cases[i]); err != nil {
					failed[key] = true
					rep.Failures = append(rep.Failures, err.Error())
				}
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
			}
		}
	}
	if len(failed) > 0 {
		return ErrFailed
	}
	return nil
}

// once runs one participant of one case and notes its figures.
func (r *runner) once(ctx context.Context, round int, w work, p participant, c *report.Case) error {
	ctx, cancel := context.WithTimeoutCause(ctx, runMax, fmt.Errorf("the run took over %v", runMax))
	defer cancel()
	label := fmt.Sprintf("round %d/%d  %s  %s  %s", round+1, r.o.Rounds, w.id, w.title, p.name)
	start := time.Now()
	figures, err := p.run(ctx, r)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		}
		err = fmt.Errorf("%s, %s, %s, round %d: %w", w.id, w.title, p.name, round+1, err)
		fmt.Fprintf(r.o.Progress, "FAILED  %v\n", err)
		return err
	}
	for _, f := range figures {
		c.Add(p.name, f.Name, f.Unit, f.Value)
	}
	fmt.Fprintf(r.o.Progress, "%s: %s %s %s  (%.1f s)\n", label,
		figures[0].Name, report.Figure(figures[0].Value), figures[0].Unit, time.Since(start).Seconds())
	return nil
}

// withServer runs f against a fresh server of a kind and adds what the server
// cost. f returns its figures and how many messages the server handled.
func (r *runner) withServer(ctx context.Context, k peer.Kind, stan bool, f func(url string) ([]figure, uint64, error)) (_ []figure, err error) {
	p, err := peer.Start(ctx, peer.Options{
		Kind: k, BinDir: r.o.BinDir, LeatPath: r.o.LeatPath, SelfPath: r.o.Self, DataRoot: r.o.DataRoot, STAN: stan,
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.Stop()) }()
	before, err := p.CPU()
	if err != nil {
		return nil, err
	}
	figures, messages, err := f(p.URL())
	if err != nil {
		return nil, fmt.Errorf("%w\nlast output of %s:\n%s", err, k, p.LogTail())
	}
	if !p.Alive() {
		return nil, fmt.Errorf("%w: %s ended during the run:\n%s", peer.ErrNotReady, k, p.LogTail())
	}
	after, err := p.CPU()
	if err != nil {
		return nil, err
	}
	resident, err := p.ResidentPeakBytes()
	if err != nil {
		return nil, err
	}
	return append(figures,
		figure{Name: "server processor time", Unit: "µs/msg", Value: perMessage(after-before, messages)},
		figure{Name: "server memory, peak", Unit: "MiB", Value: float64(resident) / (1 << 20)}), nil
}

func perMessage(d time.Duration, messages uint64) float64 {
	return float64(d.Nanoseconds()) / 1e3 / float64(max(messages, 1))
}

// runJob runs a client job in a fresh process against a fresh server.
func (r *runner) runJob(ctx context.Context, k peer.Kind, j client.Job) ([]figure, error) {
	j.Warmup, j.Duration = r.o.Warmup, r.o.Duration
	return r.withServer(ctx, k, false, func(url string) ([]figure, uint64, error) {
		j.URL = url
		in, err := json.Marshal(j)
		if err != nil {
			return nil, 0, err
		}
		cmd := exec.CommandContext(ctx, r.o.Self, "work")
		cmd.Stdin = bytes.NewReader(in)
		out, cost, err := output(cmd)
		if err != nil {
			return nil, 0, err
		}
		var res client.Result
		if err := json.Unmarshal(out, &res); err != nil {
			return nil, 0, fmt.Errorf("read the client's result: %w", err)
		}
		if len(res.Metrics) == 0 {
			return nil, 0, fmt.Errorf("%w: %q", ErrNoFigure, out)
		}
		return append(res.Metrics, figure{
			Name: "client processor time", Unit: "µs/msg", Value: perMessage(cost, res.Messages),
		}), res.Messages, nil
	})
}

// output runs a client to its end and returns what it printed and its
// processor time. An interrupt at the terminal goes to this program alone.
func output(cmd *exec.Cmd) ([]byte, time.Duration, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Run(); err != nil {
		return nil, 0, fmt.Errorf("client: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return stdout.Bytes(), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

func (r *runner) versions(ctx context.Context) map[string]string {
	v := map[string]string{}
	for _, p := range peer.Programs() {
		v[p.Name] = p.Version
	}
	if !r.o.PeersOnly {
		v["leat"] = peer.LeatRevision(r.o.LeatPath)
	}
	if out, err := exec.CommandContext(ctx, "fio", "--version").Output(); err == nil {
		v["fio"] = strings.TrimSpace(string(out))
	}
	return v
}
