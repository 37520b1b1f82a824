package partition_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

const (
	epochStart = 1_700_000_000_000_000_000
	patience   = 20 * time.Second
	tick       = time.Millisecond
)

// node is a partition over files in memory, with a log that nobody replicates.
type node struct {
	t      testing.TB
	files  vfs.FS
	ixFS   pebblevfs.FS
	opts   partition.Options
	seg    segment.Options
	ix     *index.Index
	log    *segment.Log
	part   *partition.Partition
	leader *leader
	wrap   func(*leader) partition.Proposer // nil: the leader as it is
}

// newNode makes a node that is not open.
func newNode(t testing.TB) *node {
	t.Helper()
	n := &node{t: t, files: vfs.NewMem(), ixFS: pebblevfs.NewMem()}
	n.seg = segment.Options{Dir: "p", SegmentBytes: segment.SegmentBytesMin, MarkerDelay: -1, FillBytesMax: -1}
	n.opts = partition.Options{ID: 7, FlushDelay: time.Millisecond}
	return n
}

// start is a node that leads.
func start(t testing.TB) *node {
	t.Helper()
	n := newNode(t)
	n.open()
	n.lead()
	t.Cleanup(n.close)
	return n
}

// open opens everything and applies what the log has. It does not lead.
func (n *node) open() {
	n.t.Helper()
	var err error
	n.ix, err = index.Open(index.Options{Dir: "index", FS: n.ixFS, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	require.NoError(n.t, err)
	n.seg.FS = n.files
	n.seg.OnSeal = func(segment.Info) {
		if p := n.part; p != nil {
			p.IndexSealed()
		}
	}
	n.part = nil
	n.log, err = segment.Open(n.seg)
	require.NoError(n.t, err)
	n.opts.Log, n.opts.Index = n.log, n.ix.Partition(n.opts.ID)
	n.part, err = partition.Open(n.opts)
	require.NoError(n.t, err)
	n.replay(n.part.Applied() + 1)
	n.leader = newLeader(n.log, n.part)
	if n.wrap != nil {
		n.part.Start(n.wrap(n.leader))
		return
	}
	n.part.Start(n.leader)
}

// replay applies the log's entries from the given one on, some at a time.
func (n *node) replay(from uint64) {
	n.t.Helper()
	last, _ := n.log.Last()
	var entries []partition.Entry
	for i := from; i <= last; i++ {
		e, _, err := n.log.Entry(i, nil)
		require.NoError(n.t, err)
		if e.Type == record.FrameData {
			entries = append(entries, partition.Entry{Index: e.Index, Term: e.Term, Payload: slices.Clone(e.Payload)})
		}
		if len(entries) == 3 || i == last {
			n.part.Apply(entries)
			entries = entries[:0]
		}
	}
}

func (n *node) lead() { n.leader.elect() }

func (n *node) close() {
	n.t.Helper()
	if n.part == nil {
		return
	}
	n.leader.stop()
	require.NoError(n.t, n.part.Close())
	require.NoError(n.t, n.log.Close())
	require.NoError(n.t, n.ix.Close())
	n.part = nil
}

// restart closes and opens; what is between is done to the files.
func (n *node) restart(between func()) {
	n.t.Helper()
	n.close()
	if between != nil {
		between()
	}
	n.open()
	n.lead()
}

// append stores values and returns the outcome.
func (n *node) append(c *partition.Channel, values ...string) (base record.Offset, err error) {
	n.t.Helper()
	done := make(chan struct{})
	a := c.NewAppend()
	for _, v := range values {
		require.NoError(n.t, a.AddValue([]byte(v)))
	}
	a.Done = func(a *partition.Append) {
		base, err = a.Base, a.Err
		close(done)
	}
	c.Append(a)
	<-done
	return base, err
}

func (n *node) ensure(name string) *partition.Channel {
	n.t.Helper()
	c, err := n.part.Ensure(name)
	require.NoError(n.t, err)
	return c
}

func (n *node) store(name string, values ...string) record.Offset {
	n.t.Helper()
	base, err := n.append(n.ensure(name), values...)
	require.NoError(n.t, err)
	return base
}

// read returns the values of a channel from an offset on, which must be dense.
func read(t testing.TB, c *partition.Channel, from record.Offset) []string {
	t.Helper()
	r := c.NewReader(from)
	defer r.Close()
	return readOn(t, r)
}

func readOn(t testing.TB, r *partition.Reader) (values []string) {
	t.Helper()
	var b record.Batch
	var rec record.Record
	for {
		at := r.Offset()
		first, ok, err := r.Next(&b)
		require.NoError(t, err)
		if !ok {
			return values
		}
		require.LessOrEqual(t, at, b.Base+record.Offset(first))
		for k := first; k < int(b.Count); k++ {
			require.NoError(t, b.Record(k, &rec))
			values = append(values, string(rec.Value))
		}
		require.Equal(t, b.Last()+1, r.Offset())
	}
}

// dump is the whole state of a partition as text.
func dump(p *partition.Partition) string {
	var lines []string
	p.Channels(func(c *partition.Channel) {
		lines = append(lines, fmt.Sprintf("channel %+v", c.Info()))
		for _, cur := range c.Cursors() {
			lines = append(lines, fmt.Sprintf("cursor %s %s %q %s", c.Name(), cur.Name, cur.Meta, cur.Place))
		}
	})
	for kind := range 3 {
		for _, s := range p.Sessions(byte(kind)) {
			lines = append(lines, fmt.Sprintf("session %d %s %q", kind, s.Name, s.Value))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// verdict is what a leader does with an entry.
type verdict int

const (
	accept      verdict = iota
	refuse              // not written
	lose                // not written, outcome unknown
	loseWritten         // written and applied, outcome unknown
)

var errLost = fmt.Errorf("leadership lost: %w", partition.ErrUnknownOutcome)

// leader is a Proposer of one voter. A failure ends the term, as in Raft.
type leader struct {
	log  *segment.Log
	part *partition.Partition

	// decide says what becomes of an entry, and the error of those refused.
	// Guarded by mu.
	decide func(payload []byte) (verdict, error)

	// change is held while the partition is told who leads. Taken before mu.
	change sync.Mutex
	failed bool // guarded by change; the term has ended and Follow was not called yet

	mu   sync.Mutex
	term uint64 // 0: does not lead
	last uint64 // term
	work chan work
	done sync.WaitGroup
}

type work struct {
	payload []byte
	term    uint64
	done    func(uint64, error)
}

func newLeader(log *segment.Log, part *partition.Partition) *leader {
	ch := make(chan work, 8)
	l := &leader{log: log, part: part, work: ch}
	_, l.last = log.Last()
	l.done.Go(func() { l.run(ch) })
	return l
}

// elect begins a term.
func (l *leader) elect() {
	l.change.Lock()
	defer l.change.Unlock()
	l.followLocked()
	l.mu.Lock()
	l.last++
	l.term = l.last
	term := l.term
	l.mu.Unlock()
	l.part.Lead(term)
}

// depose ends the term.
func (l *leader) depose() {
	l.change.Lock()
	defer l.change.Unlock()
	l.mu.Lock()
	l.term = 0
	l.mu.Unlock()
	l.failed = true
	l.followLocked()
}

// fail ends the term because of an entry, without telling.
func (l *leader) fail() {
	l.change.Lock()
	defer l.change.Unlock()
	l.mu.Lock()
	l.term = 0
	l.mu.Unlock()
	l.failed = true
}

// follow tells that the term has ended, if that is still to be told.
func (l *leader) follow() {
	l.change.Lock()
	defer l.change.Unlock()
	l.followLocked()
}

func (l *leader) followLocked() {
	if l.failed {
		l.failed = false
		l.part.Follow()
	}
}

func (l *leader) setDecide(f func([]byte) (verdict, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decide = f
}

func (l *leader) stop() {
	l.part.Fail(partition.ErrClosed)
	l.mu.Lock()
	ch := l.work
	l.work = nil
	l.mu.Unlock()
	if ch != nil {
		ch <- work{} // the last
	}
	l.done.Wait()
}

// Propose implements partition.Proposer.
func (l *leader) Propose(payload []byte, done func(uint64, error)) {
	l.mu.Lock()
	ch, term := l.work, l.term
	if ch != nil {
		// With mu held, so that stop cannot end run before this gets there and
		// leave it without an answer. There is room: see flightsMax.
		ch <- work{payload, term, done}
	}
	l.mu.Unlock()
	if ch == nil {
		done(0, partition.ErrClosed)
	}
}

func (l *leader) run(ch chan work) {
	for {
		w := <-ch
		l.mu.Lock()
		term, decide := l.term, l.decide
		l.mu.Unlock()
		if w.done == nil {
			return
		}
		if w.term == 0 || w.term != term {
			w.done(0, partition.ErrNotLeader)
			continue
		}
		v, err := accept, error(nil)
		if decide != nil {
			v, err = decide(w.payload)
		}
		var index uint64
		if v == accept || v == loseWritten {
			index, err = l.write(w.payload, term)
		}
		if err == nil && v != accept {
			err = errLost
		}
		if err != nil {
			l.fail()
		}
		w.done(index, err)
		l.follow()
	}
}

func (l *leader) write(payload []byte, term uint64) (uint64, error) {
	last, _ := l.log.Last()
	e := segment.Entry{Index: last + 1, Term: term, Type: record.FrameData, Payload: payload}
	if err := l.log.Append([]segment.Entry{e}); err != nil {
		if errors.Is(err, segment.ErrNoSpace) {
			return 0, fmt.Errorf("%w: %w", partition.ErrNoSpace, err)
		}
		return 0, fmt.Errorf("%w: %w", partition.ErrUnknownOutcome, err)
	}
	l.part.Apply([]partition.Entry{{Index: e.Index, Term: term, Payload: payload}})
	return e.Index, nil
}
