package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
)

// leat is a Store on a Leat node. It uses what any NATS client can: requests
// with JSON bodies under $LEAT. This file is all that the comparison knows of
// them.
type leat struct{}

const (
	leatCreate = "$LEAT.API.CHANNEL.CREATE." + streamName
	leatShow   = "$LEAT.API.CHANNEL.SHOW." + streamName
	leatReplay = "$LEAT.REPLAY." + streamName
)

// leatAnswer is what answers of the API have in common, and what is read here
// of a channel's state.
type leatAnswer struct {
	Error *struct {
		Code        int    `json:"code"`
		Description string `json:"description"`
	} `json:"error"`
	Records uint64 `json:"records"`
}

func leatRequest(ctx context.Context, nc *nats.Conn, subject string, body any) (leatAnswer, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return leatAnswer{}, err
	}
	m, err := nc.RequestWithContext(ctx, subject, b)
	if err != nil {
		return leatAnswer{}, fmt.Errorf("request %s: %w", subject, err)
	}
	var a leatAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil {
		return leatAnswer{}, fmt.Errorf("read the answer to %s: %w", subject, err)
	}
	if a.Error != nil {
		return leatAnswer{}, fmt.Errorf("request %s: %w: %d %s", subject, ErrProtocol, a.Error.Code, a.Error.Description)
	}
	return a, nil
}

func (leat) Create(ctx context.Context, nc *nats.Conn) error {
	_, err := leatRequest(ctx, nc, leatCreate, map[string]any{"subjects": []string{streamPattern}})
	return err
}

func (leat) Stored(ctx context.Context, nc *nats.Conn) (uint64, error) {
	a, err := leatRequest(ctx, nc, leatShow, struct{}{})
	return a.Records, err
}

func (leat) Replays() []replayer {
	return []replayer{
		{"replay", natsLibrary, leatRead},
		{"replay", bareTCP, leatReadRaw},
	}
}

// leatError begins an answer that refuses. No record of a workload begins so.
var leatError = []byte(`{"error":`)

// leatReplayBody asks for count records from the first on, with offset and time
// in the reply subject, where JetStream has them, too.
func leatReplayBody(count uint64) ([]byte, error) {
	return json.Marshal(map[string]any{"from": 1, "count": count, "meta": "reply"})
}

func leatRead(ctx context.Context, url string, count uint64, each func([]byte) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	nc, err := connect(url, fail)
	if err != nil {
		return err
	}
	defer nc.Close()
	body, err := leatReplayBody(count)
	if err != nil {
		return err
	}
	c := &counted{left: count, each: each, fail: fail, done: make(chan struct{})}
	inbox := nats.NewInbox()
	sub, err := nc.Subscribe(inbox, func(m *nats.Msg) {
		switch {
		case m.Header.Get("Status") != "":
			fail(fmt.Errorf("%w: the replay ended: %s", ErrLost, m.Header.Get("Description")))
		case bytes.HasPrefix(m.Data, leatError):
			fail(fmt.Errorf("replay: %w: %s", ErrProtocol, m.Data))
		default:
			c.take(m.Data)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return fmt.Errorf("lift the limits of the subscription: %w", err)
	}
	if err := nc.PublishRequest(leatReplay, inbox, body); err != nil {
		return fmt.Errorf("ask for a replay: %w", err)
	}
	return c.wait(ctx)
}

func leatReadRaw(ctx context.Context, url string, count uint64, each func([]byte) error) error {
	body, err := leatReplayBody(count)
	if err != nil {
		return err
	}
	inbox := nats.NewInbox()
	ask := func() error {
		nc, err := nats.Connect(url)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer nc.Close()
		if err := nc.PublishRequest(leatReplay, inbox, body); err != nil {
			return fmt.Errorf("ask for a replay: %w", err)
		}
		return nc.FlushWithContext(ctx)
	}
	return readRaw(ctx, url, inbox, ask, count, func(payload []byte) error {
		if bytes.HasPrefix(payload, leatError) {
			return fmt.Errorf("replay: %w: %s", ErrProtocol, payload)
		}
		return each(payload)
	})
}
