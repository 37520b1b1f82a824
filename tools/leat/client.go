package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire/api"
)

const (
	defaultServer  = "nats://127.0.0.1:4222"
	requestTimeout = 15 * time.Second
	reconnectWait  = 250 * time.Millisecond
)

// client is what the commands that talk to a node have in common.
type client struct{ server string }

func (c *client) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.server, "server", defaultServer, "address of a node")
}

// connect opens a connection that comes back by itself as often as needed.
func (c *client) connect(options ...nats.Option) (*nats.Conn, error) {
	options = append([]nats.Option{
		nats.Name("leat"), nats.MaxReconnects(-1), nats.ReconnectWait(reconnectWait), nats.ReconnectJitter(0, 0),
	}, options...)
	nc, err := nats.Connect(c.server, options...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", c.server, hinted(err))
	}
	return nc, nil
}

// hinted asks for a node where nobody answered. A server that says why it does
// not want the client needs no such hint.
func hinted(err error) error {
	var network net.Error
	if errors.Is(err, nats.ErrNoServers) || errors.As(err, &network) {
		return fmt.Errorf("%w; is a node running there? (leat serve)", err)
	}
	return err
}

// request asks $LEAT.API.<call> and decodes the answer.
func request(ctx context.Context, nc *nats.Conn, call string, question, answer any) error {
	body, err := json.Marshal(question)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, api.Prefix+"API."+call, body)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("%s is a NATS server, but not a Leat node", nc.ConnectedUrlRedacted())
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from %s in %s", nc.ConnectedUrlRedacted(), requestTimeout)
	case err != nil:
		return fmt.Errorf("request %s: %w", call, err)
	}
	if err := refusal(m.Data); err != nil {
		return err
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return fmt.Errorf("read the answer to %s: %w", call, err)
	}
	return nil
}

// refusal is the error that an answer tells, or nil.
func refusal(body []byte) error {
	var a struct {
		Error *api.Error `json:"error"`
	}
	if json.Unmarshal(body, &a) == nil && a.Error != nil {
		return a.Error
	}
	return nil
}

// checkChannel refuses a name that would not survive as part of a subject, so
// that the user sees the reason at once.
func checkChannel(name string) error { return partition.ValidateName(name) }

// checkOutput compares --output with what a command knows.
func checkOutput(got string, known ...string) error {
	if slices.Contains(known, got) {
		return nil
	}
	return fmt.Errorf("--output %q: want %s", got, strings.Join(known, ", "))
}
