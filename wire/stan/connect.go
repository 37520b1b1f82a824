package stan

import (
	"errors"
	"sync"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/stan/pb"
)

// connectsMax bounds the connect requests under way. One waits for the log, or
// for an older client of the same ID to answer; what comes above the bound is
// dropped, and tried again by the client.
const connectsMax = 16 << 10

// Limits of what is stored of a request. The streaming server has none but the
// largest message.
const (
	requestBytesMax  = 64 << 10
	clientIDBytesMax = 1024
)

// takeConnect is _STAN.discover.<cluster>.
func (f *Frontend) takeConnect(_ *source, m *wire.Msg) {
	var q pb.ConnectRequest
	reply := string(m.Reply)
	if err := q.Decode(m.Data); err != nil || !validInbox(q.HeartbeatInbox) || len(m.Data) > requestBytesMax {
		f.refuseConnect(reply, errInvalidConnReq)
		return
	}
	if !validClientID(q.ClientID) || len(q.ClientID) > clientIDBytesMax {
		f.refuseConnect(reply, errInvalidClientID)
		return
	}
	c := f.newClient(q.ClientID, q.HeartbeatInbox, q.ConnID, q.Protocol, q.PingInterval, q.PingMaxOut)
	f.mu.Lock()
	room := !f.closed && f.requests < connectsMax
	if room {
		f.requests++
		f.work.Add(1)
	}
	f.mu.Unlock()
	if !room {
		return
	}
	go func() {
		defer f.work.Done()
		if err := f.connect(c); err != nil {
			f.refuseConnect(reply, err)
		} else {
			f.welcome(reply, c)
		}
		f.mu.Lock()
		f.requests--
		f.mu.Unlock()
	}()
}

// connect makes a client known, in the place of a dead one of the same ID if
// need be. While it runs, every other request for the ID is refused.
func (f *Frontend) connect(c *client) error {
	old, leaving, ok := f.clients.enter(c.id)
	if !ok {
		return errClientRegistered
	}
	defer f.clients.leave(c.id)
	if leaving != nil {
		// What it leaves behind has the same names as what is to be stored now.
		select {
		case <-leaving.left:
		case <-f.ctx.Done():
			return errShutdown
		}
	}
	if old != nil {
		if f.heartbeats.probe(old.inbox, f.opts.ProbeTimeout) {
			return errClientRegistered
		}
		f.opts.Logger.Info("a client is replaced by a new one of its ID", "client", c.id)
		if err := f.closeClient(old); err != nil && !errors.Is(err, errUnknownClient) {
			return err
		}
	}
	err := f.await(func(done func(error)) { f.store.PutSession(sessionClient, c.id, c.info(), done) })
	if err != nil {
		f.owed.client(c.id) // it may have got through
		f.opts.Logger.Error("store a client", "client", c.id, "error", err)
		return told(err)
	}
	f.heartbeats.add(c)
	f.clients.add(c)
	return nil
}

// closeClient ends a client, in the order of its requests: subscriptions that
// are not durable go, durable ones stay without it. It returns when that is
// durable.
func (f *Frontend) closeClient(c *client) error {
	done := make(chan error, 1)
	if !c.enqueue(func() { done <- f.endClient(c) }) {
		return errShutdown
	}
	select {
	case err := <-done:
		return err
	case <-f.ctx.Done():
		return errShutdown
	}
}

// endClient runs in the client's queue of requests.
func (f *Frontend) endClient(c *client) error {
	if !f.clients.remove(c) {
		return errUnknownClient
	}
	defer f.clients.forget(c)
	f.heartbeats.remove(c)
	f.endSubscriptions(c)
	err := f.await(func(done func(error)) { f.store.DeleteSession(sessionClient, c.id, done) })
	if err != nil {
		f.owed.client(c.id)
		f.opts.Logger.Error("remove a client", "client", c.id, "error", err)
		return told(err)
	}
	return nil
}

// endsMax bounds how many subscriptions of a client end at once.
const endsMax = 256

// endSubscriptions ends all that a client has, many at once: each waits for a sync
// or two, which they share.
func (f *Frontend) endSubscriptions(c *client) {
	var ends sync.WaitGroup
	slots := make(chan struct{}, endsMax)
	for _, s := range c.subscriptions() {
		slots <- struct{}{}
		ends.Go(func() {
			if err := f.endSubscription(s, false); err != nil {
				f.opts.Logger.Error("end a subscription", "client", c.id, "channel", s.channelName(), "error", err)
			}
			<-slots
		})
	}
	ends.Wait()
}

func (f *Frontend) welcome(reply string, c *client) {
	r := pb.ConnectResponse{
		PubPrefix: f.subjects.publish, SubRequests: f.subjects.subscribe, UnsubRequests: f.subjects.unsubscribe,
		CloseRequests: f.subjects.close, SubCloseRequests: f.subjects.subClose, Protocol: protocolOne,
	}
	if c.protocol >= protocolOne {
		r.PingRequests, r.PingInterval, r.PingMaxOut = f.subjects.pings, c.pings[0], c.pings[1]
	}
	f.answer(reply, r.Append(nil))
}

// protocolOne clients send connection IDs and pings.
const protocolOne = 1

func (f *Frontend) refuseConnect(reply string, reason error) {
	r := pb.ConnectResponse{Error: reason.Error()}
	f.answer(reply, r.Append(nil))
}

// takeClose is _STAN.close.<cluster>.
func (f *Frontend) takeClose(s *source, m *wire.Msg) {
	b := s.barrier()
	var q pb.CloseRequest
	reply := string(m.Reply)
	refuse := func(reason error) {
		r := pb.CloseResponse{Error: reason.Error()}
		f.answer(reply, r.Append(nil))
	}
	if err := q.Decode(m.Data); err != nil {
		refuse(errInvalidCloseReq)
		return
	}
	c := f.clients.lookUp(q.ClientID)
	if c == nil {
		refuse(errUnknownClient)
		return
	}
	c.enqueue(func() {
		if !b.wait(f) {
			return
		}
		if err := f.endClient(c); err != nil {
			refuse(err)
			return
		}
		f.answer(reply, nil)
	})
}

// takePing is _STAN.discover.<cluster>.pings.
func (f *Frontend) takePing(_ *source, m *wire.Msg) {
	if len(m.Data) == 0 {
		return
	}
	var q pb.Ping
	if err := q.Decode(m.Data); err != nil {
		return
	}
	c := f.clients.lookUpConn(q.ConnID)
	if c == nil {
		r := pb.PingResponse{Error: errReplaced.Error()}
		f.answer(string(m.Reply), r.Append(nil))
		return
	}
	f.answer(string(m.Reply), nil)
	f.heartbeats.heard(c)
}
