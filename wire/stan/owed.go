package stan

import (
	"errors"
	"sync"
	"time"

	"leat.dev/leat/partition"
)

// owed is what has ended and could not be removed from the store, because the
// disk was full, say. Whoever ended it was told; here it is tried again until
// it is removed, so that it does not come back with the next start: a client
// library gives a subscription up whatever the answer was, and cannot ask again.
type owed struct {
	f    *Frontend
	wake chan struct{}

	mu   sync.Mutex
	list []removal // guarded by mu
}

// removal is one thing that has to go from the store.
type removal struct {
	at *partition.Partition
	// try returns nil when it is gone, or must not go any more because it has
	// been replaced.
	try func() error
}

// owedRetry is how long to wait before what failed is tried again.
const owedRetry = time.Second

// errLater is why a removal waits: what it is about is just being changed.
var errLater = errors.New("stan: in use, to be removed later")

func (o *owed) init(f *Frontend) { o.f, o.wake = f, make(chan struct{}, 1) }

func (o *owed) add(at *partition.Partition, try func() error) {
	o.mu.Lock()
	o.list = append(o.list, removal{at, try})
	o.mu.Unlock()
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// loop ends when the front-end closes.
func (o *owed) loop() {
	defer o.f.work.Done()
	for {
		var retry <-chan time.Time
		if o.pending() {
			retry = time.After(owedRetry)
		}
		select {
		case <-retry:
			o.round()
		case <-o.wake:
		case <-o.f.ctx.Done():
			return
		}
	}
}

func (o *owed) pending() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.list) > 0
}

// round tries all, but after a failure nothing more of that partition: what is
// wrong with one is wrong with the next.
func (o *owed) round() {
	o.mu.Lock()
	list := o.list
	o.list = nil
	o.mu.Unlock()
	failed := make(map[*partition.Partition]bool)
	kept := list[:0]
	for _, r := range list {
		if !failed[r.at] {
			err := r.try()
			if err == nil {
				continue
			}
			failed[r.at] = !errors.Is(err, errLater)
		}
		kept = append(kept, r)
	}
	o.mu.Lock()
	o.list = append(kept, o.list...)
	o.mu.Unlock()
}

// subscription removes a stored subscription. Its token is never given again.
func (o *owed) subscription(at *partition.Partition, token string) {
	o.add(at, func() error {
		return o.f.await(func(done func(error)) { at.DeleteSession(sessionSubscription, token, done) })
	})
}

// place removes the place of a group, unless the group has been made anew: that
// has replaced it.
func (o *owed) place(c *partition.Channel, kind groupKind, name string) {
	o.add(c.Partition(), func() error {
		g := o.f.groups.lookUp(o.f, c, kind, name)
		g.op.Lock()
		defer g.op.Unlock()
		switch {
		case g.dead:
			return errLater
		case g.channel != c || g.place != nil:
			return nil
		}
		defer o.f.groups.remove(g)
		return o.f.await(func(done func(error)) { c.DeleteCursor(name, goneIsGone(done)) })
	})
}

// client removes a stored client, unless one of its ID has connected.
func (o *owed) client(id string) {
	o.add(o.f.store.Of(id), func() error {
		c, err := o.f.clients.depart(id)
		if c == nil {
			return err
		}
		defer o.f.clients.forget(c)
		return o.f.await(func(done func(error)) { o.f.store.DeleteSession(sessionClient, id, done) })
	})
}

// goneIsGone takes it for success that the channel of a cursor is gone.
func goneIsGone(done func(error)) func(error) {
	return func(err error) {
		if errors.Is(err, partition.ErrNoChannel) {
			err = nil
		}
		done(err)
	}
}
