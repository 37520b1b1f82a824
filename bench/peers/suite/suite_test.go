package suite

import (
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// Aim: stan-bench's report is read, and refused when figures are missing.
// Method: its real output with and without a subscriber.
func TestParseStanBench(t *testing.T) {
	alone := "Starting benchmark [msgs=200000, msgsize=128, pubs=1, subs=0]\nPub stats: 72,297 msgs/sec ~ 8.83 MB/sec\n"
	both := "NATS Streaming Pub/Sub stats: 104,802 msgs/sec ~ 12.79 MB/sec\n Pub stats: 52,401 msgs/sec ~ 6.40 MB/sec\n Sub stats: 52,437 msgs/sec ~ 6.40 MB/sec\n"
	got, err := parseStanBench(alone, false)
	require.NoError(t, err)
	require.Equal(t, []figure{{Name: "published", Unit: "msg/s", Value: 72297}}, got)
	got, err = parseStanBench(both, true)
	require.NoError(t, err)
	require.Equal(t, []figure{
		{Name: "published and delivered", Unit: "msg/s", Value: 104802},
		{Name: "published", Unit: "msg/s", Value: 52401},
		{Name: "delivered", Unit: "msg/s", Value: 52437},
	}, got)
	_, err = parseStanBench(alone, true)
	require.ErrorIs(t, err, ErrNoFigure)
	_, err = parseStanBench("", false)
	require.ErrorIs(t, err, ErrNoFigure)
}

// Aim: fio's and the engine's reports are read, and refused without a figure.
// Method: reports cut down to what is read.
func TestParseEngines(t *testing.T) {
	got, err := parseFio([]byte(`{"jobs":[{"error":0,"write":{"bw_bytes":121000000},"sync":{"lat_ns":{"percentile":{"50.000000":643000,"99.000000":8847000}}}}]}`))
	require.NoError(t, err)
	require.Equal(t, []figure{
		{Name: "synced", Unit: "MB/s", Value: 121}, {Name: "sync p50", Unit: "µs", Value: 643}, {Name: "sync p99", Unit: "µs", Value: 8847},
	}, got)
	for _, bad := range []string{`{"jobs":[]}`, `{"jobs":[{"error":5,"write":{"bw_bytes":1}}]}`, `{"jobs":[{"write":{"bw_bytes":0}}]}`} {
		_, err = parseFio([]byte(bad))
		require.ErrorIs(t, err, ErrNoFigure, bad)
	}
	got, err = parseEngine([]byte(`{"metrics":[{"name":"records","unit":"msg/s","value":2},{"name":"synced","unit":"MB/s","value":3}]}`))
	require.NoError(t, err)
	require.Equal(t, figure{Name: "synced", Unit: "MB/s", Value: 3}, got[0])
	require.Len(t, got, 2)
	_, err = parseEngine([]byte(`{"metrics":[{"name":"synced","unit":"KB/s","value":3}]}`))
	require.ErrorIs(t, err, ErrNoFigure)
}

// Aim: an unknown case is refused before anything runs, and all cases can be
// named. Method: ask for a wrong one.
func TestCases(t *testing.T) {
	require.Equal(t, []string{"P1", "P2", "P3", "P4", "P5", "P6", "P10"}, CaseIDs())
	_, err := Run(t.Context(), Options{Cases: []string{"P7"}, Progress: io.Discard})
	require.ErrorIs(t, err, ErrUnknownCase)
	_, err = Run(t.Context(), Options{Rounds: -1, Progress: io.Discard})
	require.ErrorIs(t, err, ErrBadOption)
	for _, w := range works(&Options{}) {
		require.True(t, w.participants[0].ours, "%s: Leat is first", w.title)
		names := map[string]bool{}
		for _, p := range w.participants {
			names[p.name] = true
		}
		for _, target := range w.targets {
			require.True(t, names[target.Subject], "%s: %s takes part", w.title, target.Subject)
			require.True(t, names[target.Against], "%s: %s takes part", w.title, target.Against)
		}
	}
}
