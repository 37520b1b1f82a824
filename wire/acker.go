package wire

import (
	"sync"
	"time"
)

// An Acker tells publishers what became of the records that they gave to one
// partition, in a goroutine of its own, which CloseAckers ends. Its methods may
// be called by anyone at any time before that.
//
// Why not where the partition says that records are stored: a reply subject may
// be one that a channel is bound to, so that an acknowledgement is itself
// stored, which waits while the partition's queue is full, which it stays until
// that very goroutine goes on.
type Acker struct {
	outlet Outlet // of run
	ended  chan struct{}

	mu      sync.Mutex
	work    sync.Cond // on mu: done, owed, closed or expired has changed
	room    sync.Cond // on mu: bytes has gone down
	done    []Outcome // guarded by mu
	bytes   int       // that are held for acknowledgements; guarded by mu
	owed    int       // begun and not answered; guarded by mu
	closed  bool      // no source waits any more; guarded by mu
	expired bool      // what is owed is not waited for any more; guarded by mu
}

// An Outcome is what became of a run of records, for those who published them.
type Outcome interface {
	// HeldBytes is what it holds until it is answered.
	HeldBytes() int
	// Answer sends the acknowledgements. It may use scratch, and returns it.
	Answer(out Outlet, scratch []byte) []byte
	// Answered is called when the acknowledgements are on their way. The Acker
	// does not touch the Outcome afterwards.
	Answered()
}

const (
	// ackBytesMax bounds what is held. Sources wait above it.
	ackBytesMax = 64 << 20
	// ackCloseWait is how long CloseAckers waits for what was published to be
	// stored and acknowledged.
	ackCloseWait = 2 * time.Second
)

// NewAcker starts an Acker that answers by the bus.
func NewAcker(bus Bus) *Acker {
	k := &Acker{outlet: bus.Outlet(), ended: make(chan struct{})}
	k.work.L, k.room.L = &k.mu, &k.mu
	go k.run()
	return k
}

// Begin says that a run of records is being put together. CloseAckers waits for
// it until Take or Drop.
func (k *Acker) Begin() {
	k.mu.Lock()
	k.owed++
	k.mu.Unlock()
}

// Drop ends what Begin began: the outcome interests nobody.
func (k *Acker) Drop() {
	k.mu.Lock()
	k.owed--
	k.mu.Unlock()
	k.work.Signal()
}

// Expect says that a run is about to be given away that holds that many bytes.
// It waits while too much is held, unless the source is this process: then it
// may be the Acker itself that would wait.
func (k *Acker) Expect(bytes int, internal bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.bytes > ackBytesMax && !internal && !k.closed {
		k.room.Wait()
	}
	k.bytes += bytes
}

// Take takes the outcome of a run that was begun and expected. It never waits.
func (k *Acker) Take(o Outcome) {
	k.mu.Lock()
	k.done = append(k.done, o)
	k.mu.Unlock()
	k.work.Signal()
}

// CloseAckers ends ackers when all that is owed is answered, or after two
// seconds. Nothing may begin any more.
func CloseAckers(ackers []*Acker) {
	for _, k := range ackers {
		k.set(&k.closed)
	}
	timer := time.AfterFunc(ackCloseWait, func() {
		for _, k := range ackers {
			k.set(&k.expired)
		}
	})
	defer timer.Stop()
	for _, k := range ackers {
		<-k.ended
	}
}

func (k *Acker) set(flag *bool) {
	k.mu.Lock()
	*flag = true
	k.mu.Unlock()
	k.room.Broadcast()
	k.work.Signal()
}

// run answers until it is closed.
func (k *Acker) run() {
	defer close(k.ended)
	defer k.outlet.Close()
	var taken []Outcome
	var scratch []byte
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
		for _, o := range taken {
			bytes += o.HeldBytes()
			scratch = o.Answer(k.outlet, scratch)
		}
		k.outlet.Flush()
		k.mu.Lock()
		k.bytes -= bytes
		k.owed -= len(taken)
		k.mu.Unlock()
		k.room.Broadcast()
		for i, o := range taken {
			taken[i] = nil
			o.Answered()
		}
	}
}
