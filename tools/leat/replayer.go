package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nats-io/nuid"

	"leat.dev/leat/bench/rawnats"
	"leat.dev/leat/wire/api"
)

// errEnd is returned through the connection's loop when the replay is over.
var errEnd = errors.New("end of replay")

// gapError says that offsets did not follow each other.
type gapError struct{ want, got uint64 }

// Error implements error.
func (e *gapError) Error() string {
	if e.got < e.want {
		return fmt.Sprintf("offset %d came again or late, want %d: is the channel a new one?", e.got, e.want)
	}
	return fmt.Sprintf("offsets %d to %d are missing", e.want, e.got-1)
}

const (
	sidRecords = 1
	sidAnswer  = 2
	writeBytes = 256 << 10
)

// replayer receives records and writes them out. It asks again behind the last
// one it has whenever the connection breaks. Everything runs in the goroutine of
// run; position may be asked for by any.
type replayer struct {
	server   string
	channel  string
	request  api.ReplayRequest // as the user wants it
	format   func(dst []byte, d *delivery) []byte
	out      *bufio.Writer
	note     io.Writer // what is no error
	patience time.Duration

	begun   bool   // the first request was answered
	next    uint64 // the offset to come; 0 until it is known
	last    uint64 // the channel's last record when it began
	got     uint64 // records
	written atomic.Uint64
	total   atomic.Uint64 // records to come, as far as is known

	decoder  *decoder
	scratch  []byte
	conn     *rawnats.Conn
	ackReply []byte // of the last record, when it wants to be acknowledged
}

// run replays until the end or until ctx is done.
func (r *replayer) run(ctx context.Context) error {
	r.decoder = newDecoder()
	retryUntil := time.Time{}
	for {
		before := r.got
		err := r.once(ctx)
		if e := r.out.Flush(); e != nil {
			return fmt.Errorf("write records: %w", e)
		}
		var gap *gapError
		switch {
		case errors.Is(err, errEnd):
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &gap):
			if err := r.explain(ctx, gap); err != nil {
				return err
			}
			continue
		case !r.begun || !temporary(err):
			return err
		case r.complete():
			return nil
		}
		if r.got > before || retryUntil.IsZero() {
			retryUntil = time.Now().Add(r.patience)
		}
		if time.Now().After(retryUntil) {
			return fmt.Errorf("the connection did not come back in %s: %w", r.patience, err)
		}
		if err := sleepUntil(ctx, time.Now().Add(reconnectWait)); err != nil {
			return err
		}
	}
}

// temporary tells whether to ask again: the connection broke, or the node is
// not ready.
func temporary(err error) bool {
	if refused, ok := errors.AsType[*api.Error](err); ok {
		return refused.Code == 503
	}
	// Not errNotLeat: a node that stops or starts has, for a moment, nobody that
	// answers, and that it is one was seen before.
	return !errors.Is(err, rawnats.ErrProtocol) && !errors.Is(err, errOutput) && !errors.Is(err, errChannelGone)
}

var (
	// errOutput is returned when records can't be written.
	errOutput = errors.New("write records")
	// errChannelGone is returned when a channel is deleted under a follower.
	errChannelGone = errors.New("the channel was deleted")
)

// complete tells whether all was received that there was when it began.
func (r *replayer) complete() bool {
	return (r.request.Count > 0 && r.got >= r.request.Count) || (!r.request.Follow && r.next > r.last)
}

// once asks for what is missing, over a connection of its own.
func (r *replayer) once(ctx context.Context) error {
	conn, err := rawnats.Dial(ctx, rawnats.Options{URL: r.server, Name: "leat replay"})
	if err != nil {
		if !r.begun {
			err = hinted(err)
		}
		return err
	}
	r.conn, r.ackReply = conn, nil
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() { _ = conn.Close() }() // what went wrong on it was told by its calls
	q := r.remaining()
	inbox := "_INBOX." + nuid.Next()
	q.Deliver = inbox
	body, err := json.Marshal(q)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	ops := rawnats.AppendSub(nil, inbox, sidRecords)
	ops = rawnats.AppendSub(ops, inbox+".answer", sidAnswer)
	ops = rawnats.AppendPub(ops, api.Prefix+"REPLAY."+r.channel, inbox+".answer", body)
	if err := conn.Write(ops); err != nil {
		return err
	}
	return conn.Receive(r.take, r.settle)
}

// remaining is the user's request less what came already.
func (r *replayer) remaining() api.ReplayRequest {
	q := r.request
	if !r.begun {
		return q
	}
	if q.Count > 0 {
		q.Count -= r.got
	}
	if q.Durable != "" || r.next == 0 {
		return q // the node knows where to go on
	}
	if from, err := api.ParseFrom(strconv.FormatUint(r.next, 10)); err == nil {
		q.From = from
	}
	if !q.Follow && r.last >= r.next {
		if n := r.last - r.next + 1; q.Count == 0 || n < q.Count {
			q.Count = n
		}
	}
	return q
}

// take takes one message.
func (r *replayer) take(m *rawnats.Msg) error {
	if m.SID == sidAnswer {
		return r.answered(m)
	}
	d := r.decoder.decode(m)
	switch string(d.status) {
	case "":
	case "204":
		if r.request.Follow && (r.request.Count == 0 || r.got < r.request.Count) {
			return errChannelGone
		}
		return errEnd
	case "503":
		return errNotLeat
	default:
		return fmt.Errorf("%w: status %s", rawnats.ErrProtocol, d.status)
	}
	if d.offset == 0 {
		if err := refusal(m.Data); err != nil {
			return err
		}
		return fmt.Errorf("%w: a record without an offset", rawnats.ErrProtocol)
	}
	if m.Reply != nil {
		r.ackReply = append(r.ackReply[:0], m.Reply...)
	}
	// A replay that is acknowledged is at least once: a record may come again,
	// and a durable one leaves out what was acknowledged before.
	acked := r.request.Window > 0 || r.request.Durable != ""
	if acked && d.offset < r.next {
		return nil
	}
	if r.next != 0 && d.offset != r.next && r.request.Durable == "" {
		return &gapError{want: r.next, got: d.offset}
	}
	r.next = d.offset + 1
	r.got++
	r.scratch = r.format(r.scratch[:0], d)
	if _, err := r.out.Write(r.scratch); err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	return nil
}

// answered takes the node's answer to the request, or an error later on.
func (r *replayer) answered(m *rawnats.Msg) error {
	if string(rawnats.EachHeader(m.Header, func(_, _ []byte) {})) == "503" {
		return errNotLeat
	}
	if err := refusal(m.Data); err != nil {
		return err
	}
	var a api.ReplayAnswer
	if err := json.Unmarshal(m.Data, &a); err != nil || a.Replay == "" {
		return fmt.Errorf("%w: answer %.80q", rawnats.ErrProtocol, m.Data)
	}
	if r.begun {
		return nil
	}
	r.begun, r.last = true, a.Last
	if r.next == 0 && r.request.Durable == "" {
		r.next = a.From
	}
	total := uint64(0)
	if a.Last >= a.From {
		total = a.Last - a.From + 1
	}
	if n := r.request.Count; n > 0 && (n < total || r.request.Follow) {
		total = n
	}
	r.total.Store(total)
	return nil
}

// settle writes out what one read brought, and acknowledges it afterwards.
func (r *replayer) settle() error {
	if err := r.out.Flush(); err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	r.written.Store(r.got)
	if len(r.ackReply) == 0 {
		return nil
	}
	r.scratch = rawnats.AppendPub(r.scratch[:0], string(r.ackReply), "", []byte("+ALL"))
	r.ackReply = r.ackReply[:0]
	return r.conn.Write(r.scratch)
}

// explain finds out whether missing records are gone from the channel, which is
// worth a note, or were left out, which is an error.
func (r *replayer) explain(ctx context.Context, gap *gapError) error {
	if gap.got < gap.want {
		return gap
	}
	c := client{server: r.server}
	nc, err := c.connect()
	if err != nil {
		return errors.Join(gap, err)
	}
	defer nc.Close()
	var info api.ChannelInfo
	if err := request(ctx, nc, "CHANNEL.SHOW."+r.channel, struct{}{}, &info); err != nil {
		return errors.Join(gap, err)
	}
	if info.First < gap.got {
		return gap
	}
	fmt.Fprintf(r.note, "leat: records %d to %d are no longer in the channel\n", gap.want, info.First-1)
	r.next = info.First
	if r.complete() {
		r.last = 0
	}
	return nil
}
