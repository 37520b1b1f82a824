package partition

import (
	"fmt"
	"runtime"
	"sync"
	"weak"
)

// names finds channels by name.
//
// Problem: Ensure gives a handle on a channel that does not exist, and all who
// ask for the name before it is created must get the same one, or records would
// be proposed for two channels of one name. But most names that were only asked
// for are never written to, and a client can make any number of them.
//
// So live channels are held here, and new ones are held by those who use them
// alone: a front-end, an item in the queue, an entry on its way. When nobody
// does any more, nobody can tell that the name was asked for, and the collector
// takes the channel.
type names struct {
	mu    sync.RWMutex
	live  map[string]*Channel              // guarded by mu; written by Apply
	fresh map[string]weak.Pointer[Channel] // guarded by mu; not in live
}

func newNames() names {
	return names{live: make(map[string]*Channel), fresh: make(map[string]weak.Pointer[Channel])}
}

// get returns a live channel or nil.
func (n *names) get(name string) *Channel {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.live[name]
}

// ensure returns the channel of the name, which it makes if need be.
func (n *names) ensure(p *Partition, name string) (*Channel, error) {
	if c := n.find(name); c != nil {
		return c, nil
	}
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.findLocked(name); c != nil {
		return c, nil
	}
	c := p.newChannel(name)
	n.fresh[name] = weak.Make(c)
	c.reclaim = runtime.AddCleanup(c, n.forget, name)
	return c, nil
}

func (n *names) find(name string) *Channel {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.findLocked(name)
}

func (n *names) findLocked(name string) *Channel {
	if c := n.live[name]; c != nil {
		return c
	}
	return n.fresh[name].Value()
}

// forget is called by the runtime when a new channel was collected.
func (n *names) forget(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if w, ok := n.fresh[name]; ok && w.Value() == nil {
		delete(n.fresh, name)
	}
}

// create makes the channel of the name live: the one that was given out, if it
// is still there. Called by Apply; become is called before anyone else can see
// that it is live.
func (n *names) create(p *Partition, name string, become func(*Channel)) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c := n.live[name]; c != nil {
		return fmt.Errorf("channel %q exists already as %d", name, c.id.Load())
	}
	c := n.fresh[name].Value()
	if c == nil {
		c = p.newChannel(name)
	}
	c.reclaim.Stop()
	delete(n.fresh, name)
	become(c)
	n.live[name] = c
	return nil
}

// remove takes a deleted channel's name back. Called by Apply.
func (n *names) remove(c *Channel) {
	n.mu.Lock()
	defer n.mu.Unlock()
	c.state.Store(uint32(channelDeleted))
	delete(n.live, c.name)
}

// list returns the live channels.
func (n *names) list() []*Channel {
	n.mu.RLock()
	defer n.mu.RUnlock()
	list := make([]*Channel, 0, len(n.live))
	for _, c := range n.live {
		list = append(list, c)
	}
	return list
}
