package node

import (
	"errors"
	"fmt"

	"leat.dev/leat/partition"
	"leat.dev/leat/replication"
)

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

// Refusal implements partition.Refuser.
func (p *proposer) Refusal() error {
	if err := p.group.Refusal(); err != nil {
		return proposalError(err)
	}
	return nil
}

// proposalErrors says what an error of a proposal means to a publisher. The
// first that matches counts; what matches none leaves the outcome unknown.
var proposalErrors = []struct{ from, to error }{
	{replication.ErrOutcomeUnknown, partition.ErrUnknownOutcome}, // may wrap the others
	{replication.ErrNotLeader, partition.ErrNotLeader},
	{replication.ErrNoSpace, partition.ErrNoSpace},
	{replication.ErrRefused, partition.ErrNotLeader},
	{replication.ErrClosed, partition.ErrClosed},
	{replication.ErrStopped, partition.ErrClosed},
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
