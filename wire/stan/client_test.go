package stan_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	streaming "github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

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
