package replication

import (
	"errors"
	"time"

	"github.com/hashicorp/raft"
)

// A barrier is the answer to "is everything before this leadership applied".
type barrier struct {
	term uint64
	err  error
}

// leadLoop tells the machine when this node leads and when it does not any more. It is the only caller of Machine.Lead and
// Machine.Follow. It ends when stopping is closed.
//
// Raft's channel holds only the latest change, so a loss and a win that follow each other closely arrive as a win.
func (g *Group) leadLoop() {
	defer g.loops.Done()
	barriers := make(chan barrier, 1)
	leading := false
	follow := func() {
		g.lead.Store(nil)
		if leading {
			g.o.Machine.Follow()
			g.o.Logger.Info("does not lead any more", "term", g.raft.CurrentTerm())
		}
		leading = false
	}
	defer follow()
	for {
		select {
		case <-g.stopping:
			return
		case won := <-g.raft.LeaderCh():
			follow()
			if won {
				g.askBarrier(barriers)
			}
		case b := <-barriers:
			if b.err != nil || leading || g.raft.State() != raft.Leader || g.raft.CurrentTerm() != b.term {
				// Another change is on its way.
				continue
			}
			leading = true
			g.metrics.leads.Inc()
			g.o.Logger.Info("leads", "term", b.term)
			g.lead.Store(newLeadership(b.term))
			g.o.Machine.Lead(b.term)
		}
	}
}

// askBarrier puts a barrier behind what Raft has in its queue. The answer comes through the completer, so that a Raft that
// is shut down without an answer does not hold up the loop.
func (g *Group) askBarrier(answers chan barrier) {
	g.closing.RLock()
	defer g.closing.RUnlock()
	if g.closed || g.failure() != nil {
		return
	}
	term := g.raft.CurrentTerm()
	f := g.raft.Barrier(0)
	g.queue.in <- proposal{future: f, done: func(_ uint64, err error) {
		// The completer is the only sender: after taking an answer that nobody wants any more there is room.
		select {
		case <-answers:
		default:
		}
		answers <- barrier{term: term, err: err}
	}}
}

// snapshotSpacing is the least time between two snapshots that are taken because of the number of entries.
const snapshotSpacing = time.Second

// snapshotLoop takes a snapshot when enough entries were applied, and now and then if any were. It ends when stopping is
// closed.
func (g *Group) snapshotLoop() {
	defer g.loops.Done()
	ticker := time.NewTicker(g.o.SnapshotInterval)
	defer ticker.Stop()
	due := g.snapshotDue
	spacing := time.NewTimer(snapshotSpacing)
	spacing.Stop()
	defer spacing.Stop()
	for {
		select {
		case <-g.stopping:
			return
		case <-spacing.C:
			due = g.snapshotDue
			continue
		case <-ticker.C:
		case <-due:
			due = nil
			spacing.Reset(snapshotSpacing)
		}
		if err := g.Snapshot(); err != nil && !errors.Is(err, ErrNothingNew) && !errors.Is(err, ErrClosed) {
			g.o.Logger.Warn("cannot take a snapshot, the next start scans more headers", "error", err)
		}
	}
}
