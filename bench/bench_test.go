package bench_test

import (
	"bytes"
	"encoding/json"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/bench"
	"leat.dev/leat/tools/node"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startNode(t *testing.T) (n *node.Node, server string) {
	t.Helper()
	n, err := node.Open(node.Options{Dir: t.TempDir(), Listen: "127.0.0.1:0", Partitions: 1, SegmentBytes: 16 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n, "nats://" + n.Addr()
}

var span = bench.Span{Warmup: 50 * time.Millisecond, Duration: 500 * time.Millisecond}

// requireFigures checks that each named figure is there, in its unit, and more
// than nothing.
func requireFigures(t *testing.T, r *bench.Report, want map[string]string) {
	t.Helper()
	for name, unit := range want {
		m, ok := r.Metric(name)
		require.True(t, ok, "%s: no %s", r.Workload, name)
		require.Equal(t, unit, m.Unit, name)
		require.Greater(t, m.Value, 0.0, name)
		require.False(t, math.IsInf(m.Value, 0), name)
	}
}

// Aim: every workload runs against a real node, gives its figures, and leaves no
// channel behind. Method: each for a fraction of a second; the workloads compare
// order and content themselves.
func TestWorkloads(t *testing.T) {
	n, server := startNode(t)
	target := bench.Target{Server: server}
	latency := map[string]string{"acknowledged after p50": "µs", "acknowledged after p99.9": "µs"}
	for _, pipeline := range []bool{false, true} {
		r, err := bench.Publish(t.Context(), bench.PublishOptions{Target: target, Span: span, Pipeline: pipeline, InFlight: 1000})
		require.NoError(t, err)
		requireFigures(t, r, map[string]string{"acked": "msgs/s", "acked bytes": "MB/s"})
		requireFigures(t, r, latency)

		r, err = bench.PubSub(t.Context(), bench.PublishOptions{Target: target, Span: span, Pipeline: pipeline, InFlight: 1000})
		require.NoError(t, err)
		requireFigures(t, r, map[string]string{"acked": "msgs/s", "followed": "msgs/s", "delivered after p50": "µs"})

		r, err = bench.Replay(t.Context(), bench.ReplayOptions{Target: target, Pipeline: pipeline, Records: 5000, RecordBytes: 200, Rounds: 2})
		require.NoError(t, err)
		requireFigures(t, r, map[string]string{"replayed": "msgs/s", "replayed bytes": "MB/s"})
	}
	r, err := bench.Latency(t.Context(), bench.LatencyOptions{Target: target, Span: span, ProbeDir: t.TempDir()})
	require.NoError(t, err)
	requireFigures(t, r, latency)
	requireFigures(t, r, map[string]string{"fdatasync p50": "µs", "p50 ratio": "x fdatasync"})

	for _, shape := range [][2]int{{1, 1}, {2, 3}, {17, 1}} {
		r, err = bench.Core(t.Context(), bench.CoreOptions{Server: server, Span: span, Publishers: shape[0], Subscribers: shape[1]})
		require.NoError(t, err)
		requireFigures(t, r, map[string]string{"delivered": "msgs/s", "delivered bytes": "MB/s", "published": "msgs/s"})
	}
	require.Empty(t, n.Store().Channels())
}

// Aim: the engine runs without a network and reads what it wrote. Method: a
// short run with several writers.
func TestEngine(t *testing.T) {
	r, err := bench.Engine(t.Context(), bench.EngineOptions{Dir: t.TempDir(), Span: span, BlockBytes: 16 << 10, Writers: 3, ReadRounds: 1})
	require.NoError(t, err)
	require.Equal(t, "synced", r.Metrics[0].Name, "it comes first: bench/peers takes it")
	requireFigures(t, r, map[string]string{"synced": "MB/s", "appended": "msgs/s", "block synced after p50": "µs", "read from cache": "GB/s"})
}

// Aim: an interrupted workload ends soon, and says so. Method: a context that
// ends in the middle of each.
func TestInterrupted(t *testing.T) {
	n, server := startNode(t)
	for name, run := range map[string]func(t *testing.T) error{
		"publish": func(t *testing.T) error {
			_, err := bench.Publish(t.Context(), bench.PublishOptions{Target: bench.Target{Server: server}, Span: bench.Span{Duration: time.Hour}})
			return err
		},
		"core": func(t *testing.T) error {
			_, err := bench.Core(t.Context(), bench.CoreOptions{Server: server, Span: bench.Span{Duration: time.Hour}})
			return err
		},
	} {
		done := make(chan error, 1)
		t.Run(name, func(t *testing.T) {
			go func() { done <- run(t) }() // the subtest's context ends when it returns
			time.Sleep(100 * time.Millisecond)
		})
		select {
		case err := <-done:
			require.Error(t, err, name)
		case <-time.After(20 * time.Second):
			require.Fail(t, "did not end", name)
		}
	}
	require.Empty(t, n.Store().Channels())
}

// Aim: options that make no workload are refused before anything is done.
// Method: one of each kind.
func TestBadOptions(t *testing.T) {
	ctx := t.Context()
	for name, err := range map[string]error{
		"in flight": second(bench.Publish(ctx, bench.PublishOptions{InFlight: -1})),
		"size":      second(bench.Publish(ctx, bench.PublishOptions{RecordBytes: 3})),
		"records":   second(bench.Replay(ctx, bench.ReplayOptions{Records: -1})),
		"shape":     second(bench.Core(ctx, bench.CoreOptions{Publishers: -1})),
		"no folder": second(bench.Engine(ctx, bench.EngineOptions{})),
		"block":     second(bench.Engine(ctx, bench.EngineOptions{Dir: "x", BlockBytes: 1 << 30})),
	} {
		require.ErrorIs(t, err, bench.ErrOptions, name)
	}
}

func second[T any](_ T, err error) error { return err }

// Aim: reports are readable by programs. Method: a report in each form.
func TestReport(t *testing.T) {
	r := bench.Report{
		Workload: "w", Parameters: []bench.Parameter{{Name: "size", Value: 128}},
		Metrics: []bench.Metric{{Name: "acked", Unit: "msgs/s", Value: 1234567.8}, {Name: "p50", Unit: "µs", Value: 9.1234}},
	}
	var b bytes.Buffer
	require.NoError(t, r.WriteJSON(&b))
	var back struct {
		Workload   string
		Parameters map[string]any
		Metrics    []bench.Metric
	}
	require.NoError(t, json.Unmarshal(b.Bytes(), &back))
	require.Equal(t, r.Metrics, back.Metrics)
	require.Equal(t, map[string]any{"size": 128.0}, back.Parameters)
	b.Reset()
	require.NoError(t, r.WriteCSV(&b))
	require.Equal(t, "workload,name,unit,value\nw,acked,msgs/s,1234567.8\nw,p50,µs,9.1234\n", b.String())
	b.Reset()
	require.NoError(t, r.WriteText(&b))
	require.Equal(t, "w: size 128\n  acked  1,234,568 msgs/s\n  p50    9.123 µs\n", b.String())
}

// Aim: quantiles are those of what was recorded. Method: 1 to 1,000 µs, with a
// merge in between and values out of range.
func TestHistogram(t *testing.T) {
	a, b := bench.NewHistogram(), bench.NewHistogram()
	for i := 1; i <= 1000; i++ {
		h := a
		if i%2 == 0 {
			h = b
		}
		h.Record(time.Duration(i) * time.Microsecond)
	}
	a.Merge(b)
	require.Equal(t, int64(1000), a.Count())
	require.InEpsilon(t, float64(500*time.Microsecond), float64(a.Quantile(50)), 0.01)
	require.InEpsilon(t, float64(990*time.Microsecond), float64(a.Quantile(99)), 0.01)
	a.Record(-time.Second)
	a.Record(time.Hour)
	require.Equal(t, int64(1002), a.Count())
	a.Reset()
	require.Zero(t, a.Count())
}
