package api

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
)

// ReplayRequest asks for records of a channel.
type ReplayRequest struct {
	// From is where to begin; "first" by default. A durable replay that exists
	// goes on where it was, and From is not used.
	From From `json:"from,omitzero"`
	// Count ends the replay after so many records; 0 is no limit.
	Count uint64 `json:"count,omitempty"`
	// Follow goes on with records that are stored later. Without it the replay
	// ends at what was the last record when it began.
	Follow bool `json:"follow,omitempty"`
	// Deliver is the subject to deliver to; the request's reply subject by
	// default. When it is given, the request is answered with a ReplayAnswer.
	Deliver string `json:"deliver,omitempty"`
	// Window is how many records may be unacknowledged. 0 asks for no
	// acknowledgements at all: records are sent as fast as the connection takes
	// them.
	Window int `json:"window,omitempty"`
	// AckWait is how long a record may be unacknowledged before it is sent
	// again; "30s" by default.
	AckWait string `json:"ack_wait,omitempty"`
	// Durable names the place that acknowledgements move, so that a later
	// replay of that name goes on after it. It needs a window; 1,024 by default.
	Durable string `json:"durable,omitempty"`
}

// ReplayAnswer tells that a replay began.
type ReplayAnswer struct {
	Replay  string `json:"replay"`
	Channel string `json:"channel"`
	From    uint64 `json:"from"`
	Last    uint64 `json:"last"`
	Deliver string `json:"deliver"`
}

// The end of a replay is told by a message without payload whose header line is
// this. Its HeaderOffset is the offset to begin from next time.
const endLine = headerLine + " 204 End Of Replay"

// Limits of a plain replay: it is held back by the receiver's connection, not by
// acknowledgements.
const (
	replayPendingMax = 4 << 20
	replayPendingLow = 1 << 20
	// interestDelay is how often an idle follower is looked after: nobody tells
	// when a subscriber goes.
	interestDelay = 5 * time.Second
)

// replays are those under way.
type replays struct {
	f  *Frontend
	mu sync.Mutex
	// guarded by mu
	next uint64
	acks map[uint64]acknowledger
}

// acknowledger takes what a receiver acknowledges.
type acknowledger interface {
	ack(off record.Offset, through bool)
}

func (rs *replays) init(f *Frontend) { rs.f, rs.acks = f, make(map[uint64]acknowledger) }

func (rs *replays) id() uint64 {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.next++
	return rs.next
}

func (rs *replays) find(id uint64) acknowledger {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.acks[id]
}

// serveReplay answers $LEAT.REPLAY.<channel>.
func (f *Frontend) serveReplay(_ context.Context, r *request) (any, error) {
	name := strings.TrimPrefix(r.subject, Prefix+"REPLAY.")
	var q ReplayRequest
	if err := r.decode(&q); err != nil {
		return nil, err
	}
	c, ok := f.store.Channel(name)
	if !ok {
		return nil, fmt.Errorf("%w: %q", partition.ErrNoChannel, name)
	}
	deliver := q.Deliver
	if deliver == "" {
		deliver = r.reply
	}
	if deliver == "" {
		return nil, fmt.Errorf("%w: no subject to deliver to: give a reply subject, or deliver", errBadRequest)
	}
	if strings.HasPrefix(deliver, Prefix) || strings.ContainsAny(deliver, "*> \t\r\n") {
		return nil, fmt.Errorf("%w: can't deliver to %q", errBadRequest, deliver)
	}
	from, err := q.From.resolve(f.opts.Now(), c)
	if err != nil {
		return nil, err
	}
	answer := ReplayAnswer{Replay: strconv.FormatUint(f.replays.id(), 10), Channel: name, From: uint64(from), Last: uint64(c.Last()), Deliver: deliver}
	if q.Deliver != "" {
		// Before the first record, so that whoever asked knows what comes.
		f.answer(r, answer, nil)
	}
	p := &replay{f: f, channel: c, deliver: deliver, from: from, follow: q.Follow, left: q.Count, last: c.Last()}
	if q.Count == 0 {
		p.left = ^uint64(0)
	}
	return nil, p.run(f.ctx)
}

// replay is one replay without acknowledgements.
type replay struct {
	f       *Frontend
	channel *partition.Channel
	deliver string
	from    record.Offset
	last    record.Offset // of the channel when it began
	left    uint64        // records still to send
	follow  bool

	outlet wire.Outlet
	header []byte
}

// run delivers until the end, until nobody listens, or until ctx is done.
func (p *replay) run(ctx context.Context) error {
	p.outlet = p.f.bus.Outlet()
	defer p.outlet.Close()
	wake := make(chan struct{}, 1)
	cancel := p.channel.Watch(func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer cancel()
	reader := p.channel.NewReader(p.from)
	defer reader.Close()
	for {
		more, err := p.deliverStored(ctx, reader)
		if err != nil || !more {
			return err
		}
		reader.Pause()
		p.outlet.Flush()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil
		case <-time.After(interestDelay):
			if !p.f.bus.HasInterest(p.deliver) {
				return nil
			}
		}
	}
}

// deliverStored sends what is stored. It returns false when the replay is over.
func (p *replay) deliverStored(ctx context.Context, reader *partition.Reader) (more bool, err error) {
	var b record.Batch
	var r record.Record
	for {
		first, ok, err := reader.Next(&b)
		if err != nil {
			return false, err
		}
		if !ok {
			if p.follow && p.channel.Exists() {
				return true, nil
			}
			p.end(reader.Offset())
			return false, nil
		}
		for k := first; k < int(b.Count); k++ {
			if err := b.Record(k, &r); err != nil {
				return false, fmt.Errorf("%w: channel %q: offset %d: %w", partition.ErrCorrupt, p.channel.Name(), b.Base+record.Offset(k), err)
			}
			if p.left == 0 || (!p.follow && r.Offset > p.last) {
				p.end(r.Offset)
				return false, nil
			}
			if p.header, err = appendDelivery(p.header[:0], p.channel.Name(), &r, 0); err != nil {
				return false, err
			}
			if p.outlet.Send([]byte(p.deliver), nil, p.header, r.Value, nil) == 0 {
				return false, nil // nobody listens
			}
			p.left--
		}
		if p.outlet.Pending() > replayPendingMax {
			p.outlet.Flush()
			if err := p.outlet.Drained(ctx, replayPendingLow); err != nil {
				return false, nil // the node stops; the receiver sees its connection end
			}
		}
	}
}

// end tells the receiver that nothing more comes, and where to go on.
func (p *replay) end(next record.Offset) {
	h := append(p.header[:0], endLine+"\r\n"+HeaderChannel+": "...)
	h = append(h, p.channel.Name()...)
	h = append(h, "\r\n"+HeaderOffset+": "...)
	h = strconv.AppendUint(h, uint64(next), 10)
	h = append(h, "\r\n\r\n"...)
	p.header = h
	p.outlet.Send([]byte(p.deliver), nil, h, nil, nil)
	p.outlet.Flush()
}
