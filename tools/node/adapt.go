package node

import (
	"errors"
	"fmt"

	"leat.dev/leat/partition"
	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// raftLog shows a segment log as package replication wants to see it.
type raftLog struct {
	log     *segment.Log
	entries []segment.Entry // of Append, which is called by one goroutine
}

// Append implements replication.Log.
func (l *raftLog) Append(entries []replication.LogEntry) error {
	l.entries = l.entries[:0]
	for i := range entries {
		l.entries = append(l.entries, segment.Entry(entries[i]))
	}
	err := l.log.Append(l.entries)
	clear(l.entries)
	return logError(err)
}

// First implements replication.Log.
func (l *raftLog) First() uint64 { return l.log.First() }

// Last implements replication.Log.
func (l *raftLog) Last() (index, term uint64) { return l.log.Last() }

// Entry implements replication.Log.
func (l *raftLog) Entry(index uint64, buf []byte) (replication.LogEntry, []byte, error) {
	e, buf, err := l.log.Entry(index, buf)
	return replication.LogEntry(e), buf, logError(err)
}

// Header implements replication.Log.
func (l *raftLog) Header(index uint64) (record.FrameHeader, error) {
	h, err := l.log.Header(index)
	return h, logError(err)
}

// PayloadBytesMax implements replication.Log.
func (l *raftLog) PayloadBytesMax() int { return l.log.PayloadBytesMax() }

// TruncateSuffix implements replication.Log.
func (l *raftLog) TruncateSuffix(from uint64) error { return logError(l.log.TruncateSuffix(from)) }

// logError adds what package replication decides by.
func logError(err error) error {
	if errors.Is(err, segment.ErrNoSpace) {
		return fmt.Errorf("%w: %w", replication.ErrNoSpace, err)
	}
	return err
}

// machine shows a partition as package replication wants to see it.
type machine struct {
	part    *partition.Partition
	entries []partition.Entry // of Apply, which is called by one goroutine
}

// Apply implements replication.Machine.
func (m *machine) Apply(entries []replication.Entry) {
	m.entries = m.entries[:0]
	for i := range entries {
		e := &entries[i]
		m.entries = append(m.entries, partition.Entry{Index: e.Index, Term: e.Term, Payload: e.Payload})
	}
	m.part.Apply(m.entries)
	clear(m.entries)
}

// Applied implements replication.Machine.
func (m *machine) Applied() uint64 { return m.part.Applied() }

// Lead implements replication.Machine.
func (m *machine) Lead(term uint64) { m.part.Lead(term) }

// Follow implements replication.Machine.
func (m *machine) Follow() { m.part.Follow() }

// proposer shows a Raft group as package partition wants to see it.
type proposer struct{ group *replication.Group }

// Propose implements partition.Proposer.
func (p *proposer) Propose(payload []byte, done func(index uint64, err error)) {
	p.group.Propose(payload, func(index uint64, err error) { done(index, proposalError(err)) })
}

// proposalErrors says what an error of a proposal means to a publisher. What is
// not listed leaves the outcome unknown.
var proposalErrors = []struct{ from, to error }{
	{replication.ErrNotLeader, partition.ErrNotLeader},
	{replication.ErrNoSpace, partition.ErrNoSpace},
	{replication.ErrRefused, partition.ErrNotLeader},
	{replication.ErrClosed, partition.ErrClosed},
	{replication.ErrTooLarge, partition.ErrTooLarge},
}

func proposalError(err error) error {
	if err == nil {
		return nil
	}
	for _, e := range proposalErrors {
		if errors.Is(err, e.from) {
			return fmt.Errorf("%w: %w", e.to, err)
		}
	}
	return fmt.Errorf("%w: %w", partition.ErrUnknownOutcome, err)
}
