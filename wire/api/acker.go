package api

import (
	"strconv"
	"sync"
	"time"

	"leat.dev/leat/wire"
)

// acker writes the acknowledgements of one partition, in a goroutine of its own.
//
// Why not where the partition says that an Append is done: a reply subject may
// be one that a channel is bound to, so that an acknowledgement is itself
// stored, which waits while the partition's queue is full, which it stays until
// that very goroutine goes on.
type acker struct {
	outlet wire.Outlet // of run
	body   []byte      // of run
	ended  chan struct{}

	mu      sync.Mutex
	work    sync.Cond  // on mu: done, owed or closed has changed
	room    sync.Cond  // on mu: bytes has gone down
	done    []*pending // guarded by mu
	bytes   int        // of reply subjects that are owed an answer; guarded by mu
	owed    int        // Appends that are filled or under way; guarded by mu
	closed  bool       // no source waits any more; guarded by mu
	expired bool       // what is owed is not waited for any more; guarded by mu
}

const (
	// ackBytesMax bounds the reply subjects that are held. Sources wait above
	// it.
	ackBytesMax = 64 << 20
	// ackCloseWait is how long Close waits for what was published to be stored
	// and acknowledged.
	ackCloseWait = 2 * time.Second
)

func newAcker(bus wire.Bus) *acker {
	k := &acker{outlet: bus.Outlet(), ended: make(chan struct{})}
	k.work.L, k.room.L = &k.mu, &k.mu
	go k.run()
	return k
}

// begin says that an Append is being filled. It ends with take or drop.
func (k *acker) begin() {
	k.mu.Lock()
	k.owed++
	k.mu.Unlock()
}

// drop says that the outcome of an Append interests nobody.
func (k *acker) drop() {
	k.mu.Lock()
	k.owed--
	k.mu.Unlock()
	k.work.Signal()
}

// expect says that an Append is about to be given away that holds that many
// bytes of reply subjects. It waits while there are too many, unless the source
// is this process: then it may be run itself that would wait.
func (k *acker) expect(n int, internal bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.bytes > ackBytesMax && !internal && !k.closed {
		k.room.Wait()
	}
	k.bytes += n
}

// take takes an outcome that was expected. It never waits.
func (k *acker) take(p *pending) {
	k.mu.Lock()
	k.done = append(k.done, p)
	k.mu.Unlock()
	k.work.Signal()
}

// close ends the acker when all that is owed is answered, or soon.
func (k *acker) close() {
	k.mu.Lock()
	k.closed = true
	k.mu.Unlock()
	k.room.Broadcast()
	k.work.Signal()
	timer := time.AfterFunc(ackCloseWait, func() {
		k.mu.Lock()
		k.expired = true
		k.mu.Unlock()
		k.work.Signal()
	})
	<-k.ended
	timer.Stop()
}

// run answers until close.
func (k *acker) run() {
	defer close(k.ended)
	defer k.outlet.Close()
	var taken []*pending
	for {
		k.mu.Lock()
		for len(k.done) == 0 && !(k.closed && (k.owed == 0 || k.expired)) {
			k.work.Wait()
		}
		taken, k.done = k.done, taken[:0]
		k.mu.Unlock()
		if len(taken) == 0 {
			return
		}
		bytes := 0
		for _, p := range taken {
			bytes += len(p.replies)
			k.answer(p)
		}
		k.outlet.Flush()
		k.mu.Lock()
		k.bytes -= bytes
		k.owed -= len(taken)
		k.mu.Unlock()
		k.room.Broadcast()
		for i, p := range taken {
			taken[i] = nil
			p.recycle()
		}
	}
}

// answer answers every publisher of an Append that waits for it.
func (k *acker) answer(p *pending) {
	if p.err != nil {
		k.body = appendRefusal(k.body[:0], p.channel.Name(), p.err)
	} else {
		k.body = append(k.body[:0], `{"stream":`...)
		k.body = appendJSONString(k.body, p.channel.Name())
		k.body = append(k.body, `,"seq":`...)
	}
	fixed := len(k.body)
	start := 0
	for i, end := range p.ends {
		if reply := p.replies[start:end]; len(reply) > 0 {
			if p.err == nil {
				k.body = strconv.AppendUint(k.body[:fixed], uint64(p.base)+uint64(i), 10)
				k.body = append(k.body, '}')
			}
			k.outlet.Send(reply, nil, nil, k.body, nil)
		}
		start = end
	}
}
