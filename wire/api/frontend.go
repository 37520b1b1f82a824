package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire"
)

// Prefix begins every subject of this front-end.
const Prefix = "$LEAT."

// Options says what the front-end serves.
type Options struct {
	Bus   wire.Bus
	Store *partition.Set
	// Node is told to whoever asks $LEAT.API.INFO.
	Node NodeInfo
	// RequestTimeout bounds what an administrative request may take; 10 s by
	// default.
	RequestTimeout time.Duration
	// RequestsMax bounds the replays under way, and the administrative requests;
	// what comes above it is refused; 16,384 by default. Each has a bound of its
	// own: too many replays must not keep anyone from administration.
	RequestsMax int
	Logger      *slog.Logger
	Now         func() time.Time
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.RequestTimeout <= 0 {
		o.RequestTimeout = 10 * time.Second
	}
	if o.RequestsMax <= 0 {
		o.RequestsMax = 16 << 10
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
}

// Validate says what is missing.
func (o *Options) Validate() error {
	if o.Bus == nil || o.Store == nil {
		return errors.New("api: Options need a Bus and a Store")
	}
	return nil
}

// NodeInfo describes the node that answers.
type NodeInfo struct {
	NodeID     string `json:"node_id"`
	ClusterID  string `json:"cluster_id"`
	Version    string `json:"version"`
	Partitions int    `json:"partitions"`
}

// Frontend serves the "$LEAT." subjects and the channels bound to subjects. Its
// goroutines are the requests under way, replays among them, and an acker for
// each partition; Close ends them.
type Frontend struct {
	opts    Options
	bus     wire.Bus
	store   *partition.Set
	ctx     context.Context // done when Close begins
	cancel  context.CancelFunc
	admin   chan struct{} // holds one while a request checks and changes bindings
	subs    []wire.Subscription
	cancels []func()
	replays replays
	work    sync.WaitGroup // requests under way
	ackers  []*wire.Acker  // one per partition

	sourcesMu sync.Mutex
	sources   map[uint64]*publisher // guarded by sourcesMu

	mu       sync.Mutex
	bindings map[*partition.Channel]binding // guarded by mu
	running  map[*plan]struct{}             // replays under way; guarded by mu
	closed   bool                           // guarded by mu
}

// Open begins to serve. The front-end is ready when it returns.
func Open(o Options) (*Frontend, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	f := &Frontend{
		opts: o, bus: o.Bus, store: o.Store, admin: make(chan struct{}, 1), sources: make(map[uint64]*publisher),
		bindings: make(map[*partition.Channel]binding), running: make(map[*plan]struct{}),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.replays.init()
	for range o.Store.Partitions() {
		f.ackers = append(f.ackers, wire.NewAcker(o.Bus))
	}
	for _, p := range o.Store.Partitions() {
		f.cancels = append(f.cancels, p.WatchChannels(f.channelChanged))
		p.Channels(func(c *partition.Channel) { f.channelChanged(partition.Change{Channel: c}) })
	}
	for pattern, h := range map[string]wire.Handler{
		Prefix + "PUB.>":    &publishHandler{f: f},
		Prefix + "REPLAY.>": &requestHandler{f: f, serve: f.serveReplay},
		Prefix + "ACK.>":    &ackHandler{f: f},
		Prefix + "API.>":    &requestHandler{f: f, serve: f.serveAdmin},
	} {
		s, err := f.bus.Subscribe(pattern, h)
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("serve %s: %w", pattern, err)
		}
		f.subs = append(f.subs, s)
	}
	return f, nil
}

// Close ends serving: nothing is taken in any more, replays end, and requests
// under way are waited for.
func (f *Frontend) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	bindings := f.bindings
	f.bindings = nil
	f.mu.Unlock()
	for _, cancel := range f.cancels {
		cancel()
	}
	for _, s := range f.subs {
		s.Close()
	}
	for _, b := range bindings {
		b.close()
	}
	f.cancel()
	f.work.Wait()
	wire.CloseAckers(f.ackers)
}

// ackerOf is the acker of the partition that a channel lives in.
func (f *Frontend) ackerOf(c *partition.Channel) *wire.Acker { return f.ackers[c.Partition().ID()] }

// binding is the subscriptions that feed one channel, by pattern.
type binding map[string]wire.Subscription

func (b binding) close() {
	for _, s := range b {
		s.Close()
	}
}

// channelChanged keeps subscriptions as the channels' settings say. The
// partition calls it when a change is applied, so before whoever asked for the
// change is answered.
func (f *Frontend) channelChanged(ch partition.Change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	c := ch.Channel
	var want []string
	if ch.Deleted {
		f.replays.channelGone(c)
	} else if c.Exists() {
		want = c.Config().Subjects
	}
	f.bind(c, want)
}

// bind makes the patterns that feed a channel those wanted. One that stays is
// left alone: a message must neither be missed nor stored twice on the way. Of
// new ones that overlap old ones it may be stored twice, which is less bad.
// The caller holds mu.
func (f *Frontend) bind(c *partition.Channel, want []string) {
	old := f.bindings[c]
	if len(old) == 0 && len(want) == 0 {
		return
	}
	now := make(binding, len(want))
	for _, pattern := range want {
		if s, ok := old[pattern]; ok {
			now[pattern] = s
			continue
		}
		f.endReplaysTo(pattern, c)
		s, err := f.bus.Subscribe(pattern, &publishHandler{f: f, channel: c})
		if err != nil {
			// Checked before it was logged, so only an older or foreign
			// writer can have let it in.
			f.opts.Logger.Error("bind a channel", "channel", c.Name(), "subject", pattern, "error", err)
			continue
		}
		now[pattern] = s
	}
	for pattern, s := range old {
		if now[pattern] == nil {
			s.Close()
		}
	}
	if len(now) == 0 {
		delete(f.bindings, c)
		return
	}
	f.bindings[c] = now
}
