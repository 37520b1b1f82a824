package node

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Aim: an operator can search the log by partition. Method: two starts and a stop
// of a node; each line names at most one partition, and what Raft says names it,
// too.
func TestLogNamesPartitionsOnce(t *testing.T) {
	d := newDisk()
	o := d.options()
	var text bytes.Buffer
	o.Logger = slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for range 2 {
		n, err := Open(o)
		require.NoError(t, err)
		require.NoError(t, n.Close())
	}
	for l := range strings.SplitSeq(text.String(), "\n") {
		require.LessOrEqual(t, strings.Count(l, " partition="), 1, l)
		if strings.Contains(l, "raft: ") || strings.Contains(l, "replayed the log") {
			require.Contains(t, l, " partition=")
		}
	}
	require.Contains(t, text.String(), "replayed the log")
}
