package client

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
)

// The stream (JetStream) or channel (Leat) that every workload uses, and the
// subject it publishes to.
const (
	streamName    = "orders"
	streamPattern = "orders.>"
	streamSubject = "orders.new"
)

// A Store is how one kind of server does what the workloads need beyond
// publishing and acknowledging, which is the same everywhere.
type Store interface {
	// Create makes the stream, empty, bound to streamPattern.
	Create(ctx context.Context, nc *nats.Conn) error

	// Stored returns how many records the stream holds.
	Stored(ctx context.Context, nc *nats.Conn) (uint64, error)

	// Replays returns the ways in which a client can read n records from the
	// first on; the fastest counts.
	Replays() []replayer
}

// A replayer reads n records of the stream in order and calls each with every
// payload, from one goroutine. It returns after the n-th call, or when each
// has returned an error.
type replayer struct {
	name   string
	client string // natsLibrary or bareTCP
	read   func(ctx context.Context, url string, n uint64, each func(payload []byte) error) error
}

const (
	natsLibrary = "nats.go"
	bareTCP     = "bare TCP"
)

func storeOf(name string) (Store, error) {
	switch name {
	case "jetstream":
		return jetStream{}, nil
	case "leat":
		return leat{}, nil
	case "bare":
		return bareStore{}, nil
	default:
		return nil, fmt.Errorf("%w: store %q", ErrUnknownJob, name)
	}
}

// createAt makes the stream over a connection of its own.
func createAt(ctx context.Context, j Job) (Store, error) {
	s, err := storeOf(j.Store)
	if err != nil {
		return nil, err
	}
	nc, err := nats.Connect(j.URL, nats.NoReconnect())
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	return s, s.Create(ctx, nc)
}

// checkStored compares what the server says it holds with what was sent.
func checkStored(ctx context.Context, s Store, url string, want uint64) error {
	nc, err := nats.Connect(url, nats.NoReconnect())
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer nc.Close()
	got, err := s.Stored(ctx, nc)
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("%w: the server holds %d records, %d were acknowledged", ErrLost, got, want)
	}
	return nil
}
