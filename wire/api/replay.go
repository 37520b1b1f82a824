package api

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// ReplayRequest asks for records of a channel.
type ReplayRequest struct {
	// From is where to begin; "first" by default. A durable replay that exists
	// goes on where it was, and From is not used.
	From From `json:"from,omitzero"`
	// Count ends the replay after so many records; 0 is no limit. Records sent
	// again do not count.
	Count uint64 `json:"count,omitempty"`
	// Follow goes on with records that are stored later. Without it the replay
	// ends at what was the last record when it began.
	Follow bool `json:"follow,omitempty"`
	// Deliver is the subject to deliver to; the request's reply subject by
	// default. When it is given, the request is answered with a ReplayAnswer.
	Deliver string `json:"deliver,omitempty"`
	// Meta says how offset and time of a record travel: "headers" (the
	// default), "reply" or "none"; see Meta.
	Meta Meta `json:"meta,omitempty"`
	// Window is how many records may be unacknowledged, at most WindowMax. 0
	// asks for no acknowledgements at all: records are sent as fast as the
	// connection takes them.
	Window int `json:"window,omitempty"`
	// AckWait is how long a record may be unacknowledged before it is sent
	// again; "30s" by default. It needs a window.
	AckWait string `json:"ack_wait,omitempty"`
	// Durable names the place that acknowledgements move, so that a later
	// replay of that name goes on after it. Its window is 1,024 by default.
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

// Limits of a replay with acknowledgements.
const (
	WindowMax      = 65536
	windowDefault  = 1024
	ackWaitDefault = 30 * time.Second
	ackWaitMin     = 10 * time.Millisecond
	ackWaitMax     = 24 * time.Hour
)

// Deliveries stop when more than replayPendingMax bytes wait for the receiver's
// connection, and go on below replayPendingLow.
const (
	replayPendingMax = 4 << 20
	replayPendingLow = 1 << 20
	// interestDelay is how often an idle replay is looked after: nobody tells
	// when a subscriber goes.
	interestDelay = 5 * time.Second
)

// An ending is the status line by which a receiver learns that nothing more
// comes. The empty one is not told.
type ending string

const (
	endSilent  ending = ""
	endOver    ending = "204 End Of Replay"
	endTaken   ending = "409 Taken Over"
	endReset   ending = "409 Cursor Reset"
	endDeleted ending = "410 Cursor Deleted"
)

// plan is a request that was checked.
type plan struct {
	ReplayRequest
	channel *partition.Channel
	deliver string
	from    record.Offset
	last    record.Offset // of the channel when it began
	ackWait time.Duration
	id      uint64
	ctx     context.Context // of the replay
	cancel  context.CancelFunc
}

// serveReplay answers $LEAT.REPLAY.<channel>. It returns when the replay is
// over.
func (f *Frontend) serveReplay(ctx context.Context, r *request) (any, error) {
	p, err := f.plan(r)
	if err != nil {
		return nil, err
	}
	p.ctx, p.cancel = context.WithCancel(f.ctx)
	defer p.cancel()
	if err := f.beginReplay(p); err != nil {
		return nil, err
	}
	defer f.endReplay(p)
	if p.Window == 0 {
		// Before the first record, so that whoever asked knows what comes.
		f.answerReplay(r, p)
		return nil, newReplay(f, p).run(p.ctx)
	}
	w, err := f.newWindowed(ctx, p)
	if err != nil {
		return nil, err
	}
	f.answerReplay(r, p)
	return nil, w.run()
}

// beginReplay counts a replay in, unless a channel would store what it delivers.
// A replay into its own channel would never end, nor would two that feed each
// other's.
func (f *Frontend) beginReplay(p *plan) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !strings.HasPrefix(p.deliver, inboxPrefix) { // checkPattern keeps channels off those
		for c, b := range f.bindings {
			for pattern := range b {
				if overlap(pattern, p.deliver) {
					return fmt.Errorf("%w: can't deliver to %q: channel %q is bound to %q and would store it", errBadRequest,
						p.deliver, c.Name(), pattern)
				}
			}
		}
	}
	f.running[p] = struct{}{}
	return nil
}

func (f *Frontend) endReplay(p *plan) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.running, p)
}

// endReplaysTo ends the replays that deliver to a pattern which a channel is
// about to be bound to. They are not told, as the channel would get that. The
// caller holds mu.
func (f *Frontend) endReplaysTo(pattern string, c *partition.Channel) {
	for p := range f.running {
		if overlap(pattern, p.deliver) {
			f.opts.Logger.Warn("end a replay whose inbox a channel gets bound to", "channel", p.channel.Name(),
				"deliver", p.deliver, "bound", c.Name(), "subject", pattern)
			p.cancel()
		}
	}
}

func (f *Frontend) answerReplay(r *request, p *plan) {
	if p.Deliver != "" {
		f.answer(r, ReplayAnswer{
			Replay: formatReplay(p.id), Channel: p.channel.Name(), From: uint64(p.from), Last: uint64(p.last), Deliver: p.deliver,
		}, nil)
	}
}

// plan checks a request.
func (f *Frontend) plan(r *request) (*plan, error) {
	p := &plan{ackWait: ackWaitDefault, deliver: r.reply}
	if err := r.decode(&p.ReplayRequest); err != nil {
		return nil, err
	}
	if err := errors.Join(p.checkWindow(), p.Meta.check()); err != nil {
		return nil, err
	}
	if p.Deliver != "" {
		p.deliver = p.Deliver
	}
	if err := checkDeliver(p.deliver); err != nil {
		return nil, err
	}
	if !f.bus.HasInterest(p.deliver) {
		return nil, fmt.Errorf("%w: nobody is subscribed to %q: subscribe before asking for a replay", errBadRequest, p.deliver)
	}
	name := strings.TrimPrefix(r.subject, Prefix+"REPLAY.")
	var ok bool
	if p.channel, ok = f.store.Channel(name); !ok {
		return nil, noChannel(name)
	}
	p.last = p.channel.Last()
	var err error
	if p.from, err = p.From.resolve(f.opts.Now(), p.channel); err != nil {
		return nil, err
	}
	if p.from > cursor.OffsetMax {
		return nil, fmt.Errorf("%w: from %d, at most %d", errBadRequest, p.from, cursor.OffsetMax)
	}
	p.id, err = newReplayID()
	return p, err
}

// checkWindow completes what is asked of acknowledgements.
func (p *plan) checkWindow() error {
	if p.Durable != "" {
		if err := checkDurable(p.Durable); err != nil {
			return err
		}
		if p.Window == 0 {
			p.Window = windowDefault
		}
	}
	if p.Window < 0 || p.Window > WindowMax {
		return fmt.Errorf("%w: window %d, want 1 to %d, or 0 for no acknowledgements", errBadRequest, p.Window, WindowMax)
	}
	if p.AckWait == "" {
		return nil
	}
	if p.Window == 0 {
		return fmt.Errorf("%w: ack_wait without a window: nothing is acknowledged", errBadRequest)
	}
	d, err := time.ParseDuration(p.AckWait)
	if err != nil || d < ackWaitMin || d > ackWaitMax {
		return fmt.Errorf("%w: ack_wait %q, want %s to %s, as in \"30s\"", errBadRequest, p.AckWait, ackWaitMin, ackWaitMax)
	}
	p.ackWait = d
	return nil
}

// checkDeliver says why records can't be delivered to a subject.
func checkDeliver(s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: no subject to deliver to: give a reply subject, or deliver", errBadRequest)
	case len(s) > record.SubjectBytesMax, strings.HasPrefix(s, Prefix), strings.ContainsAny(s, "*> \t\r\n"),
		s[0] == '.', s[len(s)-1] == '.', strings.Contains(s, ".."):
		return fmt.Errorf("%w: can't deliver to %.80q: want a literal subject outside of %s", errBadRequest, s, Prefix)
	}
	return nil
}

// newReplayID returns a number that nobody can guess: whoever knows it can
// acknowledge. That it is not counted keeps an acknowledgement for an earlier
// life of the node from acknowledging something else in this one.
func newReplayID() (uint64, error) {
	var b [8]byte
	if _, err := rand.Read(b[:]); err != nil {
		return 0, fmt.Errorf("make a replay's number: %w", err)
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

const replayIDBase = 36

func formatReplay(id uint64) string { return strconv.FormatUint(id, replayIDBase) }

// replays are those under way that are acknowledged.
type replays struct {
	mu       sync.Mutex
	byID     map[uint64]*windowed     // guarded by mu
	durables map[durableKey]*windowed // guarded by mu
}

// durableKey names a durable replay. A channel that is deleted and made again
// is another one.
type durableKey struct {
	channel *partition.Channel
	name    string
}

func (rs *replays) init() {
	rs.byID, rs.durables = make(map[uint64]*windowed), make(map[durableKey]*windowed)
}

func (rs *replays) find(id uint64) *windowed {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	return rs.byID[id]
}

var errSameReplay = errors.New("two replays have the same number")

func (rs *replays) add(w *windowed) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byID[w.id] != nil {
		return errSameReplay
	}
	rs.byID[w.id] = w
	return nil
}

func (rs *replays) remove(w *windowed) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if rs.byID[w.id] == w {
		delete(rs.byID, w.id)
	}
	if k := w.key(); rs.durables[k] == w {
		delete(rs.durables, k)
	}
}

// claim makes w the replay that moves its cursor. One that is under way is
// ended and waited for.
func (rs *replays) claim(ctx context.Context, w *windowed, e ending) error {
	for {
		rs.mu.Lock()
		old := rs.durables[w.key()]
		if old == nil {
			rs.durables[w.key()] = w
			rs.mu.Unlock()
			return nil
		}
		rs.mu.Unlock()
		told := e
		if old.deliver == w.deliver {
			told = endSilent // the receiver asked again; its replay goes on
		}
		old.stop(told)
		select {
		case <-old.ended:
		case <-ctx.Done():
			return fmt.Errorf("wait for the durable replay %q that is under way: %w", w.Durable, ctx.Err())
		}
	}
}

// channelGone ends the replays of a channel that was deleted.
func (rs *replays) channelGone(c *partition.Channel) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, w := range rs.byID {
		if w.channel == c {
			w.stop(endOver)
		}
	}
}
