package api

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/consumer"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
)

// windowed is one replay with acknowledgements: a consumer of one member. It
// implements consumer.Sink and consumer.Progress.
//
// It ends when all is acknowledged, when nobody listens on its inbox, when a
// channel gets bound to that, when another replay takes its durable name, when
// the channel or the cursor is deleted, or with the front-end. Whoever ends it
// calls stop, or ends its plan's context; run does the rest.
type windowed struct {
	*plan
	f        *Frontend
	place    *cursor.Cursor // the consumer's while it runs
	consumer *consumer.Consumer
	to       []byte // deliver
	// outlet and enc are of the consumer's loop; while that waits for Resume,
	// and after it, of run.
	outlet wire.Outlet
	enc    encoder

	full    chan struct{} // the loop waits for Resume; holds one
	ctx     context.Context
	cancel  context.CancelFunc // of ctx
	stopped sync.Once
	how     ending        // written once, before ctx is done
	ended   chan struct{} // closed when it is over and its progress is logged

	sent    atomic.Uint64 // highest offset sent in this life or an earlier one
	through atomic.Uint64 // all up to it is acknowledged
}

const onlyMember delivery.MemberID = 1

// newWindowed makes the replay and, when it is durable, its cursor. Nothing is
// sent before run.
func (f *Frontend) newWindowed(ctx context.Context, p *plan) (*windowed, error) {
	w := &windowed{
		plan: p, f: f, to: []byte(p.deliver), enc: newEncoder(p), outlet: f.bus.Outlet(),
		full: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	w.ctx, w.cancel = context.WithCancel(p.ctx)
	if err := w.open(ctx); err != nil {
		w.over()
		return nil, err
	}
	return w, nil
}

// open makes the consumer, without its member.
func (w *windowed) open(ctx context.Context) (err error) {
	p, f := w.plan, w.f
	if p.Durable == "" {
		w.place = cursor.New(p.from)
	} else if err := w.resume(ctx); err != nil {
		return err
	}
	w.sent.Store(uint64(w.place.LastSent()))
	w.through.Store(uint64(w.place.Floor()))
	o := delivery.Options{CountMax: p.Count}
	if !p.Follow {
		o.Stop = p.last
	}
	co := consumer.Options{
		Source: channelSource{p.channel}, Cursor: w.place, Delivery: o, Done: func() { w.stop(endOver) },
		Logger: f.opts.Logger.With("channel", p.channel.Name(), "durable", p.Durable),
	}
	if p.Durable != "" {
		co.Progress = w
	}
	if w.consumer, err = consumer.Start(co); err != nil {
		return err
	}
	return f.replays.add(w)
}

// resume takes the durable's cursor, and makes it when there is none.
func (w *windowed) resume(ctx context.Context) error {
	if err := w.f.replays.claim(ctx, w, endTaken); err != nil {
		return err
	}
	name := cursorName(w.Durable)
	info, ok := w.channel.Cursor(name)
	if !ok {
		if err := w.f.putCursor(ctx, w.channel, name, cursor.New(w.from)); err != nil {
			return err
		}
		if info, ok = w.channel.Cursor(name); !ok {
			return fmt.Errorf("%w: %q of channel %q: it was deleted meanwhile", partition.ErrNoCursor, w.Durable, w.channel.Name())
		}
	}
	w.place = info.Place
	w.from = info.Place.Floor() + 1
	return nil
}

func (w *windowed) key() durableKey { return durableKey{w.channel, w.Durable} }

// stop ends the replay, if it is not at its end already. It does not wait.
func (w *windowed) stop(e ending) {
	w.stopped.Do(func() {
		w.how = e
		w.cancel()
	})
}

// isOver tells whether the replay takes no acknowledgements any more.
func (w *windowed) isOver() bool {
	select {
	case <-w.ended:
		return true
	default:
		return false
	}
}

// over releases what the replay has.
func (w *windowed) over() {
	w.stop(endSilent)
	if w.consumer != nil {
		w.consumer.Close()
	}
	w.f.replays.remove(w)
	w.outlet.Close()
	close(w.ended)
}

// run delivers until the replay is over.
func (w *windowed) run() error {
	defer w.over()
	if !w.Follow && w.last == 0 { // an empty channel has no last offset to stop at
		w.stop(endOver)
	}
	member := consumer.Member{
		ID: onlyMember, Options: delivery.MemberOptions{MaxInFlight: w.Window, AckWait: w.ackWait}, Sink: w,
	}
	if err := w.consumer.Join(member); err != nil {
		return err
	}
	if !w.channel.Exists() { // deleted before channelGone could know of this replay
		w.stop(endOver)
	}
	w.attend()
	w.consumer.Close()
	w.stop(endSilent) // when ctx ended without it: how may be read from here on
	if w.how != endSilent {
		w.outlet.Send(w.to, nil, appendEnding(nil, w.how, w.channel.Name(), w.place.Floor()+1), nil, nil)
		w.outlet.Flush()
	}
	return nil
}

// attend looks after the connection and the receiver until the replay is
// stopped.
func (w *windowed) attend() {
	idle := time.NewTicker(interestDelay)
	defer idle.Stop()
	for {
		select {
		case <-w.full:
			if w.outlet.Drained(w.ctx, replayPendingLow) == nil {
				w.consumer.Resume(onlyMember)
			}
		case <-idle.C:
			if !w.f.bus.HasInterest(w.deliver) {
				w.stop(endSilent)
			}
		case <-w.ctx.Done():
			return
		}
	}
}

// Deliver implements consumer.Sink.
func (w *windowed) Deliver(run []consumer.Delivery) (full bool) {
	// Before they are sent: an acknowledgement may come at once.
	if last := uint64(run[len(run)-1].Offset); last > w.sent.Load() {
		w.sent.Store(last)
	}
	for i := range run {
		d := &run[i]
		if err := w.enc.encode(&d.Record, d.Count); err != nil {
			w.f.opts.Logger.Error("encode a record for delivery", "channel", w.channel.Name(), "error", err)
			w.stop(endSilent)
			return true
		}
		if w.outlet.Send(w.to, w.enc.reply, w.enc.header, d.Value, nil) == 0 {
			w.stop(endSilent)
			return true
		}
	}
	w.outlet.Flush()
	if w.outlet.Pending() <= replayPendingMax {
		return false
	}
	w.full <- struct{}{} // has room: the loop does not call again before Resume
	return true
}

// ackThrough acknowledges all up to an offset.
func (w *windowed) ackThrough(off record.Offset) {
	// What was not sent yet can't be acknowledged, or the next one of these
	// would begin too high.
	off = min(off, record.Offset(w.sent.Load()))
	from := w.through.Load()
	if uint64(off) <= from {
		return
	}
	w.consumer.AckRange(record.Offset(from)+1, off)
	// Two at once may each take in what the other has; that does no harm.
	w.through.CompareAndSwap(from, uint64(off))
}

// Advance implements consumer.Progress.
func (w *windowed) Advance(delta []byte, done func(error)) {
	w.channel.AdvanceCursor(cursorName(w.Durable), delta, func(err error) {
		if errors.Is(err, partition.ErrNoChannel) {
			err = nil // with the channel its cursors are gone
		}
		done(err)
	})
}

// channelSource shows a channel as package consumer wants to see it.
type channelSource struct{ c *partition.Channel }

// First implements consumer.Source.
func (s channelSource) First() record.Offset { return s.c.First() }

// Last implements consumer.Source.
func (s channelSource) Last() record.Offset { return s.c.Last() }

// Open implements consumer.Source.
func (s channelSource) Open(from record.Offset) consumer.Reader { return s.c.NewReader(from) }

// Watch implements consumer.Source.
func (s channelSource) Watch(notify func()) (cancel func()) { return s.c.Watch(notify) }
