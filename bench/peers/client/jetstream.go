package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	js "github.com/nats-io/nats.go/jetstream"
)

// jetStream is a Store on nats-server: one stream, file storage, one replica.
type jetStream struct{}

func (jetStream) Create(ctx context.Context, nc *nats.Conn) error {
	api, err := js.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	_, err = api.CreateStream(ctx, js.StreamConfig{
		Name: streamName, Subjects: []string{streamPattern}, Storage: js.FileStorage, Replicas: 1,
	})
	if err != nil {
		return fmt.Errorf("create stream %s: %w", streamName, err)
	}
	return nil
}

func (jetStream) Stored(ctx context.Context, nc *nats.Conn) (uint64, error) {
	api, err := js.New(nc)
	if err != nil {
		return 0, fmt.Errorf("open JetStream: %w", err)
	}
	s, err := api.Stream(ctx, streamName)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", streamName, err)
	}
	return s.CachedInfo().State.Msgs, nil
}

func (jetStream) Replays() []replayer {
	r := []replayer{
		{"ordered push consumer", natsLibrary, readOrderedPush},
		{"push consumer with flow control", bareTCP, readRawPush},
	}
	// 500 is the library's default.
	for _, n := range []int{500, 4_000} {
		r = append(r, replayer{
			fmt.Sprintf("ordered pull consumer, %d a pull", n), natsLibrary,
			func(ctx context.Context, url string, count uint64, each func([]byte) error) error {
				return readOrderedPull(ctx, url, n, count, each)
			},
		})
	}
	return r
}

// counted calls each until count payloads were taken, then closes done.
type counted struct {
	left uint64
	each func([]byte) error
	fail context.CancelCauseFunc
	done chan struct{}
}

func (c *counted) take(payload []byte) {
	if c.left == 0 {
		return // more than asked for; the server still sends what it has
	}
	if err := c.each(payload); err != nil {
		c.left = 0
		c.fail(err)
		return
	}
	if c.left--; c.left == 0 {
		close(c.done)
	}
}

// wait returns when all were taken or ctx has ended.
func (c *counted) wait(ctx context.Context) error {
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// readOrderedPull is today's consumer of nats.go.
func readOrderedPull(ctx context.Context, url string, perPull int, count uint64, each func([]byte) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	nc, err := connect(url, fail)
	if err != nil {
		return err
	}
	defer nc.Close()
	api, err := js.New(nc)
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	cons, err := api.OrderedConsumer(ctx, streamName, js.OrderedConsumerConfig{DeliverPolicy: js.DeliverAllPolicy})
	if err != nil {
		return fmt.Errorf("make an ordered consumer: %w", err)
	}
	c := &counted{left: count, each: each, fail: fail, done: make(chan struct{})}
	run, err := cons.Consume(func(m js.Msg) { c.take(m.Data()) }, js.PullMaxMessages(perPull))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer run.Stop()
	return c.wait(ctx)
}

// readOrderedPush is the older ordered consumer of nats.go: the server pushes,
// with flow control.
func readOrderedPush(ctx context.Context, url string, count uint64, each func([]byte) error) error {
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	nc, err := connect(url, fail)
	if err != nil {
		return err
	}
	defer nc.Close()
	api, err := nc.JetStream()
	if err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	c := &counted{left: count, each: each, fail: fail, done: make(chan struct{})}
	_, err = api.Subscribe(streamPattern, func(m *nats.Msg) { c.take(m.Data) },
		nats.BindStream(streamName), nats.OrderedConsumer())
	if err != nil {
		return fmt.Errorf("make an ordered consumer: %w", err)
	}
	return c.wait(ctx)
}

// readRawPush makes a push consumer by the JetStream API and reads it over a
// bare connection, answering the server's flow control.
func readRawPush(ctx context.Context, url string, count uint64, each func([]byte) error) error {
	inbox := nats.NewInbox()
	config, err := json.Marshal(map[string]any{
		"stream_name": streamName,
		"config": map[string]any{
			"deliver_subject": inbox, "deliver_policy": "all", "ack_policy": "none", "max_deliver": 1,
			"flow_control": true, "idle_heartbeat": 5 * time.Second, "mem_storage": true, "num_replicas": 1,
		},
	})
	if err != nil {
		return err
	}
	create := func() error {
		nc, err := nats.Connect(url)
		if err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		defer nc.Close()
		m, err := nc.RequestWithContext(ctx, "$JS.API.CONSUMER.CREATE."+streamName, config)
		if err != nil {
			return fmt.Errorf("make a push consumer: %w", err)
		}
		if bytes.Contains(m.Data, []byte(`"error"`)) {
			return fmt.Errorf("make a push consumer: %w: %s", ErrProtocol, m.Data)
		}
		return nil
	}
	return readRaw(ctx, url, inbox, create, count, each)
}

// readRaw subscribes to inbox over a bare connection, calls begin, and reads.
// Messages whose header block begins with a status belong to flow control: one
// with a reply subject wants an empty answer there.
func readRaw(ctx context.Context, url, inbox string, begin func() error, count uint64, each func([]byte) error) error {
	conn, err := dialRaw(ctx, url, inbox)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := begin(); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	errEnough := fmt.Errorf("read %d records", count)
	left := count
	err = conn.receive(func(s *scanner) error {
		if code, ok := status(s.header); ok {
			return answerStatus(conn, s, code)
		}
		if err := each(s.payload); err != nil {
			return err
		}
		if left--; left == 0 {
			return errEnough
		}
		return nil
	}, func() {})
	if err == errEnough { //nolint:errorlint // our own value, not wrapped on the way
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// status reads the code of a header block that begins "NATS/1.0 CODE".
func status(header []byte) (int, bool) {
	rest, ok := bytes.CutPrefix(header, []byte("NATS/1.0 "))
	if !ok || len(rest) < 3 {
		return 0, false
	}
	return parseDecimal(rest[:3])
}

func answerStatus(conn *rawConn, s *scanner, code int) error {
	if code >= 200 { // 204 ends a replay of Leat, 4xx refuses
		return fmt.Errorf("%w: the server ended the replay with %s", ErrLost, strconv.Quote(string(s.header)))
	}
	if len(s.reply) == 0 {
		return nil
	}
	_, err := fmt.Fprintf(conn, "PUB %s 0\r\n\r\n", s.reply)
	return err
}
