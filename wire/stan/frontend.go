package stan

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"leat.dev/leat/partition"
	"leat.dev/leat/wire"
)

// Kinds of sessions that this front-end stores.
const (
	sessionClient       byte = 'C' // name: client ID
	sessionSubscription byte = 'S' // name: the token of its ack inbox
	sessionMark         byte = 'M' // name: markStopped
)

// subjects are the ones that clients talk to.
type subjects struct {
	discover, pings, publish, subscribe, unsubscribe, subClose, close string

	// Inboxes of this front-end, one subscription for each kind.
	acks, heartbeats string // with the dot at the end
}

// Frontend serves NATS Streaming clients. Its goroutines are the heartbeat
// loop, the interest loop, the loop of removals that are owed, an acker for each
// partition, the consumers of subscriptions, and one for each client that has
// requests under way; Close ends them.
type Frontend struct {
	opts     Options
	bus      wire.Bus
	store    *partition.Set
	subjects subjects
	ctx      context.Context // done when Close begins
	cancel   context.CancelFunc
	work     sync.WaitGroup

	channels   channels
	clients    clients
	heartbeats heartbeats
	groups     groups
	interest   interest
	owed       owed
	ackers     []*wire.Acker // one per partition
	pendings   *sync.Pool

	subs    []wire.Subscription
	cancels []func()

	// deletions counts deleted channels: handles that were looked up before
	// may be stale.
	deletions atomic.Uint64

	mu       sync.Mutex
	sources  map[uint64]*source // guarded by mu
	requests int                // connect requests under way; guarded by mu
	closed   bool               // guarded by mu
	served   bool               // Open was through; guarded by mu
}

// Open restores clients and subscriptions, and begins to serve. The front-end
// is ready when it returns.
func Open(o Options) (*Frontend, error) {
	o.EnsureDefaults()
	if err := o.Validate(); err != nil {
		return nil, err
	}
	id := o.ClusterID
	f := &Frontend{
		opts: o, bus: o.Bus, store: o.Store, sources: make(map[uint64]*source),
		subjects: subjects{
			discover:    o.DiscoverPrefix + "." + id,
			pings:       o.DiscoverPrefix + "." + id + ".pings",
			publish:     "_STAN.pub." + id,
			subscribe:   "_STAN.sub." + id,
			unsubscribe: "_STAN.unsub." + id,
			subClose:    "_STAN.subclose." + id,
			close:       "_STAN.close." + id,
			acks:        "_INBOX." + id + "-acks.",
			heartbeats:  "_INBOX." + id + "-hb." + token() + ".",
		},
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.channels.init(f)
	f.clients.init()
	f.pendings = newPendings()
	f.heartbeats.init(f)
	f.groups.init()
	f.interest.init(f)
	f.owed.init(f)
	for range o.Store.Partitions() {
		f.ackers = append(f.ackers, wire.NewAcker(o.Bus))
	}
	for _, p := range o.Store.Partitions() {
		f.cancels = append(f.cancels, p.WatchChannels(f.channelChanged))
	}
	for _, c := range o.Store.Channels() {
		f.channels.add(c.Name())
	}
	if err := f.restore(); err != nil {
		f.Close()
		return nil, fmt.Errorf("restore clients and subscriptions: %w", err)
	}
	if err := f.serve(); err != nil {
		f.Close()
		return nil, err
	}
	f.mu.Lock()
	f.served = true
	f.mu.Unlock()
	return f, nil
}

// serve subscribes to what clients send. Connect requests come last, because
// with them it all begins.
func (f *Frontend) serve() error {
	f.work.Add(3)
	go f.heartbeats.loop()
	go f.interest.loop()
	go f.owed.loop()
	for _, h := range []struct {
		pattern string
		take    func(*source, *wire.Msg)
	}{
		{f.subjects.heartbeats + "*", f.heartbeats.answered},
		{f.subjects.acks + "*", f.takeAck},
		{f.subjects.publish + ".>", f.takePublish},
		{f.subjects.pings, f.takePing},
		{f.subjects.subscribe, f.takeSubscribe},
		{f.subjects.unsubscribe, f.takeUnsubscribe},
		{f.subjects.subClose, f.takeSubClose},
		{f.subjects.close, f.takeClose},
		{f.subjects.discover, f.takeConnect},
	} {
		s, err := f.bus.Subscribe(h.pattern, &handler{f: f, take: h.take})
		if err != nil {
			return fmt.Errorf("serve %s: %w", h.pattern, err)
		}
		f.subs = append(f.subs, s)
	}
	return nil
}

// Close ends serving: nothing is taken in any more, deliveries end, and
// requests under way are waited for. Clients and subscriptions stay stored; the
// next Open goes on with them.
func (f *Frontend) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	served := f.served
	f.mu.Unlock()
	for _, s := range f.subs {
		s.Close()
	}
	for _, cancel := range f.cancels {
		cancel()
	}
	f.cancel()
	f.work.Wait()
	f.closeConsumers()
	if served && !f.doubtful() {
		f.markStopped()
	}
	f.heartbeats.close()
	wire.CloseAckers(f.ackers)
}

// begin counts a goroutine in, unless Close has begun.
func (f *Frontend) begin() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.work.Add(1)
	return true
}

// await calls the function with a callback, and waits for that to be called.
func (f *Frontend) await(start func(done func(error))) error {
	done := make(chan error, 1)
	start(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-f.ctx.Done():
		return errShutdown
	}
}

// answer sends a response, if one is wanted.
func (f *Frontend) answer(reply string, data []byte) {
	if reply != "" {
		f.bus.Publish(reply, "", nil, data)
	}
}

// inboxIn tells whether the subject is one of this front-end's inboxes, and
// returns its last token.
func inboxIn(prefix string, subject []byte) (token []byte, ok bool) {
	if len(subject) <= len(prefix) || string(subject[:len(prefix)]) != prefix {
		return nil, false
	}
	return subject[len(prefix):], true
}

// channelChanged follows channels that others make and delete. The partition's
// applying goroutine calls it.
func (f *Frontend) channelChanged(ch partition.Change) {
	name := strings.Clone(ch.Channel.Name())
	if ch.Deleted {
		f.deletions.Add(1)
		f.channels.remove(name)
		f.channelDeleted(ch.Channel)
		return
	}
	f.channels.add(name)
}
