package stan

import (
	"sync"
	"sync/atomic"

	"leat.dev/leat/wire/stan/pb"
)

// client is one connected client.
type client struct {
	f        *Frontend
	id       string
	inbox    string // for heartbeats
	connID   string // "" of protocol 0
	protocol int32
	pings    [2]int32 // interval and max out, as the client asked

	gone atomic.Bool   // closed, or replaced: set before it leaves the registry
	left chan struct{} // closed when nothing of it is stored any more
	beat beat          // guarded by heartbeats.mu

	mu      sync.Mutex
	subs    map[*subscription]struct{} // guarded by mu
	queue   []func()                   // requests; guarded by mu
	running bool                       // someone works the queue off; guarded by mu
}

// clientQueueMax bounds the requests of one client that wait. What comes above
// it is dropped, as the streaming server does when it is overrun: the client
// sees a timeout.
const clientQueueMax = 4096

// enqueue has run called after all earlier requests of the client. It returns
// false when there are too many, or the front-end closes.
func (c *client) enqueue(run func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) >= clientQueueMax {
		return false
	}
	if !c.running {
		if !c.f.begin() {
			return false
		}
		c.running = true
		go c.workLoop()
	}
	c.queue = append(c.queue, run)
	return true
}

// workLoop serves requests until there are none. Its end is waited for by the
// front-end's Close.
func (c *client) workLoop() {
	defer c.f.work.Done()
	for {
		c.mu.Lock()
		if len(c.queue) == 0 || c.f.ctx.Err() != nil {
			c.running, c.queue = false, nil
			c.mu.Unlock()
			return
		}
		run := c.queue[0]
		c.queue[0] = nil
		c.queue = c.queue[1:]
		c.mu.Unlock()
		run()
	}
}

// own notes a subscription; forget takes it out again.
func (c *client) own(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.subs == nil {
		c.subs = make(map[*subscription]struct{})
	}
	c.subs[s] = struct{}{}
}

func (c *client) forget(s *subscription) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.subs, s)
}

func (c *client) subscriptions() []*subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*subscription, 0, len(c.subs))
	for s := range c.subs {
		list = append(list, s)
	}
	return list
}

func (f *Frontend) newClient(id, inbox, connID []byte, protocol, pingInterval, pingMaxOut int32) *client {
	return &client{
		f: f, id: string(id), inbox: string(inbox), connID: string(connID), protocol: protocol,
		pings: [2]int32{pingInterval, pingMaxOut}, left: make(chan struct{}),
	}
}

func (c *client) info() []byte {
	m := pb.ClientInfo{
		ID: []byte(c.id), HeartbeatInbox: []byte(c.inbox), ConnID: []byte(c.connID), Protocol: c.protocol,
		PingInterval: c.pings[0], PingMaxOut: c.pings[1],
	}
	return m.Append(nil)
}

// clients are those connected.
type clients struct {
	mu sync.RWMutex
	// guarded by mu
	byID     map[string]*client
	byConn   map[string]*client
	entering map[string]struct{} // IDs whose connect request is being served
	leaving  map[string]*client  // of byID no more, but still stored
}

func (cs *clients) init() {
	cs.byID = make(map[string]*client)
	cs.byConn = make(map[string]*client)
	cs.entering = make(map[string]struct{})
	cs.leaving = make(map[string]*client)
}

func (cs *clients) lookUp(id []byte) *client {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return cs.byID[string(id)]
}

func (cs *clients) lookUpConn(connID []byte) *client {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	return cs.byConn[string(connID)]
}

// enter reserves an ID for one connect request, and returns the client that has
// it now, and the one that is being closed, if any. It returns false when
// another request has reserved it.
func (cs *clients) enter(id string) (old, leaving *client, ok bool) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, taken := cs.entering[id]; taken {
		return nil, nil, false
	}
	cs.entering[id] = struct{}{}
	return cs.byID[id], cs.leaving[id], true
}

func (cs *clients) leave(id string) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.entering, id)
}

func (cs *clients) add(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	cs.byID[c.id] = c
	if c.connID != "" {
		cs.byConn[c.connID] = c
	}
}

// remove takes a client out, and notes that it is leaving until forget. It
// returns false when it was not there any more.
func (cs *clients) remove(c *client) bool {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	c.gone.Store(true)
	if cs.byConn[c.connID] == c {
		delete(cs.byConn, c.connID)
	}
	if cs.byID[c.id] != c {
		return false
	}
	delete(cs.byID, c.id)
	cs.leaving[c.id] = c
	return true
}

// depart notes that an ID which nobody has is leaving until forget, and returns
// a client for that. It returns none when somebody has the ID, or is leaving it,
// and an error while a connect request is being served.
func (cs *clients) depart(id string) (*client, error) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if _, entering := cs.entering[id]; entering {
		return nil, errLater
	}
	if cs.byID[id] != nil || cs.leaving[id] != nil {
		return nil, nil
	}
	c := &client{id: id, left: make(chan struct{})}
	cs.leaving[id] = c
	return c, nil
}

// forget ends the leaving of a client.
func (cs *clients) forget(c *client) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	delete(cs.leaving, c.id)
	close(c.left)
}

// validClientID: letters, digits, '-' and '_', and at least one of them.
func validClientID(id []byte) bool {
	for _, c := range id {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return len(id) > 0
}

// inboxBytesMax bounds the subjects that clients want to be reached at.
const inboxBytesMax = 1024

// validInbox tells whether a subject that a client gave can be sent to: a
// literal one. Anything else could break the line that it becomes a part of.
func validInbox(subject []byte) bool {
	if len(subject) == 0 || len(subject) > inboxBytesMax {
		return false
	}
	before := byte('.')
	for _, c := range subject {
		if c <= ' ' || c == 0x7f || c == '*' || c == '>' || (c == '.' && before == '.') {
			return false
		}
		before = c
	}
	return before != '.'
}
