package nats_test

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/nats"
)

// holder is a handler that stops whoever publishes to it, in the middle of a
// read, until it is released.
func holder() (h *recorder, held <-chan struct{}, release func()) {
	arrived, gate := make(chan struct{}, 1), make(chan struct{})
	h = &recorder{onMsg: func(wire.Source, *wire.Msg) {
		arrived <- struct{}{}
		<-gate
	}}
	return h, arrived, sync.OnceFunc(func() { close(gate) })
}

func TestUnsubscribedBeforePong(t *testing.T) {
	// Aim: a client that sends UNSUB and then PING has every message of that
	// subscription before the PONG, or draining a queue group would lose those
	// that it was chosen for. Method: hold a publisher in the middle of a read,
	// behind a message for the subscription.
	s := serve(t, nats.Options{})
	h, held, release := holder()
	_, err := s.Subscribe("hold", h)
	require.NoError(t, err)
	defer release()
	worker := dialRaw(t, s.Addr())
	worker.send("CONNECT {\"verbose\":false}\r\nSUB jobs workers 1\r\n")
	worker.sync()
	pub := dialRaw(t, s.Addr())
	pub.send("CONNECT {\"verbose\":false}\r\nPUB jobs 3\r\none\r\nPUB hold 1\r\nx\r\nPUB jobs 3\r\ntwo\r\n")
	<-held
	worker.send("UNSUB 1\r\n")
	timer := time.AfterFunc(20*time.Millisecond, release)
	defer timer.Stop()
	require.Equal(t, "MSG jobs 1 3\r\none\r\n", worker.sync())
	require.Empty(t, worker.sync())
}

func TestPongDoesNotWaitForEver(t *testing.T) {
	// Aim: a publisher that is held up for long, as by a full disk, does not
	// hold up others, and two that wait do not wait for each other. Method: hold
	// one; two other clients unsubscribe and ping at once.
	s := serve(t, nats.Options{})
	h, held, release := holder()
	_, err := s.Subscribe("hold", h)
	require.NoError(t, err)
	defer release()
	pub := dialRaw(t, s.Addr())
	pub.send("CONNECT {\"verbose\":false}\r\nPUB hold 1\r\nx\r\n")
	<-held
	var both sync.WaitGroup
	for range 2 {
		c := dialRaw(t, s.Addr())
		c.send("CONNECT {\"verbose\":false}\r\nSUB jobs workers 1\r\nUNSUB 1\r\n")
		both.Go(func() { c.sync() })
	}
	start := time.Now()
	both.Wait()
	require.Less(t, time.Since(start), 5*time.Second)
}

func TestPongIsBehindHandlers(t *testing.T) {
	// Aim: what a client sent before a PING is with the handlers, too, when the
	// PONG comes, whoever asks them next: an acknowledgement counts, a request finds
	// what was published. What others get does not wait for handlers. Method: a
	// handler that is held up while it flushes.
	s := serve(t, nats.Options{})
	h := &recorder{block: make(chan struct{})}
	_, err := s.Subscribe("acks", h)
	require.NoError(t, err)
	release := sync.OnceFunc(func() { close(h.block) })
	defer release()
	other := dialRaw(t, s.Addr())
	other.send("CONNECT {\"verbose\":false}\r\nSUB news 1\r\n")
	other.sync()
	c := dialRaw(t, s.Addr())
	c.send("CONNECT {\"verbose\":false}\r\nPUB news 1\r\nx\r\nPUB acks 1\r\n1\r\nPING\r\n")
	other.expect("MSG news 1 1\r\nx\r\n")
	require.NoError(t, c.nc.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
	_, err = c.r.Peek(1)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded, "the PONG came before the handler had everything")
	release()
	c.expect("PONG\r\n")
	require.Contains(t, h.events()[0], "acks|||1 flush")
}
