package stan

import (
	"strings"
	"sync"

	"leat.dev/leat/partition"
)

// channels knows the names of channels, to keep those apart that differ only by
// case, and to count them.
type channels struct {
	f      *Frontend
	mu     sync.RWMutex
	folded map[string]string // in lower case → as it is; guarded by mu
}

func (cs *channels) init(f *Frontend) { cs.f, cs.folded = f, make(map[string]string) }

// add notes a channel that exists. When one of the same letters in other case
// exists too, the first counts; another front-end made the second.
func (cs *channels) add(name string) {
	key := strings.ToLower(name)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, ok := cs.folded[key]; !ok {
		cs.folded[key] = name
	}
}

func (cs *channels) remove(name string) {
	key := strings.ToLower(name)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.folded[key] == name {
		delete(cs.folded, key)
	}
}

// ensure returns the channel of that name, which comes into being with what is
// stored in it first. It refuses names that are no channel's (the error wraps
// partition.ErrChannelName), that differ from another one only by case, and new
// ones above the limit.
func (cs *channels) ensure(name string) (*partition.Channel, error) {
	if c, ok := cs.f.store.Channel(name); ok {
		return c, nil
	}
	if err := partition.ValidateName(name); err != nil {
		return nil, err
	}
	key := strings.ToLower(name)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	other, known := cs.folded[key]
	switch {
	case known && other != name:
		return nil, caseConflict(name, other)
	case !known && cs.f.opts.ChannelsMax > 0 && len(cs.folded) >= cs.f.opts.ChannelsMax:
		return nil, errTooManyChannels
	}
	c, err := cs.f.store.Ensure(name)
	if err != nil {
		return nil, err
	}
	cs.folded[key] = name
	return c, nil
}

// unmade takes the name of a channel back that did not come into being.
func (cs *channels) unmade(c *partition.Channel) {
	if !c.Exists() {
		cs.remove(c.Name())
	}
}
