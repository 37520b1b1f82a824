package client

import (
	"context"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"leat.dev/leat/bench/peers/bare"
)

// bareStore is the server of package bare, which only acknowledges.
type bareStore struct{}

func (bareStore) Create(context.Context, *nats.Conn) error { return nil }

func (bareStore) Stored(ctx context.Context, nc *nats.Conn) (uint64, error) {
	m, err := nc.RequestWithContext(ctx, bare.CountSubject, nil)
	if err != nil {
		return 0, fmt.Errorf("request %s: %w", bare.CountSubject, err)
	}
	return strconv.ParseUint(string(m.Data), 10, 64)
}

func (bareStore) Replays() []replayer { return nil }
