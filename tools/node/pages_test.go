package node

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Aim: the pages tell what is so, and metrics of all partitions stand side by
// side in one registry. Method: publish a known number of records to a node of
// two partitions and read every page; ask for what is not there, too.
func TestPages(t *testing.T) {
	d := newDisk()
	o := d.options()
	o.HTTP = "127.0.0.1:0"
	n, err := Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	defer nc.Close()
	for i := range 40 {
		_, err := nc.Request("$LEAT.PUB."+channelName(i%cutChannels), value(i), 5*time.Second)
		require.NoError(t, err)
	}

	code, body := get(t, n, "/healthz")
	require.Equal(t, http.StatusOK, code, body)
	require.JSONEq(t, `{"status":"ok"}`, body)

	var v varz
	page(t, n, "/varz", &v)
	require.Equal(t, "n1", v.ServerID)
	require.Equal(t, 1, v.Connections)
	require.GreaterOrEqual(t, v.InMsgs, uint64(40))
	require.GreaterOrEqual(t, v.OutMsgs, uint64(40))

	var c channelz
	page(t, n, "/channelz", &c)
	require.Equal(t, cutChannels, c.Total)
	require.Len(t, c.Channels, cutChannels)
	for _, ch := range c.Channels {
		require.Equal(t, uint64(1), ch.First)
		require.Equal(t, uint64(10), ch.Last)
		require.Equal(t, uint64(10), ch.Records)
		require.Positive(t, ch.Bytes)
	}
	page(t, n, "/channelz?prefix=b&limit=1", &c)
	require.Equal(t, "b.c", c.Channels[0].Channel)
	page(t, n, "/channelz?offset=3", &c)
	require.Len(t, c.Channels, 1)
	page(t, n, "/channelz?offset=30", &c)
	require.Empty(t, c.Channels)

	var rows []partitionRow
	page(t, n, "/partitionz", &rows)
	require.Len(t, rows, 2)
	for _, r := range rows {
		require.Equal(t, "leader", r.State)
		require.GreaterOrEqual(t, r.Last, r.Applied)
		require.Equal(t, "clean", r.Tail)
		require.Empty(t, r.Error)
	}

	code, body = get(t, n, "/")
	require.Equal(t, http.StatusOK, code)
	require.JSONEq(t, `{"paths":["/channelz","/healthz","/metrics","/partitionz","/varz"]}`, body)

	code, body = get(t, n, "/metrics")
	require.Equal(t, http.StatusOK, code)
	for _, want := range []string{`partition="0"`, `partition="1"`, "leat_index", "leat_segment", "leat_replication", "leat_nats"} {
		require.Contains(t, body, want)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(body) {
		if name, ok := strings.CutPrefix(line, "# TYPE "); ok {
			require.False(t, seen[name], name)
			seen[name] = true
		}
	}

	for path, want := range map[string]int{
		"/nothing": http.StatusNotFound, "/channelz?limit=0": http.StatusBadRequest, "/channelz?offset=-1": http.StatusBadRequest,
		"/channelz?limit=x": http.StatusBadRequest,
	} {
		code, body := get(t, n, path)
		require.Equal(t, want, code, "%s: %s", path, body)
	}
}

func page(t *testing.T, n *Node, path string, v any) {
	t.Helper()
	code, body := get(t, n, path)
	require.Equal(t, http.StatusOK, code, body)
	require.NoError(t, json.Unmarshal([]byte(body), v), "%s: %s", path, body)
}
