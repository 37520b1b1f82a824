package node

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Aim: a node that is told to stop under load stops soon, and what it has
// acknowledged is there. Method: a slow disk; publishers that fill the queues of
// all partitions until their connections are not read any more, by NATS and by
// STAN, replays that follow; Close; then the same directory is read.
func TestStopUnderLoad(t *testing.T) {
	t.Parallel() // it waits, mostly
	fault := vfs.NewFault(vfs.OS{})
	o := Options{
		Dir: t.TempDir(), NodeID: "n1", ClusterID: "test", Partitions: 2, Listen: "127.0.0.1:0", HTTP: "127.0.0.1:0",
		SegmentBytes: 16 << 20, Files: fault,
	}
	n, err := Open(o)
	require.NoError(t, err)
	for i := range cutChannels {
		follow(t, n, channelName(i))
	}
	sc, err := stan.Connect("test", "stop", stan.NatsURL("nats://"+n.Addr()), stan.PubAckWait(time.Minute))
	require.NoError(t, err)
	fault.Inject(vfs.Rule{Op: vfs.OpSyncData, Path: ".seg", Delay: 200 * time.Millisecond})
	var clients sync.WaitGroup
	books := make([]*publishedBook, cutChannels)
	for i := range books {
		books[i] = &publishedBook{channel: channelName(i), acked: map[uint64]uint64{}}
		books[i].publish(t, n, &clients)
	}
	for range 200 {
		_, err := sc.PublishAsync("stan", make([]byte, 100_000), func(string, error) {})
		require.NoError(t, err)
	}
	time.Sleep(1500 * time.Millisecond)
	begin := time.Now()
	require.NoError(t, n.Close())
	took := time.Since(begin)
	t.Logf("closed in %v", took)
	require.Less(t, took, 5*time.Second)
	sc.NatsConn().Close()
	_ = sc.Close()
	clients.Wait()

	fault.Clear()
	n, err = Open(o)
	require.NoError(t, err)
	total := 0
	for _, b := range books {
		total += len(b.acked)
		b.check(t, n.storage)
	}
	t.Logf("%d acknowledged", total)
	require.Positive(t, total)
	require.NoError(t, n.Close())
}

// publishedBook is a channel with what was acknowledged in it.
type publishedBook struct {
	channel string
	mu      sync.Mutex
	acked   map[uint64]uint64 // by offset: the number in the record; guarded by mu
}

// publish sends as much as the node takes until the connection is lost.
func (b *publishedBook) publish(t *testing.T, n *Node, wg *sync.WaitGroup) {
	t.Helper()
	nc, err := nats.Connect("nats://"+n.Addr(), nats.NoReconnect())
	require.NoError(t, err)
	prefix := nats.NewInbox()
	_, err = nc.Subscribe(prefix+".*", func(m *nats.Msg) {
		var answer struct {
			Seq   uint64
			Error *struct{ Code int }
		}
		var id uint64
		if m.Header.Get("Status") == "503" {
			return // the front-end is closed already
		}
		if json.Unmarshal(m.Data, &answer) != nil {
			t.Errorf("an answer is %q", m.Data)
		}
		if _, err := fmt.Sscanf(m.Subject[len(prefix)+1:], "%d", &id); err != nil {
			t.Error(err)
		}
		if answer.Error == nil {
			b.mu.Lock()
			b.acked[answer.Seq] = id
			b.mu.Unlock()
		}
	})
	require.NoError(t, err)
	wg.Go(func() {
		defer nc.Close()
		body := bytes.Repeat([]byte{1}, 500_000)
		for id := uint64(0); nc.IsConnected(); id++ {
			binary.LittleEndian.PutUint64(body, id)
			if nc.PublishRequest("$LEAT.PUB."+b.channel, fmt.Sprintf("%s.%d", prefix, id), body) != nil {
				return
			}
		}
	})
}

func (b *publishedBook) check(t *testing.T, st *storage) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	c, ok := st.set.Channel(b.channel)
	if !ok {
		require.Empty(t, b.acked)
		return
	}
	found := map[uint64]uint64{}
	r := c.NewReader(1)
	defer r.Close()
	var batch record.Batch
	var rec record.Record
	for {
		first, ok, err := r.Next(&batch)
		require.NoError(t, err)
		if !ok {
			break
		}
		for k := first; k < int(batch.Count); k++ {
			require.NoError(t, batch.Record(k, &rec))
			found[uint64(rec.Offset)] = binary.LittleEndian.Uint64(rec.Value)
		}
	}
	for off, id := range b.acked {
		got, there := found[off]
		require.True(t, there && got == id, "%s offset %d: acknowledged %d, found %d (%t)", b.channel, off, id, got, there)
	}
}

// follow replays a channel that may come to be, and goes on with it.
func follow(t *testing.T, n *Node, channel string) {
	t.Helper()
	nc, err := nats.Connect("nats://"+n.Addr(), nats.NoReconnect())
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	_, err = nc.Request("$LEAT.API.CHANNEL.CREATE."+channel, nil, 5*time.Second)
	require.NoError(t, err)
	inbox := nats.NewInbox()
	_, err = nc.Subscribe(inbox, func(*nats.Msg) {})
	require.NoError(t, err)
	require.NoError(t, nc.PublishRequest("$LEAT.REPLAY."+channel, inbox, []byte(`{"follow":true}`)))
	require.NoError(t, nc.Flush())
}
