package stan

import (
	"sync"
	"time"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// acker writes the acknowledgements of one partition, in a goroutine of its
// own.
//
// Why not where the partition says that an Append is done: a client may give a
// reply subject that a channel is stored from, so that an acknowledgement is
// itself stored. That waits while the partition's queue is full, which it stays
// until that very goroutine goes on.
type acker struct {
	outlet wire.Outlet // of run
	body   []byte      // of run
	ended  chan struct{}

	mu      sync.Mutex
	work    sync.Cond  // on mu: done, closed or expired has changed
	room    sync.Cond  // on mu: bytes has gone down
	done    []*pending // guarded by mu
	bytes   int        // that are held for acknowledgements; guarded by mu
	owed    int        // Appends that were given away and are not answered; guarded by mu
	closed  bool       // no source waits any more; guarded by mu
	expired bool       // what is owed is not waited for any more; guarded by mu
}

const (
	// ackBytesMax bounds the reply subjects and guids that are held. Sources
	// wait above it.
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

// expect says that an Append is about to be given away. It waits while too much
// is held, unless the source is this process: then it may be run itself that
// would wait.
func (k *acker) expect(bytes int, internal bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.bytes > ackBytesMax && !internal && !k.closed {
		k.room.Wait()
	}
	k.bytes += bytes
	k.owed++
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
			bytes += len(p.arena)
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
			p.s.landed(p) // barriers are behind the acknowledgements
			p.recycle()
		}
	}
}

// answer answers every publisher of an Append.
func (k *acker) answer(p *pending) {
	ack := pb.PubAck{}
	if p.err != nil {
		ack.Error = []byte(told(p.err).Error())
	}
	start := 0
	for i := 0; i < len(p.ends); i += 2 {
		reply, guid := p.arena[start:p.ends[i]], p.arena[p.ends[i]:p.ends[i+1]]
		start = p.ends[i+1]
		if len(reply) == 0 {
			continue
		}
		ack.GUID = guid
		k.body = ack.Append(k.body[:0])
		k.outlet.Send(reply, nil, nil, k.body, nil)
	}
}
