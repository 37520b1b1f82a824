package consumer

import (
	"time"

	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

const (
	// flushBytes is how much is gathered for the sinks before they are asked
	// whether they are full.
	flushBytes = 256 << 10

	// feedHold is how long the log is held on to without reading.
	feedHold = 100 * time.Millisecond
)

// feed reads for the loop: new records forward by one reader, old ones by
// another, so that redelivery does not throw the first one back.
type feed struct {
	source    Source
	tail, old place
	bytes     int // gathered since the last flush
	usedAt    time.Time
}

// place is a reader and the batch that it is at.
type place struct {
	reader Reader
	next   record.Offset // the reader's, when batch is not valid
	batch  record.Batch
	first  record.Offset // in batch; those before are not to be read
	valid  bool          // batch may be looked at
}

// has reports whether the batch at hand has the offset.
func (p *place) has(o record.Offset) bool {
	return p.valid && o >= p.first && o <= p.batch.Last()
}

// seek moves to the batch with the first record at or after o, which makes the
// batch before invalid. It returns that record's offset, or false when there
// is none.
func (p *place) seek(s Source, o record.Offset) (record.Offset, bool, error) {
	if p.reader == nil || o != p.next {
		p.close()
		p.reader = s.Open(o)
	}
	first, ok, err := p.reader.Next(&p.batch)
	if err != nil || !ok {
		p.close()
		return 0, false, err
	}
	p.first = p.batch.Base + record.Offset(first)
	p.next = p.batch.Last() + 1
	p.valid = true
	return max(o, p.first), true, nil
}

func (p *place) close() {
	if p.reader != nil {
		p.reader.Close()
	}
	*p = place{}
}

// pause gives up the log. The readers keep their places.
func (f *feed) pause() {
	for _, p := range []*place{&f.tail, &f.old} {
		if p.reader != nil {
			p.reader.Pause()
		}
		p.valid = false
	}
}

// holds reports whether there is anything to give up.
func (f *feed) holds() bool { return f.tail.valid || f.old.valid }

func (f *feed) close() {
	f.tail.close()
	f.old.close()
}

// send reads what the action names and gathers it for the member. What does
// not fit is left for later. On an error it returns what was not read.
func (l *loop) send(m *member, a delivery.Send) (rest delivery.Send, err error) {
	p := &l.feed.tail
	if a.Redelivered() {
		p = &l.feed.old
	}
	for ; a.From <= a.To; a.From++ {
		if l.feed.bytes >= flushBytes {
			l.flush()
		}
		if !p.has(a.From) {
			l.flush() // while what was gathered is valid
			if !m.full {
				if a, err = l.seek(p, a); err != nil || a.From > a.To {
					return a, err
				}
			}
		}
		if m.full {
			l.hold(a)
			return a, nil
		}
		if err := l.gather(m, p, a); err != nil {
			return a, err
		}
	}
	return a, nil
}

// seek moves the place to the action's first record, past those that are gone.
func (l *loop) seek(p *place, a delivery.Send) (delivery.Send, error) {
	at, ok, err := p.seek(l.feed.source, a.From)
	if err != nil {
		return a, err
	}
	if !ok || at > a.To {
		at = a.To + 1
	}
	if at > a.From {
		l.g.Gone(a.From, at-1)
		a.From = at
	}
	return a, nil
}

// gather adds the action's first record to the member's run.
func (l *loop) gather(m *member, p *place, a delivery.Send) error {
	n := len(m.run)
	if n < cap(m.run) {
		m.run = m.run[:n+1]
		m.run[n] = Delivery{}
	} else {
		m.run = append(m.run, Delivery{})
	}
	d := &m.run[n]
	if err := p.batch.Record(int(a.From-p.batch.Base), &d.Record); err != nil {
		m.run = m.run[:n]
		return err
	}
	d.Count = a.Count
	l.feed.bytes += len(d.Key) + len(d.Subject) + len(d.Headers) + len(d.Value)
	return nil
}

// sendPending sends what of an action from a while ago is still the member's
// to get: acknowledgements may have come, and a queue may have given records to
// another member. AckWait starts anew.
func (l *loop) sendPending(now time.Time, m *member, a delivery.Send) (rest delivery.Send, err error) {
	if l.c.opts.Delivery.Acks == delivery.AckNone {
		return l.send(m, a)
	}
	mine := func(o record.Offset) bool {
		id, ok := l.g.Owner(o)
		return ok && id == m.id
	}
	for a.From <= a.To {
		o, ok := l.g.Cursor().NextPending(a.From - 1)
		if !ok || o > a.To {
			break
		}
		a.From = o + 1
		if !mine(o) {
			continue
		}
		part := a
		part.From, part.To = o, o
		for part.To < a.To && mine(part.To+1) {
			part.To++
		}
		a.From = part.To + 1
		l.g.Touch(now.UnixNano(), part.From, part.To)
		if rest, err := l.send(m, part); err != nil {
			rest.To = a.To
			return rest, err
		}
		if m.full && a.From <= a.To {
			l.hold(a)
			break
		}
	}
	return a, nil
}

// flush hands the members what was gathered for them.
func (l *loop) flush() {
	l.feed.bytes = 0
	for _, m := range l.members {
		if len(m.run) == 0 {
			continue
		}
		if m.sink.Deliver(m.run) {
			m.full = true
			l.g.Pause(m.id)
		}
		m.run = m.run[:0]
	}
}
