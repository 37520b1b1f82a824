package partition

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"leat.dev/leat/index"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// Options says what a partition is made of. Log and Index are needed; they are
// the caller's to close, after the partition.
type Options struct {
	ID    uint32
	Log   *segment.Log
	Index *index.Partition
	// Now is the clock, ns since 1970; time.Now by default. It may jump: the
	// partition never lets times go back.
	Now func() int64
	// FlushDelay is how long the index may lag behind, 250 ms by default. A
	// longer one costs replay after a crash, a shorter one writes more.
	FlushDelay time.Duration
	Logger     *slog.Logger
}

// EnsureDefaults fills in what was left out.
func (o *Options) EnsureDefaults() {
	if o.Now == nil {
		o.Now = func() int64 { return time.Now().UnixNano() }
	}
	if o.FlushDelay <= 0 {
		o.FlushDelay = 250 * time.Millisecond
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

// Validate says what is missing.
func (o *Options) Validate() error {
	if o.Log == nil || o.Index == nil {
		return errors.New("partition: Options need a Log and an Index")
	}
	return nil
}

// Change tells of a channel that was created, set or deleted.
type Change struct {
	Channel *Channel
	Deleted bool
}

type changeWatch struct{ notify func(Change) }

// WatchChannels calls notify after a channel was created, set or deleted. notify
// is called by the goroutine that applies, in log order; it must not wait for
// anything of the partition. After cancel returned it is not called any more,
// except by a call under way.
func (p *Partition) WatchChannels(notify func(Change)) (cancel func()) {
	w := &changeWatch{notify: notify}
	p.changeMu.Lock()
	defer p.changeMu.Unlock()
	p.changeWatches = append(slices.Clone(p.changeWatches), w)
	return func() {
		p.changeMu.Lock()
		defer p.changeMu.Unlock()
		p.changeWatches = slices.DeleteFunc(slices.Clone(p.changeWatches), func(o *changeWatch) bool { return o == w })
	}
}

// Partition is one partition's state machine with its log and index. Its
// methods may be called at once from any goroutine, but for Apply, Lead, Follow
// (one goroutine each) and Start, Replay, Close (the owner).
type Partition struct {
	opts       Options
	proposer   Proposer // set by Start, with mu held
	frameBytes int      // ends the gathering of an entry
	wg         sync.WaitGroup

	// State that Apply writes. namesMu guards names against look-ups; byID and
	// the rest are of Apply alone.
	namesMu        sync.RWMutex
	names          map[string]*Channel
	byID           map[record.ChannelID]*Channel
	sessions       sessions
	applied        atomic.Uint64
	appliedTerm    uint64
	dirty          []*Channel
	touched        []*Channel
	changes        []Change
	deleted        []record.ChannelID
	deletedCursors []cursorKey
	flush          flusher
	sealMu         sync.Mutex    // held while extents are put into the index
	indexed        atomic.Uint64 // record.SegmentID: extents up to it are in the index

	changeMu      sync.Mutex
	changeWatches []*changeWatch // guarded by changeMu; replaced, never changed

	// Of the proposer goroutine: what will be applied when all that was proposed
	// under the term is.
	proposing struct {
		term    uint64
		channel uint64 // highest channel id given
		time    int64
	}

	mu             sync.Mutex
	work           sync.Cond // on mu: the proposer may have something to do
	room           sync.Cond // on mu: the queue may have room
	queue          []item
	queueBytes     int
	flights        int
	idleFlights    []*flight
	leading        bool
	term           uint64
	refusal        *time.Timer
	stopErr        error
	appliedChannel uint64 // highest channel id applied
	appliedTime    int64  // highest time applied
}

// Open loads the partition's state from its index, as far as that is. Entries
// after Applied come by Replay and Apply. Nothing is proposed before Start.
func Open(o Options) (*Partition, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Partition{
		opts:  o,
		names: make(map[string]*Channel),
		byID:  make(map[record.ChannelID]*Channel),
		sessions: sessions{
			byKey: make(map[sessionKey][]byte),
			dirty: make(map[sessionKey]struct{}),
		},
	}
	p.work.L, p.room.L = &p.mu, &p.mu
	p.frameBytes = min(frameBytesMax, o.Log.PayloadBytesMax()/2)
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("open partition %d: %w", o.ID, err)
	}
	p.flush.start(p)
	return p, nil
}

// Start begins to propose through the given proposer, whenever Lead says that
// this node leads.
func (p *Partition) Start(proposer Proposer) {
	p.mu.Lock()
	p.proposer = proposer
	p.mu.Unlock()
	p.wg.Add(1)
	go p.proposeLoop()
}

// Close ends proposing, answers what waits with ErrClosed, and writes the index
// up. The proposer must not call Apply any more.
func (p *Partition) Close() error {
	p.Fail(ErrClosed)
	p.mu.Lock()
	if p.refusal != nil {
		p.refusal.Stop()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return p.flush.close()
}

// ID is the partition's number.
func (p *Partition) ID() uint32 { return p.opts.ID }

func (p *Partition) newChannel(name string) *Channel {
	c := &Channel{name: name, part: p}
	c.first.Store(1)
	return c
}

// Channel returns the channel of that name, and false when it does not exist.
func (p *Partition) Channel(name string) (*Channel, bool) {
	p.namesMu.RLock()
	c := p.names[name]
	p.namesMu.RUnlock()
	if c == nil || !c.Exists() {
		return nil, false
	}
	return c, true
}

// Ensure returns the channel of that name. When there is none, it returns a
// channel that comes into being with what is first stored in it.
func (p *Partition) Ensure(name string) (*Channel, error) {
	p.namesMu.RLock()
	c := p.names[name]
	p.namesMu.RUnlock()
	if c != nil {
		return c, nil
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	p.namesMu.Lock()
	defer p.namesMu.Unlock()
	if c = p.names[name]; c == nil {
		c = p.newChannel(name)
		p.names[name] = c
	}
	return c, nil
}

// Create makes a channel with the given settings and returns when it is
// durable. A channel that exists with equal settings is as good as created; with
// others it is ErrChannelExists.
func (p *Partition) Create(ctx context.Context, name string, cfg Config) (*Channel, error) {
	if err := cfg.Validate(); err != nil {
		return nil, channelError(name, err)
	}
	c, err := p.Ensure(name)
	if err != nil {
		return nil, err
	}
	if old := c.Config(); c.Exists() && !old.Equal(&cfg) {
		return nil, channelError(name, ErrChannelExists)
	}
	// Preparing the item creates the channel; the settings follow in the same
	// entry, because a publish may have made the channel meanwhile.
	err = await(ctx, func(done func(error)) {
		p.operate(c, func(dst []byte) []byte {
			return appendOp(dst, opSetChannel, []uint64{uint64(c.proposed.id)}, cfg.encode())
		}, done)
	})
	if err != nil {
		return nil, channelError(name, err)
	}
	return c, nil
}

// Set changes a channel's settings and returns when that is durable.
func (c *Channel) Set(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return channelError(c.name, err)
	}
	return c.change(ctx, func(dst []byte) []byte {
		return appendOp(dst, opSetChannel, []uint64{uint64(c.proposed.id)}, cfg.encode())
	})
}

// Trim removes all records below first and returns when that is durable. Their
// offsets are not given anew.
func (c *Channel) Trim(ctx context.Context, first record.Offset) error {
	return c.change(ctx, func(dst []byte) []byte {
		// What is not there yet at this place in the log is not trimmed.
		return appendOp(dst, opTrimChannel, []uint64{uint64(c.proposed.id), uint64(min(first, c.proposed.next))})
	})
}

// Purge removes all records that are there when the change is logged.
func (c *Channel) Purge(ctx context.Context) error {
	return c.Trim(ctx, ^record.Offset(0))
}

// Delete removes the channel with its records and cursors, and returns when
// that is durable.
func (c *Channel) Delete(ctx context.Context) error {
	return c.change(ctx, func(dst []byte) []byte {
		c.proposed.gone = true
		return appendOp(dst, opDeleteChannel, []uint64{uint64(c.proposed.id)})
	})
}

func (c *Channel) change(ctx context.Context, op func(dst []byte) []byte) error {
	if !c.Exists() {
		return channelError(c.name, ErrNoChannel)
	}
	err := await(ctx, func(done func(error)) { c.part.operate(c, op, done) })
	return channelError(c.name, err)
}

// Channels calls visit with every channel that exists, in no order.
func (p *Partition) Channels(visit func(*Channel)) {
	p.namesMu.RLock()
	list := make([]*Channel, 0, len(p.names))
	for _, c := range p.names {
		if c.Exists() {
			list = append(list, c)
		}
	}
	p.namesMu.RUnlock()
	for _, c := range list {
		visit(c)
	}
}
