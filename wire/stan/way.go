package stan

import (
	"context"
	"sync"
	"time"

	"leat.dev/leat/partition/consumer"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// Deliveries to one member stop when more than wayPendingMax bytes wait for its
// connection, and go on below wayPendingLow.
const (
	wayPendingMax = 4 << 20
	wayPendingLow = 1 << 20
)

// way is the way to a subscription's inbox. It implements consumer.Sink.
//
// When nobody listens on the inbox (the client's connection is down, or the
// node was just started and clients have not come back), what was to be sent is
// remembered, and sent when somebody does; nothing else is sent meanwhile. The
// streaming server sends into the void, and again an AckWait later.
type way struct {
	s      *subscription
	inbox  []byte
	outlet wire.Outlet // of the consumer's loop; of who resumes while it is full
	ctx    context.Context
	cancel context.CancelFunc
	drains sync.WaitGroup
	prefix []byte // scratch, as outlet
	name   []byte

	mu     sync.Mutex
	lost   []lostRange // guarded by mu
	lostAt time.Time   // guarded by mu
}

// lostRange was to be sent while nobody listened.
type lostRange struct {
	from, to record.Offset
	count    uint32
}

func (f *Frontend) newWay(s *subscription) *way {
	w := &way{s: s, inbox: []byte(s.inbox), name: []byte(s.channelName()), outlet: f.bus.Outlet()}
	w.ctx, w.cancel = context.WithCancel(f.ctx)
	return w
}

// close ends it. The consumer must not call Deliver any more.
func (w *way) close() {
	w.cancel()
	w.drains.Wait()
	w.outlet.Close()
}

// Deliver implements consumer.Sink.
func (w *way) Deliver(run []consumer.Delivery) (full bool) {
	for i := range run {
		if !w.send(&run[i].Record, run[i].Count) {
			w.lose(run[i:])
			w.outlet.Flush()
			w.s.f.interest.add(w.s)
			return true
		}
	}
	w.outlet.Flush()
	if w.outlet.Pending() < wayPendingMax {
		return false
	}
	w.drain()
	return true
}

// send encodes one message; the stored value is copied once, by the outlet. It
// returns false when nobody listens.
func (w *way) send(r *record.Record, count uint32) bool {
	if count == 0 && r.Offset <= w.s.g.doubtTo {
		count = 1
	}
	m := pb.MsgProto{
		Sequence: uint64(r.Offset), Subject: w.name, Reply: replyOf(r), Timestamp: r.Time,
		Redelivered: count > 0, RedeliveryCount: count,
	}
	w.prefix = m.AppendPrefix(w.prefix[:0], len(r.Value))
	return w.outlet.Send(w.inbox, nil, nil, w.prefix, r.Value) > 0
}

func replyOf(r *record.Record) []byte {
	for list := r.Headers; len(list) > 0; {
		name, value, rest, err := record.NextHeader(list)
		if err != nil {
			return nil
		}
		if string(name) == HeaderReply {
			return value
		}
		list = rest
	}
	return nil
}

// lose remembers what could not be sent.
func (w *way) lose(run []consumer.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.lost) == 0 {
		w.lostAt = w.s.f.opts.Now()
	}
	for i := range run {
		o, count := run[i].Offset, run[i].Count
		if n := len(w.lost); n > 0 && w.lost[n-1].to+1 == o && w.lost[n-1].count == count {
			w.lost[n-1].to = o
			continue
		}
		w.lost = append(w.lost, lostRange{o, o, count})
	}
}

// drain waits until the connection has taken most of what is pending, and has
// the consumer go on.
func (w *way) drain() {
	w.drains.Go(func() {
		if w.outlet.Drained(w.ctx, wayPendingLow) == nil {
			w.resume()
		}
	})
}

func (w *way) resume() {
	if c := w.s.g.running(); c != nil {
		c.Resume(w.s.id)
	}
}

// returned is called when somebody listens again. It sends what was lost in
// between, unless that is due to be sent again anyway. It reports whether all
// is well again. The caller holds the group's op.
func (w *way) returned() bool {
	w.mu.Lock()
	lost := w.lost
	w.lost = nil
	fresh := w.s.f.opts.Now().Sub(w.lostAt) < time.Duration(w.s.ackWaitSecs)*time.Second
	w.mu.Unlock()
	if fresh {
		for i := range lost {
			if !w.sendRange(&lost[i]) {
				w.mu.Lock()
				w.lost = lost[i:]
				w.mu.Unlock()
				return false
			}
		}
	}
	w.outlet.Flush()
	if w.outlet.Pending() >= wayPendingMax {
		w.drain()
	} else {
		w.resume()
	}
	return true
}

// sendRange sends stored messages; l is what is left of them when nobody
// listens, which it reports.
func (w *way) sendRange(l *lostRange) bool {
	reader := w.s.g.channel.NewReader(l.from)
	defer reader.Close()
	var b record.Batch
	var r record.Record
	for l.from <= l.to {
		first, ok, err := reader.Next(&b)
		if err != nil || !ok {
			// It is sent again an AckWait later, by the consumer, which also
			// says what is wrong.
			return true
		}
		for k := first; k < int(b.Count) && b.Base+record.Offset(k) <= l.to; k++ {
			if b.Record(k, &r) != nil {
				return true
			}
			if !w.send(&r, l.count) {
				l.from = r.Offset
				return false
			}
		}
		l.from = b.Last() + 1
	}
	return true
}

// interest looks after subscriptions whose inbox nobody listens on. Nobody
// tells when that changes, so one goroutine asks, in rounds.
type interest struct {
	f      *Frontend
	mu     sync.Mutex
	absent map[*subscription]struct{} // guarded by mu
	wake   chan struct{}
}

const (
	interestRound    = 50 * time.Millisecond
	interestRoundMax = 1000 // subscriptions asked for in one round
)

func (n *interest) init(f *Frontend) {
	n.f, n.absent, n.wake = f, make(map[*subscription]struct{}), make(chan struct{}, 1)
}

func (n *interest) add(s *subscription) {
	n.mu.Lock()
	n.absent[s] = struct{}{}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

func (n *interest) remove(s *subscription) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.absent, s)
}

func (n *interest) isAbsent(s *subscription) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	_, ok := n.absent[s]
	return ok
}

// some returns absent subscriptions, others each time when there are many.
func (n *interest) some() []*subscription {
	n.mu.Lock()
	defer n.mu.Unlock()
	list := make([]*subscription, 0, min(len(n.absent), interestRoundMax))
	for s := range n.absent {
		if len(list) == interestRoundMax {
			break
		}
		list = append(list, s)
	}
	return list
}

// loop ends when the front-end closes.
func (n *interest) loop() {
	defer n.f.work.Done()
	for {
		list := n.some()
		var round <-chan time.Time
		if len(list) > 0 {
			round = time.After(interestRound)
		}
		for _, s := range list {
			if n.f.bus.HasInterest(s.inbox) {
				n.back(s)
			}
		}
		if round == nil {
			select {
			case <-n.wake:
			case <-n.f.ctx.Done():
				return
			}
			continue
		}
		select {
		case <-round:
		case <-n.f.ctx.Done():
			return
		}
	}
}

// back has deliveries to a subscription go on.
func (n *interest) back(s *subscription) {
	s.g.op.Lock()
	defer s.g.op.Unlock()
	if s.ended.Load() || !n.isAbsent(s) {
		return // its group has begun with it meanwhile
	}
	if s.joined {
		n.remove(s)
		if !s.way.returned() {
			n.add(s)
		}
		return
	}
	if err := s.g.enter(s); err != nil {
		n.f.opts.Logger.Error("go on with a subscription", "client", s.c.id, "channel", s.channelName(), "error", err)
	}
}
