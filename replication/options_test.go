package replication_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
)

// Aim: options that cannot work are refused with their name. Method: one wrong field at a time.
func TestOptionsValidate(t *testing.T) {
	for field, change := range map[string]func(*replication.Options){
		"Dir":                func(o *replication.Options) { o.Dir = "" },
		"FS":                 func(o *replication.Options) { o.FS = nil },
		"Log":                func(o *replication.Options) { o.Log = nil },
		"Machine":            func(o *replication.Options) { o.Machine = nil },
		"ServerID":           func(o *replication.Options) { o.ServerID = strings.Repeat("x", 1025) },
		"Servers":            func(o *replication.Options) { o.Servers = []raft.Server{{ID: "a"}} },
		"WithPreVote":        func(o *replication.Options) { o.Transport = struct{ raft.Transport }{} },
		"EntriesPerWriteMax": func(o *replication.Options) { o.EntriesPerWriteMax = 1025 },
		"InFlightMax":        func(o *replication.Options) { o.InFlightMax = -1 },
		"SnapshotEntries":    func(o *replication.Options) { o.SnapshotEntries = 1<<30 + 1 },
		"SnapshotInterval":   func(o *replication.Options) { o.SnapshotInterval = time.Millisecond },
		"ElectionTimeout":    func(o *replication.Options) { o.ElectionTimeout = time.Millisecond },
	} {
		t.Run(field, func(t *testing.T) {
			_, err := replication.Open(newNode().options(change))
			require.ErrorContains(t, err, field)
		})
	}
}

// Aim: metrics count, and a second group in the same registry without labels is an error and not a panic. Method: gather.
func TestMetrics(t *testing.T) {
	reg := prometheus.NewRegistry()
	n := newNode()
	with := func(o *replication.Options) { o.Registerer = reg }
	g := n.open(t, with)
	n.lead(t)
	for range 3 {
		mustPropose(t, g, "x")
	}
	require.NoError(t, g.Snapshot())
	families, err := reg.Gather()
	require.NoError(t, err)
	got := map[string]float64{}
	for _, f := range families {
		m := f.GetMetric()[0]
		got[f.GetName()] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	require.Equal(t, map[string]float64{
		"leat_replication_proposals_total": 3, "leat_replication_proposals_refused_total": 0,
		"leat_replication_proposals_unknown_total": 0, "leat_replication_entries_applied_total": 3,
		"leat_replication_snapshots_total": 1, "leat_replication_leaderships_total": 1,
		"leat_replication_writes_refused_total": 0, "leat_replication_stopped": 0,
	}, got)
	require.ErrorIs(t, g.Snapshot(), replication.ErrNothingNew)
	_, err = replication.Open(newNode().options(with))
	require.ErrorContains(t, err, "register metrics")
	require.NoError(t, g.Close())
}

// Aim: Raft's log arrives in slog with our levels, its lazy values rendered. Method: each level into a text handler.
func TestRaftLogger(t *testing.T) {
	var out bytes.Buffer
	to := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		},
	}))
	l := replication.NewRaftLogger(to)
	l.Trace("not shown")
	l.Debug("not shown")
	l.Info("i", "n", 1)
	l.Named("x").Warn("w", "servers", hclog.Fmt("%d-%d", 1, 2))
	l.With("k", "v").Error("e")
	require.Equal(t, strings.Join([]string{
		`level=DEBUG msg="raft: i" n=1`,
		`level=INFO msg="raft: w" servers=1-2`,
		`level=ERROR msg="raft: e" k=v`, "",
	}, "\n"), out.String())
}
