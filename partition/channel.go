package partition

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"leat.dev/leat/segment/record"
)

// channelState says how far a channel's life has come.
type channelState uint32

const (
	// channelNew: known here, not yet created by an applied entry. It holds no
	// records and is not listed.
	channelNew channelState = iota
	channelLive
	channelDeleted
)

// Channel is a handle on one channel of a partition. It stays valid when the
// channel is deleted; what would change it returns ErrNoChannel then, for good,
// also when a channel of that name is made again: that one has another handle.
// All methods may be called at once from any goroutine.
type Channel struct {
	name string
	part *Partition

	state    atomic.Uint32 // channelState; written by Apply
	id       atomic.Uint64 // record.ChannelID; 0 until created; written by Apply
	first    atomic.Uint64 // record.Offset; last+1 when empty; written by Apply
	last     atomic.Uint64 // record.Offset; written by Apply
	lastNs   atomic.Int64  // time of the last record; written by Apply
	records  atomic.Uint64 // live records; written by Apply
	bytes    atomic.Uint64 // of the batches that hold them; written by Apply
	created  atomic.Int64  // ns; written by Apply
	settings atomic.Pointer[settings]

	reclaim runtime.Cleanup // of a new channel; guarded by names.mu

	proposed proposed // of the proposer

	dirty   bool // of Apply: to be written to the index
	touched bool // of Apply: watchers are to be told

	watchMu sync.Mutex
	watches []*watch // guarded by watchMu

	cursorMu sync.RWMutex
	cursors  map[string]*cursorState // guarded by cursorMu; written by Apply
}

// proposed is what a channel's state will be when all that was proposed in the
// epoch is applied.
type proposed struct {
	epoch    uint64
	id       record.ChannelID // 0: not created
	next     record.Offset
	settings *settings
	gone     bool
}

// Info is what is known of a channel at one moment.
type Info struct {
	Name     string
	ID       record.ChannelID
	First    record.Offset // Last+1 when the channel holds no record
	Last     record.Offset // 0 when there never was one
	LastTime int64         // ns since 1970, 0 when there never was a record
	Records  uint64
	Bytes    uint64
	Created  int64
	Config   Config
}

// Name is the channel's name.
func (c *Channel) Name() string { return c.name }

// Partition is the one that the channel lives in.
func (c *Channel) Partition() *Partition { return c.part }

// Exists tells whether the channel was created and not deleted.
func (c *Channel) Exists() bool { return channelState(c.state.Load()) == channelLive }

// Deleted tells whether the channel was deleted. Whoever keeps a handle to
// publish must look, and get another one by Ensure then.
func (c *Channel) Deleted() bool { return channelState(c.state.Load()) == channelDeleted }

// First is the lowest offset that can be read; Last()+1 when there is none.
func (c *Channel) First() record.Offset { return record.Offset(c.first.Load()) }

// Last is the highest offset that can be read, 0 when there never was one. It
// never goes down.
func (c *Channel) Last() record.Offset { return record.Offset(c.last.Load()) }

// LastTime is the time of the last record, ns since 1970.
func (c *Channel) LastTime() int64 { return c.lastNs.Load() }

// Config returns the channel's settings. What it points to must not be changed.
func (c *Channel) Config() Config {
	if s := c.settings.Load(); s != nil {
		return s.Config
	}
	return Config{}
}

func (c *Channel) codec() record.Codec {
	if s := c.settings.Load(); s != nil {
		return s.codec
	}
	return record.CodecNone
}

// Info returns what is known now. Its fields may be from moments that are an
// entry apart.
func (c *Channel) Info() Info {
	return Info{
		Name: c.name, ID: record.ChannelID(c.id.Load()),
		First: c.First(), Last: c.Last(), LastTime: c.LastTime(),
		Records: c.records.Load(), Bytes: c.bytes.Load(), Created: c.created.Load(),
		Config: c.Config(),
	}
}

// createBytes is what creating the channel may add to the entry of its first
// record; 0 when it was created.
func (c *Channel) createBytes() int {
	if channelState(c.state.Load()) != channelNew {
		return 0
	}
	return commandBytesMax + opBytesMax + 2*2 + len(c.name)
}

type watch struct{ notify func() }

// Watch calls notify after every change of what can be read: records applied,
// records trimmed, the channel deleted. notify is called by the goroutine that
// applies; it must only wake someone. Changes may be told of together. After
// cancel returned it is not called any more, except by a call under way.
func (c *Channel) Watch(notify func()) (cancel func()) {
	w := &watch{notify: notify}
	c.watchMu.Lock()
	c.watches = append(c.watches, w)
	c.watchMu.Unlock()
	return func() {
		c.watchMu.Lock()
		defer c.watchMu.Unlock()
		for i, o := range c.watches {
			if o == w {
				// Copied, because wake iterates over the old slice without the lock.
				c.watches = append(append([]*watch(nil), c.watches[:i]...), c.watches[i+1:]...)
				return
			}
		}
	}
}

// wake is called by Apply.
func (c *Channel) wake() {
	c.watchMu.Lock()
	ws := slices.Clip(c.watches)
	c.watchMu.Unlock()
	for _, w := range ws {
		w.notify()
	}
}
