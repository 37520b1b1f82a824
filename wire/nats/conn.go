package nats

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	readBytesMin = 1 << 10
	readBytesMax = 64 << 10
	// shortReadsMax is how many reads in a row may leave most of the buffer
	// empty before it shrinks.
	shortReadsMax = 16
	// lingerTime is how long a connection that broke the protocol may go on
	// sending after the error went out: closing at once would reset the
	// connection, and the error could be lost.
	lingerTime = 250 * time.Millisecond
	// flushTime bounds the last write of a connection that is closed.
	flushTime = 2 * time.Second
)

// conn is one client connection. It has two goroutines: run reads, parses and
// routes; writeLoop writes. Either, a timer, and whoever delivers to it may end
// it by shut.
type conn struct {
	server  *Server
	id      uint64
	raw     net.Conn // the socket; only its deadlines are set
	nc      net.Conn // raw, or TLS over it; set by run
	remote  string   // address
	started time.Time
	log     *slog.Logger

	out outbox

	// Used by run only.
	parser  parser
	courier *courier
	self    *receiver // for answers
	opts    connectOptions
	echo    bool
	ponged  bool // the first PING was answered
	gaveUp  bool // a subscription, since the last PING

	headers   atomic.Bool  // the client takes HMSG
	connected atomic.Bool  // CONNECT was accepted, or is not needed
	reads     atomic.Int64 // so far
	pingsOut  atomic.Int64
	inMsgs    atomic.Uint64
	inBytes   atomic.Uint64
	subCount  atomic.Int64
	pingReads int64                          // reads when the ping timer last fired; used by it only
	about     atomic.Pointer[connectOptions] // opts, for others to read

	mu        sync.Mutex               // before Tree's; guards what follows
	subs      map[string]*subscription // by sid; nil once the connection is down
	pingTimer *time.Timer
	authTimer *time.Timer

	down   atomic.Bool
	reason *protocolError // set before downed is closed
	downed chan struct{}  // closed by shut
	wrote  chan struct{}  // closed when the write loop has ended
}

// ID implements wire.Source.
func (c *conn) ID() uint64 { return c.id }

// Name implements wire.Source.
func (c *conn) Name() string {
	if about := c.about.Load(); about != nil {
		return about.Name
	}
	return ""
}

func newConn(s *Server, id uint64, nc net.Conn) *conn {
	c := &conn{
		server:  s,
		id:      id,
		raw:     nc,
		nc:      nc,
		remote:  nc.RemoteAddr().String(),
		started: time.Now(),
		subs:    make(map[string]*subscription),
		downed:  make(chan struct{}),
		wrote:   make(chan struct{}),
		opts:    connectOptions{Verbose: true, Pedantic: true, Echo: true},
		echo:    true,
	}
	c.log = s.opts.Logger.With("client", id, "remote", c.remote)
	c.out.pool = &s.pool
	c.out.pendingMax = int64(s.opts.PendingBytesMax)
	c.out.wake = make(chan struct{}, 1)
	c.parser = parser{
		controlLineBytesMax: s.opts.ControlLineBytesMax,
		payloadBytesMax:     s.opts.PayloadBytesMax,
		connectFirst:        s.opts.authRequired(),
	}
	c.courier = newCourier(s, c, c)
	c.self = c.courier.receiverAt(c)
	return c
}

// run serves the connection until it ends.
func (c *conn) run() {
	defer func() {
		c.nc.Close()
		c.courier.detach(true)
		c.server.forget(c)
		<-c.downed
		c.log.Debug("client connection closed", "reason", c.reason.reason)
	}()
	if err := c.greet(); err != nil {
		c.shut(err)
		close(c.wrote)
		return
	}
	go c.writeLoop()
	c.startTimers()
	err := c.readLoop()
	c.shut(err)
	if err.text != "" {
		c.linger()
	}
	<-c.wrote
}

// greet sends INFO and does the TLS handshake.
func (c *conn) greet() *protocolError {
	if err := c.nc.SetDeadline(time.Now().Add(c.server.opts.WriteDeadline)); err != nil {
		return errWrite
	}
	if _, err := c.nc.Write(c.info(false)); err != nil {
		return errWrite
	}
	if config := c.server.opts.TLSConfig; config != nil {
		t := tls.Server(c.nc, config)
		t.SetDeadline(time.Now().Add(c.server.opts.TLSTimeout))
		// No context with a limit: it would come on top of the deadline that
		// INFO was written under, where this one takes its place.
		if err := t.HandshakeContext(context.Background()); err != nil {
			c.log.Info("TLS handshake", "err", err)
			return errTLSHandshake
		}
		c.nc = t
	}
	c.nc.SetDeadline(time.Time{})
	return nil
}

// readLoop reads and processes until something ends the connection.
func (c *conn) readLoop() *protocolError {
	buf := make([]byte, readBytesMin)
	have, short := 0, 0
	for !c.down.Load() {
		n, err := c.nc.Read(buf[have:])
		have += n
		if n > 0 {
			c.reads.Add(1)
			used, perr := c.process(buf[:have])
			if perr != nil {
				return perr
			}
			full := have == len(buf)
			have = copy(buf, buf[used:have])
			size := c.bufferSize(len(buf), have, full, n, &short)
			if size != len(buf) {
				old := buf
				buf = make([]byte, size)
				copy(buf, old[:have])
			}
		}
		if err != nil {
			break
		}
	}
	return errRead
}

// bufferSize decides on the size of the read buffer, of which have bytes are an
// unfinished operation. It doubles while it gets filled, up to readBytesMax or
// what one operation needs, and never in advance of the bytes: a client that
// only announces much gets little.
func (c *conn) bufferSize(size, have int, full bool, n int, short *int) int {
	want := c.parser.want
	switch {
	case full && size < readBytesMax:
		*short = 0
		return 2 * size
	case have == size: // one operation is larger
		*short = 0
		return max(min(2*size, max(want, readBytesMax)), size+readBytesMin)
	case n >= size/2 || want > readBytesMax:
		*short = 0
	default:
		if *short++; *short < shortReadsMax {
			return size
		}
		*short = 0
		if half := max(size/2, readBytesMin); half < size && have <= half/2 && want <= half {
			return half
		}
	}
	return size
}

// process takes all whole operations off buf and returns the bytes used.
func (c *conn) process(buf []byte) (used int, perr *protocolError) {
	var o op
	var msgs, bytes uint64
	c.courier.run.begin()
	for used < len(buf) {
		n, err := c.parser.next(buf[used:], &o)
		if err != nil {
			perr = asProtocolError(err)
			break
		}
		if n == 0 {
			break
		}
		used += n
		if o.kind == opPub {
			msgs++
			bytes += uint64(len(o.header) + len(o.data))
			c.publish(&o)
			continue
		}
		if perr = c.control(&o); perr != nil {
			break
		}
	}
	if msgs > 0 {
		c.inMsgs.Add(msgs)
		c.inBytes.Add(bytes)
		c.server.counters.inMsgs.Add(msgs)
		c.server.counters.inBytes.Add(bytes)
	}
	if perr != nil && perr.text != "" {
		c.answerError(perr.text)
	}
	c.courier.finish()
	return used, perr
}

// linger lets the client finish what it was sending.
func (c *conn) linger() {
	<-c.wrote
	c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	buf := make([]byte, readBytesMin)
	for {
		if _, err := c.nc.Read(buf); err != nil {
			return
		}
	}
}

// shut ends the connection, once: its subscriptions are gone when shut returns.
// What is queued is still written, unless the reason is that this does not
// work. Anyone may call it.
func (c *conn) shut(reason *protocolError) {
	if c.down.Swap(true) {
		return
	}
	c.reason = reason
	c.mu.Lock()
	subs := c.subs
	c.subs = nil
	if c.pingTimer != nil {
		c.pingTimer.Stop()
	}
	if c.authTimer != nil {
		c.authTimer.Stop()
	}
	c.mu.Unlock()
	for _, s := range subs {
		c.server.tree.Remove(s.subject, s.queue, s)
	}
	drop := reason.drops()
	switch reason {
	case errSlowPending, errSlowDeadline:
		c.server.counters.slowConsumers.Add(1)
		c.log.Warn("Slow Consumer Detected", "reason", reason.reason, "pending", c.out.pending.Load(), "name", c.Name())
	case errStale:
		c.server.counters.staleConnections.Add(1)
	}
	c.raw.SetReadDeadline(time.Now())
	c.limitLastWrite()
	c.out.close(drop)
	close(c.downed)
}

// limitLastWrite sets how long a connection that is down may still write.
func (c *conn) limitLastWrite() {
	limit := time.Now()
	if !c.reason.drops() {
		limit = limit.Add(flushTime)
	}
	c.raw.SetWriteDeadline(limit)
}
