package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats"
)

// Aim: a disk that is full for a while costs no line, and one that stays full
// ends the publish: the lines that follow it are not read and thrown away.
// Method: a NATS server, and somebody that answers as a full node does, 50 times
// or always.
func TestPublishToFullDisk(t *testing.T) {
	router, err := nats.Listen(nats.Options{Addr: "127.0.0.1:0"})
	require.NoError(t, err)
	router.Serve()
	t.Cleanup(func() { require.NoError(t, router.Close()) })
	server := "nats://" + router.Addr()
	nc, err := natsgo.Connect(server)
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	var refusals, seq atomic.Int64
	_, err = nc.Subscribe("$LEAT.PUB.full", func(m *natsgo.Msg) {
		answer := `{"error":{"code":507,"description":"no space left on the disk"},"stream":"full"}`
		if refusals.Add(-1) < 0 {
			answer = fmt.Sprintf(`{"stream":"full","seq":%d}`, seq.Add(1))
		}
		_ = m.Respond([]byte(answer)) // the publisher may be gone
	})
	require.NoError(t, err)
	require.NoError(t, nc.Flush())

	refusals.Store(50)
	var in strings.Builder
	for i := range 100 {
		in.WriteString(strconv.Itoa(i) + "\n")
	}
	r := leat(t, strings.NewReader(in.String()), "publish", "full", "--server", server)
	require.Equal(t, 0, r.code, r.err)
	require.Contains(t, r.out, "100 records acknowledged")

	refusals.Store(1 << 40)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r = leatContext(ctx, strings.NewReader(in.String()), "publish", "full", "--server", server, "--patience", "500ms", "--window", "10")
	require.Equal(t, 1, r.code, r.err)
	require.Contains(t, r.err, "no space left on the disk")
	require.Contains(t, r.err, "10 with unknown outcome")
	require.NotContains(t, r.err, "more lines")
}
