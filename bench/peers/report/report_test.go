package report_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/bench/peers/report"
)

// Aim: medians, ratios and verdicts are right, for lower and upper bounds.
// Method: small series whose results can be seen.
func TestJudge(t *testing.T) {
	c := &report.Case{ID: "P", Title: "t", Targets: []report.Target{
		{Subject: "leat", Metric: "rate", Against: "peer", Ratio: 2},
		{Subject: "leat", Metric: "rate", Against: "peer", Ratio: 2.5},
		{Subject: "leat", Metric: "p99", Against: "disk", AgainstMetric: "sync", Ratio: 3, AtMost: true},
		{Subject: "leat", Metric: "p99", Against: "disk", AgainstMetric: "sync", Ratio: 1, AtMost: true},
		{Subject: "leat", Metric: "absent", Against: "peer", AgainstMetric: "rate", Ratio: 2},
		{Subject: "leat", Metric: "rate", Against: "absent", Ratio: 2},
	}}
	for i, v := range []float64{10, 30, 20} {
		c.Add("peer", "rate", "msg/s", v)
		c.Add("leat", "rate", "msg/s", []float64{50, 40, 10}[i])
		c.Add("leat", "p99", "µs", 8)
		c.Add("disk", "sync", "µs", 4)
	}
	c.Judge()
	require.Len(t, c.Verdicts, 5, "one has nothing to compare with")
	v := c.Verdicts[0]
	require.InDelta(t, 40, v.Bound, 0)
	require.InDelta(t, 40, *v.Got, 0)
	require.InDelta(t, 2, *v.Ratio, 0)
	require.Equal(t, []float64{5, 40.0 / 30, 0.5}, v.ByRound)
	require.True(t, *v.Met)
	require.False(t, *c.Verdicts[1].Met)
	require.True(t, *c.Verdicts[2].Met)
	require.False(t, *c.Verdicts[3].Met)
	require.Nil(t, c.Verdicts[4].Met, "not measured")
}

// Aim: the median of odd, even and empty lists. Method: a table.
func TestMedian(t *testing.T) {
	require.Zero(t, report.Median(nil))
	require.InDelta(t, 2, report.Median([]float64{3, 1, 2}), 0)
	require.InDelta(t, 2.5, report.Median([]float64{4, 1, 3, 2}), 0)
}

// Aim: figures are written for people. Method: a table.
func TestFigure(t *testing.T) {
	for v, want := range map[float64]string{
		1234567.4: "1,234,567", 999: "999", 1000: "1,000", 100.4: "100", 12.34: "12.3", 0.256: "0.26", -4321: "-4,321",
	} {
		require.Equal(t, want, report.Figure(v))
	}
}

// Aim: both files are written, hold the figures with units and name failures.
// Method: write a small report and read it again.
func TestWrite(t *testing.T) {
	c := &report.Case{ID: "P1", Title: "publish", Targets: []report.Target{{Subject: "leat", Metric: "acked", Against: "peer", Ratio: 2}}}
	c.Add("peer", "acked", "msg/s", 1000)
	c.Judge()
	r := &report.Report{
		Name: "try", Date: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Rounds: 1, Cases: []*report.Case{c},
		Failures: []string{"P9 fell over"}, Versions: map[string]string{"peer": "v1"},
		Machine: report.Describe(t.TempDir()),
	}
	paths, err := r.Write(t.TempDir())
	require.NoError(t, err)
	require.Len(t, paths, 2)
	require.True(t, strings.HasSuffix(paths[0], "2026-01-02-try.json"), paths[0])
	b, err := os.ReadFile(paths[0])
	require.NoError(t, err)
	var back report.Report
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, r.Cases[0].Series, back.Cases[0].Series)
	require.Equal(t, r.Machine, back.Machine)
	md, err := os.ReadFile(paths[1])
	require.NoError(t, err)
	for _, want := range []string{"**FAILED:** P9 fell over", "| peer | acked | 1,000 | 1,000 | 1,000 | msg/s |", "2,000 msg/s | not measured"} {
		require.Contains(t, string(md), want)
	}
}

// Aim: the probe measures and leaves nothing behind. Method: a short probe.
func TestProbeSync(t *testing.T) {
	dir := t.TempDir()
	p, err := report.ProbeSync(dir, 128, 20*time.Millisecond)
	require.NoError(t, err)
	require.Positive(t, p.Samples)
	require.Positive(t, p.P50Micros)
	require.GreaterOrEqual(t, p.P99Micros, p.P50Micros)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
