package consumer_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/consumer"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// channel is a source in memory: batches as they would lie in a segment.
type channel struct {
	mu      sync.Mutex
	batches [][]byte
	first   record.Offset
	last    record.Offset
	watches map[int]func()
	watched int
	broken  error
	opened  int
	paused  int
}

func newChannel() *channel { return &channel{first: 1, watches: map[int]func(){}} }

// publish appends one batch of n records; record k has the value "v<k>".
func (c *channel) publish(t testing.TB, n int) {
	c.mu.Lock()
	var b record.Builder
	b.Reset("orders")
	for k := range n {
		b.AppendValue(fmt.Appendf(nil, "v%d", int(c.last)+1+k))
	}
	raw := b.Finish(record.CodecNone)
	record.Stamp(raw, 7, c.last+1, 1, 1000)
	c.batches = append(c.batches, raw)
	c.last += record.Offset(n)
	c.mu.Unlock()
	c.notify()
}

// trim moves the first offset.
func (c *channel) trim(first record.Offset) {
	c.mu.Lock()
	c.first = first
	c.mu.Unlock()
	c.notify()
}

func (c *channel) breaks(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = err
}

// counts returns how many readers were opened, and paused.
func (c *channel) counts() (opened, paused int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.opened, c.paused
}

func (c *channel) notify() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.watches {
		w()
	}
}

func (c *channel) First() record.Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.first
}

func (c *channel) Last() record.Offset {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.last
}

func (c *channel) Watch(notify func()) func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.watched
	c.watched++
	c.watches[id] = notify
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.watches, id)
	}
}

func (c *channel) Open(from record.Offset) consumer.Reader {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opened++
	return &reader{c: c, next: from}
}

// reader scribbles over what it returned before, as an unmapped segment would.
type reader struct {
	c    *channel
	next record.Offset
	buf  []byte
}

func (r *reader) Next(b *record.Batch) (int, bool, error) {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	if r.c.broken != nil {
		return 0, false, r.c.broken
	}
	r.scribble()
	r.next = max(r.next, r.c.first)
	for _, raw := range r.c.batches {
		r.buf = append([]byte(nil), raw...)
		if _, err := record.ParseBatch(r.buf, b); err != nil {
			return 0, false, err
		}
		if b.Last() < r.next {
			continue
		}
		first := 0
		if b.Base < r.next {
			first = int(r.next - b.Base)
		}
		r.next = b.Last() + 1
		return first, true, nil
	}
	return 0, false, nil
}

func (r *reader) scribble() {
	for i := range r.buf {
		r.buf[i] = '!'
	}
}

func (r *reader) Pause() {
	r.c.mu.Lock()
	defer r.c.mu.Unlock()
	r.c.paused++
	r.scribble()
}

func (r *reader) Close() { r.scribble() }

// receiver is a sink that remembers and checks what it gets.
type receiver struct {
	t   testing.TB
	mu  sync.Mutex
	got []string // "5" or "5×2" when it was sent twice before
	max int      // full when so many were taken since the last drain; 0 is never
	n   int
}

func (r *receiver) Deliver(run []consumer.Delivery) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range run {
		d := &run[i]
		require.Equal(r.t, fmt.Sprintf("v%d", d.Offset), string(d.Value), "the value belongs to the offset")
		require.EqualValues(r.t, 1000, d.Time)
		s := fmt.Sprint(d.Offset)
		if d.Redelivered() {
			s = fmt.Sprintf("%d×%d", d.Offset, d.Count)
		}
		r.got = append(r.got, s)
	}
	r.n += len(run)
	return r.max > 0 && r.n >= r.max
}

// take returns what came since the last take.
func (r *receiver) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got, r.n = nil, 0
	return got
}

// logbook is a log of progress that a replica follows.
type logbook struct {
	t       testing.TB
	mu      sync.Mutex
	replica *cursor.Cursor
	entries int
	held    []func(error) // entries under way, when hold is set
	hold    bool
	err     error
}

func newLogbook(t testing.TB) *logbook { return &logbook{t: t, replica: cursor.New(1)} }

func (l *logbook) Advance(delta []byte, done func(error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries++
	if l.err != nil {
		done(l.err)
		return
	}
	require.NoError(l.t, l.replica.ApplyDelta(delta))
	if l.hold {
		l.held = append(l.held, done)
		return
	}
	done(nil)
}

// set changes how the log behaves from now on, and ends what it held up.
func (l *logbook) set(hold bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hold, l.err = hold, err
	for _, done := range l.held {
		done(nil)
	}
	l.held = nil
}

func (l *logbook) state() (string, int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replica.String(), l.entries
}

var errDisk = errors.New("disk on fire")
