package nats

import (
	"cmp"
	"slices"
	"sync/atomic"
	"time"
)

// counters is what a Server counts over its life. Sources add to them once per
// run, not once per message.
type counters struct {
	connections      atomic.Uint64
	inMsgs           atomic.Uint64
	inBytes          atomic.Uint64
	outMsgs          atomic.Uint64
	outBytes         atomic.Uint64
	slowConsumers    atomic.Uint64
	staleConnections atomic.Uint64
	stalls           atomic.Uint64
}

// Stats is a server's state at one moment. Bytes are payload.
type Stats struct {
	Connections      int    // open now
	ConnectionsTotal uint64 // since start
	Subscriptions    int    // of clients and of this process
	InMsgs           uint64
	InBytes          uint64
	OutMsgs          uint64
	OutBytes         uint64
	SlowConsumers    uint64 // clients cut off because they did not read
	StaleConnections uint64 // clients cut off because they did not answer
	Stalls           uint64 // times a publisher was slowed down
}

// Stats returns the server's counters.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	open := len(s.conns)
	s.mu.Unlock()
	n := &s.counters
	return Stats{
		Connections:      open,
		ConnectionsTotal: n.connections.Load(),
		Subscriptions:    s.tree.Count(),
		InMsgs:           n.inMsgs.Load(),
		InBytes:          n.inBytes.Load(),
		OutMsgs:          n.outMsgs.Load(),
		OutBytes:         n.outBytes.Load(),
		SlowConsumers:    n.slowConsumers.Load(),
		StaleConnections: n.staleConnections.Load(),
		Stalls:           n.stalls.Load(),
	}
}

// ConnStats is the state of one connection at one moment.
type ConnStats struct {
	ID            uint64
	Remote        string // address
	Name          string // as the client gave it
	Lang          string
	Version       string
	Started       time.Time
	Subscriptions int
	PendingBytes  int
	InMsgs        uint64
	InBytes       uint64
	OutMsgs       uint64
	OutBytes      uint64
}

// Connections returns the state of every open connection, by ID.
func (s *Server) Connections() []ConnStats {
	s.mu.Lock()
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	s.mu.Unlock()
	all := make([]ConnStats, 0, len(conns))
	for _, c := range conns {
		st := ConnStats{
			ID:            c.id,
			Remote:        c.remote,
			Started:       c.started,
			Subscriptions: int(c.subCount.Load()),
			PendingBytes:  int(c.out.pending.Load()),
			InMsgs:        c.inMsgs.Load(),
			InBytes:       c.inBytes.Load(),
		}
		st.OutMsgs, st.OutBytes = c.out.sent()
		if about := c.about.Load(); about != nil {
			st.Name, st.Lang, st.Version = about.Name, about.Lang, about.Version
		}
		all = append(all, st)
	}
	slices.SortFunc(all, func(a, b ConnStats) int { return cmp.Compare(a.ID, b.ID) })
	return all
}
