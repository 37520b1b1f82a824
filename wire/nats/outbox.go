package nats

import (
	"sync"
	"sync/atomic"
	"time"
)

// outbox is what waits to be written to one connection. Many fill it; the
// connection's write loop empties it.
type outbox struct {
	pool       *bufferPool
	pendingMax int64

	// pending counts the bytes that are queued or being written. It is
	// changed under mu and may be read by anyone.
	pending atomic.Int64
	// moved is when bytes last began or ended to be written, as nanoseconds
	// of the wall clock.
	moved atomic.Int64
	// wake has room for one signal to the write loop.
	wake chan struct{}

	mu       sync.Mutex // a leaf: no other lock is taken under it
	queue    [][]byte
	asleep   bool          // the write loop waits for wake
	closed   bool          // nothing more is taken
	progress chan struct{} // closed at the next write or close; nil if nobody waits
	msgs     uint64        // sent so far
	bytes    uint64
}

// verdict is what became of bytes given to an outbox.
type verdict uint8

const (
	taken    verdict = iota
	overfull         // taken, but the receiver must be cut off
	refused          // closed
)

// kickBytes is how much must be waiting to start the write loop before the
// source is through with its read.
const kickBytes = 64 << 10

// push takes b, which holds that many messages. With handOver it may keep b
// itself, and kept is true if it does. kick starts the write loop.
func (o *outbox) push(b []byte, msgs int, payload int, handOver, kick bool) (v verdict, kept bool) {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return refused, false
	}
	if len(b) > 0 {
		if handOver {
			o.queue = append(o.queue, b)
			kept = true
		} else {
			o.appendLocked(b)
		}
		v = o.grownLocked(len(b), msgs, payload)
	}
	o.unlockAndKick(kick)
	return v, kept
}

// pushPieces takes one message that comes in pieces.
func (o *outbox) pushPieces(msgs, payload int, kick bool, pieces ...[]byte) verdict {
	o.mu.Lock()
	if o.closed {
		o.mu.Unlock()
		return refused
	}
	n := 0
	for _, b := range pieces {
		o.appendLocked(b)
		n += len(b)
	}
	v := o.grownLocked(n, msgs, payload)
	o.unlockAndKick(kick)
	return v
}

// appendLocked copies b to the end of the queue.
func (o *outbox) appendLocked(b []byte) {
	if n := len(o.queue); n > 0 {
		last := o.queue[n-1]
		room := min(cap(last)-len(last), len(b))
		o.queue[n-1] = append(last, b[:room]...)
		b = b[room:]
	}
	for len(b) > 0 {
		size := len(b)
		if len(o.queue) > 0 {
			size = largeBytes // there is more than a little to say
		}
		buf := o.pool.get(size)
		room := min(cap(buf), len(b))
		o.queue = append(o.queue, append(buf, b[:room]...))
		b = b[room:]
	}
}

func (o *outbox) grownLocked(n, msgs, payload int) verdict {
	o.msgs += uint64(msgs)
	o.bytes += uint64(payload)
	if o.pending.Add(int64(n)) > o.pendingMax {
		return overfull
	}
	return taken
}

// unlockAndKick ends a push. Without kick the write loop is left asleep as long
// as little is waiting: the source will kick when it is through.
func (o *outbox) unlockAndKick(kick bool) {
	signal := o.asleep && len(o.queue) > 0 && (kick || o.pending.Load() >= kickBytes)
	if signal {
		o.asleep = false
	}
	o.mu.Unlock()
	if signal {
		o.wake <- struct{}{} // has room: asleep was true
	}
}

// take gives the whole queue to the write loop and leaves it empty instead. It
// blocks until there is something, or the outbox is closed and empty: ok is
// false then.
func (o *outbox) take(empty [][]byte) (queue [][]byte, ok bool) {
	o.mu.Lock()
	for len(o.queue) == 0 {
		if o.closed {
			o.mu.Unlock()
			return empty, false
		}
		o.asleep = true
		o.mu.Unlock()
		<-o.wake
		o.mu.Lock()
	}
	queue, o.queue = o.queue, empty
	o.mu.Unlock()
	o.moved.Store(time.Now().UnixNano())
	return queue, true
}

// written accounts for n bytes that the write loop is through with.
func (o *outbox) written(n int) {
	o.moved.Store(time.Now().UnixNano())
	o.mu.Lock()
	o.pending.Add(-int64(n))
	o.progressedLocked()
	o.mu.Unlock()
}

func (o *outbox) progressedLocked() {
	if o.progress != nil {
		close(o.progress)
		o.progress = nil
	}
}

// above returns a channel that is closed when something was written or the
// outbox closed, or nil if no more than limit bytes are pending.
func (o *outbox) above(limit int64) <-chan struct{} {
	if o.pending.Load() <= limit {
		return nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || o.pending.Load() <= limit {
		return nil
	}
	if o.progress == nil {
		o.progress = make(chan struct{})
	}
	return o.progress
}

// close lets nothing more in. What is queued is left to the write loop, or
// dropped.
func (o *outbox) close(drop bool) {
	o.mu.Lock()
	o.closed = true
	if drop {
		for i, b := range o.queue {
			o.pending.Add(-int64(len(b)))
			o.pool.put(b)
			o.queue[i] = nil
		}
		o.queue = nil
	}
	o.progressedLocked()
	signal := o.asleep
	o.asleep = false
	o.mu.Unlock()
	if signal {
		o.wake <- struct{}{}
	}
}

// sent returns the messages and payload bytes sent so far.
func (o *outbox) sent() (msgs, bytes uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.msgs, o.bytes
}
