package stan_test

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	streaming "github.com/nats-io/stan.go"
	official "github.com/nats-io/stan.go/pb"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/stan"
)

// Aim: the first thing anyone tries works. Method: an official client publishes
// and reads back from the start.
func TestPublishAndSubscribe(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	before := time.Now().UnixNano()
	publish(t, sc, "foo", 3)
	got := newBox(t)
	_, err := sc.Subscribe("foo", got.take, streaming.DeliverAllAvailable())
	require.NoError(t, err)
	last := before
	for i, m := range got.await(3) {
		require.Equal(t, uint64(i+1), m.Sequence)
		require.Equal(t, fmt.Sprintf("foo %d", i+1), string(m.Data))
		require.Equal(t, "foo", m.Subject)
		require.GreaterOrEqual(t, m.Timestamp, last)
		require.False(t, m.Redelivered)
		require.Zero(t, m.RedeliveryCount)
		last = m.Timestamp
	}
	publish(t, sc, "foo", 1)
	require.Equal(t, uint64(4), got.await(4)[3].Sequence)
}

// Aim: what was published before Close is stored. Method: many asynchronous
// publishes, Close at once, then count from another client.
func TestCloseIsABarrier(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("one")
	const n = 5000
	for range n {
		_, err := sc.PublishAsync("foo", []byte("x"), func(string, error) {})
		require.NoError(t, err)
	}
	require.NoError(t, sc.Close())
	two := s.connect("two")
	got := newBox(t)
	_, err := two.Subscribe("foo", got.take, streaming.DeliverAllAvailable(), streaming.MaxInflight(n))
	require.NoError(t, err)
	got.await(n)
}

// Aim: every publish is acknowledged once, also from many goroutines and
// channels. Method: asynchronous publishes with handlers that count.
func TestPublishAsync(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	const n = 2000
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	wg.Add(n)
	for i := range n {
		_, err := sc.PublishAsync(fmt.Sprintf("c%d", i%7), []byte("x"), func(guid string, err error) {
			mu.Lock()
			defer mu.Unlock()
			seen[guid]++
			if err == nil {
				wg.Done()
			}
		})
		require.NoError(t, err)
	}
	wg.Wait()
	require.Len(t, seen, n)
}

// Aim: acknowledgements that are themselves stored, because a client's reply
// subject is a channel's, stop nobody, even when the store is full of them.
// Method: large messages from several connections, more than the queue of a
// partition holds, with the same channel for a reply subject.
func TestAcksThatAreStored(t *testing.T) {
	s := start(t, stan.Options{})
	r := s.dial()
	require.Empty(t, r.hello("me", 0))
	const conns, each = 5, 60
	data, err := (&official.PubMsg{ClientID: "me", Guid: "g", Subject: "foo", Data: make([]byte, 900<<10)}).Marshal()
	require.NoError(t, err)
	var wait sync.WaitGroup
	for range conns {
		nc := s.nats("publisher")
		wait.Go(func() {
			for range each {
				_ = nc.PublishRequest(r.PubPrefix+".foo", "$LEAT.PUB.foo", data)
			}
			_ = nc.FlushTimeout(patience)
		})
	}
	wait.Wait()
	c, ok := s.node.Store().Channel("foo")
	require.True(t, ok)
	require.Eventually(t, func() bool { return c.Last() == 2*conns*each }, patience, 10*time.Millisecond, "stored: %d", c.Last())
}

// Aim: closing a client takes about as long with hundreds of subscriptions as with
// one: their ends share syncs. Method: a disk that takes long, and the two seconds
// that client libraries wait.
func TestCloseManySubscriptions(t *testing.T) {
	s := start(t, stan.Options{})
	sc := s.connect("me")
	const n = 300
	for i := range n {
		opts := []streaming.SubscriptionOption{}
		if i%2 == 0 {
			opts = append(opts, streaming.DurableName(strconv.Itoa(i)))
		}
		_, err := sc.Subscribe(fmt.Sprintf("foo.%d", i%3), func(*streaming.Msg) {}, opts...)
		require.NoError(t, err)
	}
	slow := s.faults.Inject(vfs.Rule{Op: vfs.OpSyncData, Delay: 10 * time.Millisecond})
	defer slow.Remove()
	began := time.Now()
	require.NoError(t, sc.Close())
	require.Less(t, time.Since(began), time.Second)
	require.Empty(t, s.node.Store().Sessions('S'))
	require.Empty(t, s.node.Store().Sessions('C'))
}
