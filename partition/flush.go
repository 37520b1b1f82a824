package partition

import (
	"sync"
	"time"

	"leat.dev/leat/index"
	"leat.dev/leat/segment/record"
)

// flusher writes the state to the index, behind the appliers back: after the
// first change it waits for FlushDelay, puts all that changed until then into
// one write batch together with `applied`, and commits that. So the index lags
// by no more than FlushDelay and one commit, also when nothing comes any more.
// Losing a batch costs replay, no more; but a later one must not follow a lost
// one, as its `applied` would say that nothing is missing. So the first failure
// is the last commit.
type flusher struct {
	p    *Partition
	wg   sync.WaitGroup
	wake chan struct{} // there is something to write
	full chan struct{} // and so much that it should be written now
	quit chan struct{}

	written uint64 // applied in the last batch; guarded by Partition.stateMu

	mu    sync.Mutex
	fault error // failed commit; guarded by mu
}

// dirtyMax is the number of changed channels at which the index is written
// although it is not time yet, so that a batch stays small.
const dirtyMax = 64 << 10

func (f *flusher) start(p *Partition) {
	f.p = p
	f.wake, f.full, f.quit = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{})
	f.written = p.applied.Load()
	f.wg.Add(1)
	go f.flushLoop()
}

// due is called by Apply.
func (f *flusher) due(full bool) {
	select {
	case f.wake <- struct{}{}:
	default:
	}
	if !full {
		return
	}
	select {
	case f.full <- struct{}{}:
	default:
	}
}

// flushLoop is started by Open and ended by Close, after it has written what
// there is.
func (f *flusher) flushLoop() {
	defer f.wg.Done()
	timer := time.NewTimer(f.p.opts.FlushDelay)
	defer timer.Stop()
	for {
		select {
		case <-f.quit:
			f.flush()
			return
		case <-f.wake:
		}
		timer.Reset(f.p.opts.FlushDelay)
		select {
		case <-f.quit:
		case <-f.full:
		case <-timer.C:
		}
		f.flush()
	}
}

// flush writes what changed. Only flushLoop calls it.
func (f *flusher) flush() {
	p := f.p
	p.indexMu.Lock()
	defer p.indexMu.Unlock()
	if f.failure() != nil {
		p.stateMu.Lock()
		p.forgetChanges()
		p.stateMu.Unlock()
		return
	}
	p.stateMu.Lock()
	if p.applied.Load() == f.written {
		p.stateMu.Unlock()
		return
	}
	b := p.stateBatch()
	f.written = p.applied.Load()
	p.stateMu.Unlock()
	err := b.Commit()
	p.metrics.flushes.Inc()
	if err == nil {
		return
	}
	f.mu.Lock()
	f.fault = err
	f.mu.Unlock()
	p.metrics.flushFailed.Set(1)
	p.opts.Logger.Error("the index is not written any more, the next start has to replay from here",
		"partition", p.opts.ID, "error", err)
}

func (f *flusher) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fault
}

func (f *flusher) close() error {
	close(f.quit)
	f.wg.Wait()
	return f.failure()
}

// stateBatch makes one write batch of everything that changed, and of applied.
// The caller holds stateMu.
func (p *Partition) stateBatch() *index.Batch {
	b := p.opts.Index.NewBatch()
	for _, id := range p.deleted {
		b.DeleteChannel(id)
	}
	for _, k := range p.deletedCursors {
		b.DeleteCursor(k.channel, k.name)
	}
	var buf []byte
	for _, c := range p.dirty {
		if !c.Exists() {
			continue
		}
		id := record.ChannelID(c.id.Load())
		buf = c.appendState(buf[:0])
		b.PutChannel(id, buf)
		for name, s := range c.cursors { // written with stateMu held only
			if s.dirty {
				buf = p.cursorValue(c, name, s, buf[:0])
				b.PutCursor(id, name, buf)
			}
		}
	}
	for k := range p.sessions.dirty {
		if v, ok := p.sessions.byKey[k]; ok {
			b.PutSession(k.kind, k.name, v)
		} else {
			b.DeleteSession(k.kind, k.name)
		}
	}
	b.PutChannel(0, p.appendMachine(buf[:0]))
	b.SetApplied(p.applied.Load(), p.appliedTerm)
	p.forgetChanges()
	return b
}

// forgetChanges empties the lists of what has to be written. The caller holds
// stateMu.
func (p *Partition) forgetChanges() {
	p.deleted, p.deletedCursors = p.deleted[:0], p.deletedCursors[:0]
	for _, c := range p.dirty {
		c.dirty = false
		for _, s := range c.cursors {
			s.dirty = false
		}
	}
	clear(p.dirty)
	p.dirty = p.dirty[:0]
	clear(p.sessions.dirty)
}
