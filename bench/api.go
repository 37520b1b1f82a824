package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"leat.dev/leat/wire/api"
)

// Target is the node that is measured, and the channel that is used there.
type Target struct {
	// Server is nats://host:port.
	Server string
	// Channel is made for the workload and deleted afterwards; a random one by
	// default. One that exists is an error, but for Replay.
	Channel string
}

// callNode asks $LEAT.API.CHANNEL.<verb>.<channel>.
func callNode(ctx context.Context, nc *nats.Conn, verb, channel string, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	m, err := nc.RequestWithContext(ctx, api.Prefix+"API.CHANNEL."+verb+"."+channel, nil)
	if errors.Is(err, nats.ErrNoResponders) {
		return fmt.Errorf("%w: no Leat node behind %s", ErrRefused, nc.ConnectedUrlRedacted())
	}
	if err != nil {
		return fmt.Errorf("%s channel %s: %w", verb, channel, err)
	}
	if err := refused(m.Data); err != nil {
		return fmt.Errorf("%s channel %s: %w", verb, channel, err)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(m.Data, answer)
}

// withChannel connects, makes the channel, runs do, and deletes the channel
// whatever happened.
func (t *Target) withChannel(ctx context.Context, do func(nc *nats.Conn) error) (err error) {
	nc, err := nats.Connect(t.Server, nats.Name("leat bench"), nats.NoReconnect())
	if err != nil {
		return fmt.Errorf("connect to %s: %w", t.Server, err)
	}
	defer nc.Close()
	if err := callNode(ctx, nc, "CREATE", t.Channel, nil); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, callNode(context.WithoutCancel(ctx), nc, "DELETE", t.Channel, nil))
	}()
	return do(nc)
}

// refused is what an answer with an error says, or nil.
func refused(body []byte) error {
	if !bytes.HasPrefix(body, []byte(`{"error":`)) {
		return nil
	}
	var a struct {
		Error *api.Error `json:"error"`
	}
	if err := json.Unmarshal(body, &a); err != nil || a.Error == nil {
		return fmt.Errorf("%w: %.100q", ErrRefused, body)
	}
	return fmt.Errorf("%w: %w", ErrRefused, a.Error)
}

// ackOffset reads the offset off {"stream":"…","seq":N}.
func ackOffset(body []byte) (uint64, error) {
	if err := refused(body); err != nil {
		return 0, err
	}
	i := bytes.LastIndex(body, []byte(`"seq":`))
	if i < 0 || body[len(body)-1] != '}' {
		return 0, fmt.Errorf("%w: acknowledgement %.100q", ErrRefused, body)
	}
	n, err := strconv.ParseUint(string(body[i+len(`"seq":`):len(body)-1]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: acknowledgement %.100q", ErrRefused, body)
	}
	return n, nil
}

// acks checks acknowledgements of one publisher that has the channel to itself:
// they come in order and without holes.
type acks struct{ last uint64 }

func (a *acks) take(body []byte) error {
	n, err := ackOffset(body)
	if err != nil {
		return err
	}
	if n != a.last+1 {
		return fmt.Errorf("%w: acknowledged %d behind %d", ErrOrder, n, a.last)
	}
	a.last = n
	return nil
}
