package partition

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

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
	// Registerer takes the metrics. Default: none.
	Registerer prometheus.Registerer
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
// (one goroutine each) and Start, Close (the owner).
//
// Lock order: indexMu, stateMu, then names.mu or a channel's cursorMu; fence,
// then mu. With mu held none of the first chain is taken.
type Partition struct {
	opts            Options
	metrics         *metrics
	payloadBytesMax int // of an entry
	appendBytesMax  int // of one Append: a new channel's creation goes with it
	frameBytes      int // ends the gathering of an entry
	wg              sync.WaitGroup
	closing         sync.Once
	closeErr        error

	// State that Apply writes, and the flusher reads, with stateMu held.
	stateMu        sync.Mutex
	byID           map[record.ChannelID]*Channel
	sessions       sessions
	appliedTerm    uint64
	batch          record.Batch // scratch
	dirty          []*Channel
	touched        []*Channel
	changes        []Change
	deleted        []record.ChannelID
	deletedCursors []cursorKey
	// The same, but anyone may read it.
	names          names
	committed      atomic.Uint64 // entries up to it are final; not below applied
	applied        atomic.Uint64
	appliedChannel atomic.Uint64 // highest channel id
	appliedTime    atomic.Int64  // highest time

	flush   flusher
	indexMu sync.Mutex // held while a batch of the index is made and committed
	// Extents of segments up to indexed are in the index, and only of segments
	// that hold final entries.
	indexed  atomic.Uint64    // record.SegmentID
	unmarked record.SegmentID // marks below it are dropped; guarded by indexMu

	changeMu      sync.Mutex
	changeWatches []*changeWatch // guarded by changeMu; replaced, never changed

	// Of the proposer goroutine, but for epoch, which is guarded by mu: what will
	// be applied when all that was proposed in the epoch is.
	proposing struct {
		epoch   uint64
		channel uint64 // highest channel id given
		time    int64
	}

	fence sync.Mutex // held during Propose, and by Follow

	mu          sync.Mutex
	work        sync.Cond // on mu: the proposer may have something to do
	room        sync.Cond // on mu: the queue may have room, or does not matter
	proposer    Proposer  // nil before Start
	queue       []item    // waiting from head on
	head        int
	queueBytes  int
	flights     atomic.Int64 // entries under way; written with mu held
	idleFlights []*flight
	leading     bool
	term        uint64
	epoch       uint64      // counts calls of Lead
	patience    *time.Timer // until giveUp, while this node does not lead
	refusing    error       // what giveUp found; nil once this node leads
	stopErr     error
}

// Open loads the partition's state from its index, as far as that is. Entries
// after Applied come by Apply. Nothing is proposed before Start. An error that
// wraps index.ErrDamaged says that the index should be made anew.
func Open(o Options) (*Partition, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	p := &Partition{
		opts:            o,
		payloadBytesMax: o.Log.PayloadBytesMax(),
		names:           newNames(),
		byID:            make(map[record.ChannelID]*Channel),
		sessions:        newSessions(),
	}
	p.appendBytesMax = min(record.BatchBytesMax, p.payloadBytesMax-commandBytesMax-opBytesMax-2*2-record.ChannelNameBytesMax)
	p.frameBytes = min(frameBytesMax, p.payloadBytesMax)
	p.work.L, p.room.L = &p.mu, &p.mu
	var err error
	if p.metrics, err = newMetrics(o.Registerer); err != nil {
		return nil, fmt.Errorf("open partition %d: %w", o.ID, err)
	}
	if err := p.load(); err != nil {
		return nil, fmt.Errorf("open partition %d: %w", o.ID, err)
	}
	p.flush.start(p)
	return p, nil
}

// Start begins to propose through the given proposer, whenever Lead says that
// this node leads. What the log holds and is committed has been applied.
func (p *Partition) Start(proposer Proposer) {
	// An index that was empty has got none of the extents yet.
	p.IndexSealed()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proposer = proposer
	if !p.leading {
		p.leaderlessLocked()
	}
	p.wg.Add(1)
	go p.proposeLoop()
}

// Close ends proposing, answers what waits with ErrClosed, and writes the index
// up. What is under way still gets its outcome from the proposer, which must not
// call Apply any more. A second Close does nothing.
func (p *Partition) Close() error {
	p.closing.Do(func() {
		p.Fail(ErrClosed)
		p.wg.Wait()
		p.closeErr = p.flush.close()
	})
	return p.closeErr
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
	c := p.names.get(name)
	return c, c != nil
}

// Ensure returns the channel of that name. When there is none, it returns a
// channel that comes into being with what is first stored in it. A channel that
// is being deleted is returned until that is done.
func (p *Partition) Ensure(name string) (*Channel, error) { return p.names.ensure(p, name) }

// Channels calls visit with every channel that exists, in no order.
func (p *Partition) Channels(visit func(*Channel)) {
	for _, c := range p.names.list() {
		visit(c)
	}
}
