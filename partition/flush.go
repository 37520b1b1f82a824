package partition

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"leat.dev/leat/index"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// flusher writes the state to the index, behind the appliers back: Apply puts
// all that changed since the last time into one write batch together with
// `applied`, and a goroutine commits it. At most one batch is under way; what
// changes meanwhile waits for the next. Losing any of it costs replay, no more.
type flusher struct {
	p        *Partition
	wg       sync.WaitGroup
	batches  chan *index.Batch
	idle     chan struct{} // holds a token while no batch is under way
	last     time.Time     // of Apply: when the last batch was made
	lastSeen uint64        // of Apply: applied in the last batch
	err      error         // of the committer; read after it ended

	mu    sync.Mutex
	fault error // first failed commit; guarded by mu
}

func (f *flusher) start(p *Partition) {
	f.p = p
	f.batches = make(chan *index.Batch, 1)
	f.idle = make(chan struct{}, 1)
	f.idle <- struct{}{}
	f.last = time.Unix(0, p.opts.Now())
	f.lastSeen = p.applied.Load()
	f.wg.Add(1)
	go f.commitLoop()
}

func (f *flusher) commitLoop() {
	defer f.wg.Done()
	for b := range f.batches {
		if err := b.Commit(); err != nil {
			f.mu.Lock()
			if f.fault == nil {
				f.fault = err
				// Once, because every batch after it will fail alike, and
				// nothing is lost by it but time at the next start.
				f.p.opts.Logger.Error("write the index", "partition", f.p.opts.ID, "error", err)
			}
			f.mu.Unlock()
		}
		f.idle <- struct{}{}
	}
}

// dirtyMax is the number of changed channels at which the index is written
// although it is not time yet, so that a batch stays small.
const dirtyMax = 64 << 10

// maybeFlush is called by Apply.
func (p *Partition) maybeFlush() {
	now := time.Unix(0, p.opts.Now())
	if now.Sub(p.flush.last) < p.opts.FlushDelay && len(p.dirty) < dirtyMax {
		return
	}
	select {
	case <-p.flush.idle:
		p.flush.last = now
		p.flush.batches <- p.stateBatch()
	default: // the last one is still being written
	}
}

func (f *flusher) close() error {
	<-f.idle
	if f.p.applied.Load() > f.lastSeen || len(f.p.dirty) > 0 {
		f.batches <- f.p.stateBatch()
	}
	close(f.batches)
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

// stateBatch makes one write batch of everything that changed, and of applied.
func (p *Partition) stateBatch() *index.Batch {
	b := p.opts.Index.NewBatch()
	for _, id := range p.deleted {
		b.DeleteChannel(id)
	}
	p.deleted = p.deleted[:0]
	for _, k := range p.deletedCursors {
		b.DeleteCursor(k.channel, k.name)
	}
	p.deletedCursors = p.deletedCursors[:0]
	var buf []byte
	for i, c := range p.dirty {
		p.dirty[i], c.dirty = nil, false
		if !c.Exists() {
			continue
		}
		buf = c.appendState(buf[:0])
		b.PutChannel(record.ChannelID(c.id.Load()), buf)
		for name, s := range c.cursors { // written by Apply only, which this is part of
			if s.dirty {
				s.dirty = false
				buf = s.appendState(buf[:0])
				b.PutCursor(record.ChannelID(c.id.Load()), name, buf)
			}
		}
	}
	p.dirty = p.dirty[:0]
	for k := range p.sessions.dirty {
		if v, ok := p.sessions.byKey[k]; ok {
			b.PutSession(k.kind, k.name, v)
		} else {
			b.DeleteSession(k.kind, k.name)
		}
	}
	clear(p.sessions.dirty)
	b.PutChannel(0, p.appendMachine(buf[:0]))
	p.flush.lastSeen = p.applied.Load()
	b.SetApplied(p.flush.lastSeen, p.appliedTerm)
	return b
}

// A channel's state in the index:
//
//	uvarints: created, first, last, time of the last, records, bytes;
//	then name and config, each with its length as a uvarint.
//
// Under channel id 0 lies what belongs to no channel: uvarints of the highest
// channel id given and the highest time.
func (c *Channel) appendState(dst []byte) []byte {
	for _, v := range []uint64{
		uint64(c.created), c.first.Load(), c.last.Load(), uint64(c.lastNs.Load()), c.records.Load(), c.bytes.Load(),
	} {
		dst = binary.AppendUvarint(dst, v)
	}
	cfg := c.Config()
	for _, s := range [][]byte{[]byte(c.name), cfg.encode()} {
		dst = binary.AppendUvarint(dst, uint64(len(s)))
		dst = append(dst, s...)
	}
	return dst
}

func (p *Partition) loadChannel(id record.ChannelID, value []byte) error {
	f := fields{b: value}
	if id == 0 {
		p.appliedChannel, p.appliedTime = f.uint(), int64(f.uint())
		return f.err
	}
	created, first, last, lastNs, records, bytes := f.uint(), f.uint(), f.uint(), f.uint(), f.uint(), f.uint()
	name, config := string(f.bytes()), f.bytes()
	if f.err != nil {
		return fmt.Errorf("channel %d: %w", id, f.err)
	}
	cfg, err := decodeConfig(config)
	if err != nil {
		return fmt.Errorf("channel %q: %w", name, err)
	}
	c := p.newChannel(name)
	if err := c.setConfig(cfg); err != nil {
		return err
	}
	c.created = int64(created)
	c.id.Store(uint64(id))
	c.first.Store(first)
	c.last.Store(last)
	c.lastNs.Store(int64(lastNs))
	c.records.Store(records)
	c.bytes.Store(bytes)
	c.state.Store(uint32(channelLive))
	p.names[name] = c
	p.byID[id] = c
	return nil
}

func (p *Partition) appendMachine(dst []byte) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	dst = binary.AppendUvarint(dst, p.appliedChannel)
	return binary.AppendUvarint(dst, uint64(p.appliedTime))
}

// A cursor's state in the index: its meta with the length in front as a uvarint,
// then the place as package cursor encodes it.
func (s *cursorState) appendState(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s.meta)))
	dst = append(dst, s.meta...)
	return s.place.AppendTo(dst)
}

func decodeCursorState(value []byte) (*cursorState, error) {
	f := fields{b: value}
	meta := append([]byte(nil), f.bytes()...)
	if f.err != nil {
		return nil, f.err
	}
	place, err := cursor.Decode(f.b)
	if err != nil {
		return nil, err
	}
	return &cursorState{meta: meta, place: place}, nil
}

// load fills an empty partition from its index.
func (p *Partition) load() error {
	x := p.opts.Index
	applied, term, err := x.Applied()
	if err != nil {
		return err
	}
	if last, _ := p.opts.Log.Last(); applied > last {
		// The index knows more than the log: it is from another life of this
		// folder. The log is what counts.
		p.opts.Logger.Warn("the index is ahead of the log and is made anew", "partition", p.opts.ID,
			"applied", applied, "last", last)
		if err := x.Reset(); err != nil {
			return err
		}
		applied, term = 0, 0
	}
	p.applied.Store(applied)
	p.appliedTerm = term
	if err := x.Channels(p.loadChannel); err != nil {
		return err
	}
	err = x.AllCursors(func(id record.ChannelID, name string, value []byte) error {
		c := p.byID[id]
		if c == nil {
			return fmt.Errorf("cursor %q belongs to channel %d, which does not exist", name, id)
		}
		s, err := decodeCursorState(value)
		if err != nil {
			return fmt.Errorf("channel %q: cursor %q: %w", c.name, name, err)
		}
		if c.cursors == nil {
			c.cursors = make(map[string]*cursorState)
		}
		c.cursors[name] = s
		return nil
	})
	if err != nil {
		return err
	}
	for kind := range 256 {
		err := x.Sessions(byte(kind), func(name string, value []byte) error {
			p.sessions.byKey[sessionKey{byte(kind), name}] = append([]byte(nil), value...)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return p.indexSealed()
}
