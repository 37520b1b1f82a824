package nats

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nuid"

	"leat.dev/leat/wire"
	"leat.dev/leat/wire/nats/subject"
)

// A Server accepts NATS clients and routes what they publish, to each other and
// to the handlers of this process. It is the wire.Bus of a node. All methods may
// be called at once from any goroutine.
type Server struct {
	opts     Options
	listener net.Listener // nil with NoListen
	host     string
	port     int

	tree           *subject.Tree[*subscription]
	internalClosed atomic.Uint64 // internal subscriptions closed so far
	pool           bufferPool
	seed           maphash.Seed
	counters       counters
	stallBytes     int64

	processCouriers courierList
	inboxMu         sync.Mutex // guards inbox
	inbox           *nuid.NUID

	mu      sync.Mutex // guards what follows
	conns   map[*conn]struct{}
	lastID  uint64
	serving bool
	closed  bool
	running sync.WaitGroup // accept loop and connections
}

var _ wire.Bus = (*Server)(nil)

// Listen makes a server and binds its address. Clients are accepted from Serve
// on, so that handlers can be subscribed first.
func Listen(opts Options) (*Server, error) {
	opts.EnsureDefaults()
	if err := opts.Validate(); err != nil {
		return nil, err
	}
	s := &Server{
		opts:       opts,
		tree:       subject.NewTree[*subscription](),
		seed:       maphash.MakeSeed(),
		stallBytes: int64(opts.StallBytes),
		inbox:      nuid.New(),
		conns:      make(map[*conn]struct{}),
	}
	s.host, s.port = splitAddr(opts.Addr)
	if !opts.NoListen {
		var config net.ListenConfig
		l, err := config.Listen(context.Background(), "tcp", opts.Addr)
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("listen for NATS clients: %s is in use by another process; stop it or choose another address: %w", opts.Addr, err)
		}
		if err != nil {
			return nil, fmt.Errorf("listen for NATS clients on %s: %w", opts.Addr, err)
		}
		s.listener = l
		s.host, s.port = splitAddr(l.Addr().String())
	}
	if opts.Registerer != nil {
		if err := s.register(opts.Registerer); err != nil {
			if s.listener != nil {
				s.listener.Close()
			}
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return s, nil
}

// Addr returns the address that is listened on, "host:port"; it is empty with
// NoListen.
func (s *Server) Addr() string {
	if s.listener == nil {
		return ""
	}
	return s.listener.Addr().String()
}

// ClientURL returns the address as clients want it.
func (s *Server) ClientURL() string { return "nats://" + s.Addr() }

// ID returns the server's id.
func (s *Server) ID() string { return s.opts.ServerID }

// Serve starts to accept clients and returns at once.
func (s *Server) Serve() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.serving {
		return
	}
	s.serving = true
	if s.listener != nil {
		s.running.Go(s.acceptLoop)
	}
}

func (s *Server) acceptLoop() {
	pause := time.Millisecond
	for {
		nc, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			// Out of file descriptors, mostly: it gets better or it does not.
			s.opts.Logger.Warn("accept a client", "err", err, "again", pause)
			timer := time.NewTimer(pause)
			<-timer.C
			pause = min(2*pause, time.Second)
			continue
		}
		pause = time.Millisecond
		s.start(nc)
	}
}

// InProcessConn returns the client's end of a connection that does not go
// through the network; nats.go takes a Server as its InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) {
	client, server := net.Pipe()
	if !s.start(server) {
		client.Close()
		return nil, ErrClosed
	}
	return client, nil
}

// start serves a connection, unless the server is closed.
func (s *Server) start(nc net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		nc.Close()
		return false
	}
	s.lastID++
	c := newConn(s, s.lastID, nc)
	s.counters.connections.Add(1)
	if len(s.conns) >= s.opts.ConnectionsMax {
		s.running.Go(c.refuse)
		return true
	}
	s.conns[c] = struct{}{}
	s.running.Go(c.run)
	return true
}

// refuse tells a client that there are too many.
func (c *conn) refuse() {
	defer c.nc.Close()
	c.log.Warn("refuse a client", "err", errConnections)
	c.nc.SetDeadline(time.Now().Add(flushTime))
	// The client may be gone; there is nobody else to tell.
	_, _ = c.nc.Write(append(c.info(false), "-ERR '"+errConnections.text+"'\r\n"...))
}

// forget takes a connection that has ended off the list.
func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// Close ends all connections, after what is queued for them is written, and
// waits for them. A handler whose Flush blocks must have been released before.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	if s.listener != nil {
		s.listener.Close()
	}
	for _, c := range conns {
		c.shut(errShutdown)
	}
	s.running.Wait()
	s.processCouriers.close()
	if s.opts.Registerer != nil {
		s.unregister(s.opts.Registerer)
	}
	return nil
}

// random returns a seed for a courier; it is never 0.
func (s *Server) random() uint64 { return maphash.String(maphash.MakeSeed(), "courier") | 1 }
