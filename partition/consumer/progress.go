package consumer

import "time"

// progress takes the cursor to the log, one entry at a time.
type progress struct {
	c       *Consumer
	delta   []byte
	result  chan error // of the entry under way; holds one
	logging bool       // an entry is under way
	dirtyAt time.Time  // when something to log was first seen; zero when there is nothing
	notTill time.Time  // no entry before that, after one failed
}

// turn takes the outcome of the last entry and starts the next if it is time.
func (p *progress) turn(now time.Time) {
	if p.c.opts.Progress == nil {
		return
	}
	if p.logging {
		select {
		case err := <-p.result:
			p.took(err)
			if err != nil {
				p.notTill = now.Add(p.c.opts.RetryDelay)
			}
		default:
		}
	}
	if !p.c.opts.Cursor.Dirty() {
		p.dirtyAt = time.Time{}
		return
	}
	if p.dirtyAt.IsZero() {
		p.dirtyAt = now
	}
	if at, ok := p.due(); ok && !now.Before(at) {
		p.advance()
	}
}

// due returns when the next entry is to be written, and whether there is one.
func (p *progress) due() (time.Time, bool) {
	if p.logging || p.dirtyAt.IsZero() {
		return time.Time{}, false
	}
	at := p.dirtyAt.Add(p.c.opts.LogInterval)
	if p.c.opts.Cursor.UnloggedAcks() >= uint64(p.c.opts.LogAcks) {
		at = p.dirtyAt
	}
	if at.Before(p.notTill) {
		at = p.notTill
	}
	return at, true
}

// advance starts an entry.
func (p *progress) advance() {
	p.delta = p.c.opts.Cursor.AppendDelta(p.delta[:0])
	p.logging, p.dirtyAt = true, time.Time{}
	p.c.opts.Progress.Advance(p.delta, func(err error) {
		p.result <- err
		p.c.signal()
	})
}

// took notes the outcome of the entry under way.
func (p *progress) took(err error) {
	p.logging = false
	if err != nil {
		p.c.opts.Cursor.Relog()
		p.c.opts.Logger.Warn("progress was not logged; acknowledged records may be sent again after a crash", "err", err)
	}
}

// rest logs what is left at the end, and waits for it.
func (p *progress) rest() {
	if p.c.opts.Progress == nil {
		return
	}
	if p.logging {
		p.took(<-p.result)
	}
	if p.c.opts.Cursor.Dirty() {
		p.advance()
		p.took(<-p.result)
	}
}
