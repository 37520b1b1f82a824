package replication_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/replication"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

var (
	errBroken  = fmt.Errorf("%w: disk is broken", segment.ErrPoisoned)
	errCorrupt = errors.New("bytes have rotted")
)

// fakeLog is a log in memory with faults. What is in it survives the group, as a disk does.
type fakeLog struct {
	mu       sync.Mutex
	base     uint64 // index of entries[0], or of the next entry
	baseTerm uint64 // of the entry before base
	entries  []replication.LogEntry
	appends  int
	full     bool
	broken   bool
	refuse   error
	poisoned error
	rotten   map[uint64]bool
	reads    map[uint64]int // Entry calls by index
	headers  int
	gate     chan struct{} // Append waits for it, when not nil
	segments []segment.Info
}

func newFakeLog() *fakeLog {
	return &fakeLog{base: 1, rotten: map[uint64]bool{}, reads: map[uint64]int{}}
}

func (l *fakeLog) Append(entries []replication.LogEntry) error {
	l.mu.Lock()
	gate := l.gate
	l.mu.Unlock()
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poisoned != nil {
		return l.poisoned
	}
	if l.full {
		return fmt.Errorf("append: %w", segment.ErrNoSpace)
	}
	l.appends++
	if l.broken {
		l.poisoned = errBroken
		return errBroken
	}
	if l.refuse != nil {
		return l.refuse
	}
	for _, e := range entries {
		if want := l.base + uint64(len(l.entries)); e.Index != want {
			return fmt.Errorf("entry %d, want %d", e.Index, want)
		}
		e.Payload = append([]byte(nil), e.Payload...)
		l.entries = append(l.entries, e)
	}
	return nil
}

func (l *fakeLog) First() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base
}

func (l *fakeLog) Last() (index, term uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.entries) == 0 {
		return l.base - 1, l.baseTerm
	}
	e := l.entries[len(l.entries)-1]
	return e.Index, e.Term
}

func (l *fakeLog) Base() segment.Tip {
	l.mu.Lock()
	defer l.mu.Unlock()
	return segment.Tip{Index: l.base - 1, Term: l.baseTerm}
}

func (l *fakeLog) at(index uint64) (*replication.LogEntry, error) {
	if len(l.entries) == 0 || index < l.base || index >= l.base+uint64(len(l.entries)) {
		return nil, fmt.Errorf("no entry %d", index)
	}
	return &l.entries[index-l.base], nil
}

func (l *fakeLog) Entry(index uint64, buf []byte) (replication.LogEntry, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads[index]++
	e, err := l.at(index)
	if err != nil {
		return replication.LogEntry{}, buf, err
	}
	if l.rotten[index] {
		return replication.LogEntry{}, buf, errCorrupt
	}
	out := *e
	buf = append(buf[:0], e.Payload...)
	out.Payload = buf
	return out, buf, nil
}

func (l *fakeLog) Header(index uint64) (record.FrameHeader, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.headers++
	e, err := l.at(index)
	if err != nil {
		return record.FrameHeader{}, err
	}
	h := record.FrameHeader{
		Type: e.Type, Index: e.Index, Term: e.Term, Time: e.Time, CommitHint: e.CommitHint,
		PayloadBytes: uint32(len(e.Payload)), PayloadCRC: record.Checksum(e.Payload),
	}
	h.Chain = record.NextChain(0, &h) // not over those before, which would cost too much here
	return h, nil
}

func (l *fakeLog) Segments() []segment.Info {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.segments
}

// chain is that of an entry.
func (l *fakeLog) chain(t testing.TB, index uint64) uint64 {
	t.Helper()
	h, err := l.Header(index)
	require.NoError(t, err)
	return h.Chain
}

func (l *fakeLog) TruncateSuffix(from uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.poisoned != nil {
		return l.poisoned
	}
	if l.broken {
		l.poisoned = errBroken
		return errBroken
	}
	if from < l.base || from >= l.base+uint64(len(l.entries)) {
		return nil
	}
	l.entries = l.entries[:from-l.base]
	return nil
}

func (l *fakeLog) PayloadBytesMax() int { return 1 << 20 }

// trim drops entries below first, as retention does.
func (l *fakeLog) trim(first uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.baseTerm = l.entries[first-l.base-1].Term
	l.entries = append([]replication.LogEntry(nil), l.entries[first-l.base:]...)
	l.base = first
}

func (l *fakeLog) set(change func(l *fakeLog)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(l)
}

func (l *fakeLog) copyEntries() []replication.LogEntry {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]replication.LogEntry(nil), l.entries...)
}

// fakeMachine remembers what it was given.
type fakeMachine struct {
	mu      sync.Mutex
	applied uint64
	entries []replication.Entry // with payloads of their own
	keep    bool
	leads   chan uint64 // a term per Lead, 0 per Follow
	gate    chan struct{}
}

func newFakeMachine() *fakeMachine { return &fakeMachine{keep: true, leads: make(chan uint64, 1024)} }

func (m *fakeMachine) Apply(entries []replication.Entry) {
	if m.gate != nil {
		<-m.gate
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range entries {
		if e.Index <= m.applied {
			panic(fmt.Sprintf("entry %d applied after %d", e.Index, m.applied))
		}
		m.applied = e.Index
		if m.keep {
			e.Payload = append([]byte(nil), e.Payload...)
			m.entries = append(m.entries, e)
		}
	}
}

func (m *fakeMachine) Applied() uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.applied
}

func (m *fakeMachine) Lead(term uint64) { m.leads <- term }
func (m *fakeMachine) Follow()          { m.leads <- 0 }

func (m *fakeMachine) payloads() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []string
	for _, e := range m.entries {
		all = append(all, string(e.Payload))
	}
	return all
}

// node is what a group needs and what survives it.
type node struct {
	fs      vfs.FS
	log     *fakeLog
	machine *fakeMachine
	stopped chan error
}

func newNode() *node {
	return &node{fs: vfs.NewMem(), log: newFakeLog(), machine: newFakeMachine(), stopped: make(chan error, 1)}
}

func (n *node) options(change ...func(*replication.Options)) replication.Options {
	o := replication.Options{
		Dir: "raft", FS: n.fs, Log: n.log, Machine: n.machine, OnStop: func(err error) { n.stopped <- err },
	}
	for _, c := range change {
		c(&o)
	}
	return o
}

func (n *node) open(t testing.TB, change ...func(*replication.Options)) *replication.Group {
	t.Helper()
	g, err := replication.Open(n.options(change...))
	require.NoError(t, err)
	return g
}

// lead waits until the machine was told to lead.
func (n *node) lead(t testing.TB) uint64 {
	t.Helper()
	for {
		select {
		case term := <-n.machine.leads:
			if term != 0 {
				return term
			}
		case <-time.After(20 * time.Second):
			require.FailNow(t, "nobody leads")
		}
	}
}

// forget makes the machine one that lost what it applied after an index.
func (m *fakeMachine) forget(after uint64) *fakeMachine {
	fresh := newFakeMachine()
	for _, e := range m.entries {
		if e.Index <= after {
			fresh.entries = append(fresh.entries, e)
			fresh.applied = e.Index
		}
	}
	return fresh
}

type result struct {
	index uint64
	err   error
}

// propose waits for the outcome of one proposal.
func propose(g *replication.Group, payload string) result {
	ch := make(chan result, 1)
	g.Propose([]byte(payload), func(index uint64, err error) { ch <- result{index, err} })
	return <-ch
}

func mustPropose(t testing.TB, g *replication.Group, payload string) uint64 {
	t.Helper()
	r := propose(g, payload)
	require.NoError(t, r.err)
	return r.index
}

func number(i int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(i)) }
