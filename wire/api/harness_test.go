package api_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/wire/api"
	router "leat.dev/leat/wire/nats"
)

const patience = 10 * time.Second

// node is the front-end on a real router and real partitions, over segments in
// memory. Instead of a Raft group there is a loop that appends and applies. It
// comes back under the same address.
type node struct {
	t      testing.TB
	opts   router.Options
	most   int // api.Options.RequestsMax
	files  *vfs.MemFS
	dir    string // of the index
	addr   string
	router *router.Server
	index  *index.Index
	shards []*shard
	front  *api.Frontend
}

func start(t testing.TB, opts router.Options) *node {
	t.Helper()
	return startBounded(t, opts, 0)
}

func startBounded(t testing.TB, opts router.Options, requestsMax int) *node {
	t.Helper()
	n := &node{t: t, opts: opts, most: requestsMax, files: vfs.NewMem(), dir: t.TempDir(), addr: "127.0.0.1:0"}
	n.open()
	t.Cleanup(n.close)
	return n
}

const shardCount = 2

func (n *node) open() {
	n.t.Helper()
	o := n.opts
	o.Addr = n.addr
	var err error
	n.router, err = router.Listen(o)
	require.NoError(n.t, err)
	n.addr = n.router.Addr()
	n.index, err = index.Open(index.Options{Dir: n.dir, CacheBytes: 1 << 20, MemTableBytes: 1 << 20})
	require.NoError(n.t, err)
	var parts []*partition.Partition
	n.shards = nil
	for i := range shardCount {
		s := openShard(n.t, n.files, n.index.Partition(uint32(i)), uint32(i))
		n.shards = append(n.shards, s)
		parts = append(parts, s.part)
	}
	n.front, err = api.Open(api.Options{
		Bus: n.router, Store: partition.NewSet(parts), Node: api.NodeInfo{NodeID: "N1", Partitions: shardCount}, RequestsMax: n.most,
	})
	require.NoError(n.t, err)
	n.router.Serve()
}

func (n *node) close() {
	n.front.Close()
	for _, s := range n.shards {
		s.close(n.t)
	}
	require.NoError(n.t, n.index.Close())
	require.NoError(n.t, n.router.Close())
}

func (n *node) restart() {
	n.t.Helper()
	n.close()
	n.open()
}

// shard is a partition whose entries are appended and applied by one loop.
type shard struct {
	log  *segment.Log
	part *partition.Partition
	work chan proposal
	done sync.WaitGroup

	mu     sync.Mutex
	refuse error  // proposals get it; guarded by mu
	term   uint64 // guarded by mu
}

type proposal struct {
	payload []byte
	term    uint64
	done    func(uint64, error)
}

func openShard(t testing.TB, files *vfs.MemFS, ix *index.Partition, id uint32) *shard {
	t.Helper()
	s := &shard{work: make(chan proposal, 16)}
	var err error
	s.log, err = segment.Open(segment.Options{FS: files, Dir: fmt.Sprint("partition-", id), Partition: id, SegmentBytes: 4 << 20})
	require.NoError(t, err)
	s.part, err = partition.Open(partition.Options{ID: id, Log: s.log, Index: ix})
	require.NoError(t, err)
	last, _ := s.log.Last()
	for i := max(s.part.Applied()+1, s.log.First()); i <= last; i++ {
		e, _, err := s.log.Entry(i, nil)
		require.NoError(t, err)
		s.part.Apply([]partition.Entry{{Index: e.Index, Term: e.Term, Payload: e.Payload}})
	}
	s.done.Go(s.run)
	s.part.Start(s)
	_, s.term = s.log.Last()
	s.lead()
	return s
}

// lead begins a term, as a group does when it has elected.
func (s *shard) lead() {
	s.mu.Lock()
	s.term++
	term := s.term
	s.mu.Unlock()
	s.part.Lead(term)
}

// Propose implements partition.Proposer.
func (s *shard) Propose(payload []byte, done func(uint64, error)) {
	s.mu.Lock()
	term := s.term
	s.mu.Unlock()
	s.work <- proposal{payload, term, done}
}

func (s *shard) run() {
	for p := range s.work {
		s.mu.Lock()
		err, term := s.refuse, s.term
		s.mu.Unlock()
		if p.term != term {
			p.done(0, partition.ErrNotLeader)
			continue
		}
		last, _ := s.log.Last()
		e := segment.Entry{Index: last + 1, Term: term, Type: record.FrameData, Payload: p.payload}
		if err == nil {
			err = s.log.Append([]segment.Entry{e})
		}
		if err != nil {
			p.done(0, err)
			s.lead()
			continue
		}
		s.part.Apply([]partition.Entry{{Index: e.Index, Term: term, Payload: p.payload}})
		p.done(e.Index, nil)
	}
}

func (s *shard) fault(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = err
}

func (s *shard) close(t testing.TB) {
	s.part.Fail(partition.ErrClosed)
	require.NoError(t, s.part.Close())
	close(s.work)
	s.done.Wait()
	require.NoError(t, s.log.Close())
}

// client is a nats.go connection with what tests do over it.
type client struct {
	*nats.Conn
	t testing.TB
}

func (n *node) client(opts ...nats.Option) *client {
	n.t.Helper()
	opts = append([]nats.Option{
		nats.MaxReconnects(-1), nats.ReconnectWait(10 * time.Millisecond), nats.ReconnectJitter(0, 0),
	}, opts...)
	nc, err := nats.Connect("nats://"+n.addr, opts...)
	require.NoError(n.t, err)
	n.t.Cleanup(nc.Close)
	return &client{nc, n.t}
}

// ask sends a request below "$LEAT." and returns the JSON of its answer.
func (c *client) ask(subject, body string) string {
	c.t.Helper()
	m, err := c.Request("$LEAT."+subject, []byte(body), patience)
	require.NoError(c.t, err)
	return string(m.Data)
}

// want asks, and decodes the answer, which must be no error.
func want[T any](c *client, subject, body string) T {
	c.t.Helper()
	answer := c.ask(subject, body)
	var failed struct {
		Error *api.Error `json:"error"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(answer), &failed), answer)
	require.Nil(c.t, failed.Error, answer)
	var v T
	require.NoError(c.t, json.Unmarshal([]byte(answer), &v), answer)
	return v
}

// refused asks, and returns the error that the answer must be.
func (c *client) refused(subject, body string) *api.Error {
	c.t.Helper()
	answer := c.ask(subject, body)
	var failed struct {
		Error *api.Error `json:"error"`
	}
	require.NoError(c.t, json.Unmarshal([]byte(answer), &failed), answer)
	require.NotNil(c.t, failed.Error, answer)
	require.NotEmpty(c.t, failed.Error.Description)
	return failed.Error
}

// publish stores records "<channel> 1" to "<channel> n" and waits for each.
func (c *client) publish(channel string, n int) {
	c.t.Helper()
	for i := range n {
		answer := c.ask("PUB."+channel, fmt.Sprintf("%s %d", channel, i+1))
		require.Contains(c.t, answer, `{"stream":"`+channel+`","seq":`)
	}
}

// inbox is a subscription that a replay delivers to.
type inbox struct {
	*nats.Subscription
	c *client
}

func (c *client) replay(channel, request string) *inbox {
	c.t.Helper()
	sub, err := c.SubscribeSync(nats.NewInbox())
	require.NoError(c.t, err)
	require.NoError(c.t, sub.SetPendingLimits(-1, -1))
	require.NoError(c.t, c.PublishRequest("$LEAT.REPLAY."+channel, sub.Subject, []byte(request)))
	return &inbox{sub, c}
}

// begun is replay that waits for the answer, so that the replay is under way.
func (c *client) begun(channel, fields string) *inbox {
	c.t.Helper()
	sub, err := c.SubscribeSync(nats.NewInbox())
	require.NoError(c.t, err)
	a := want[api.ReplayAnswer](c, "REPLAY."+channel, `{"deliver":"`+sub.Subject+`",`+fields+`}`)
	require.Equal(c.t, channel, a.Channel)
	return &inbox{sub, c}
}

func (i *inbox) next() *nats.Msg {
	i.c.t.Helper()
	m, err := i.NextMsg(patience)
	require.NoError(i.c.t, err)
	return m
}

// show gives a delivery as "7", "7×1" when it was sent once before, and the end
// as its status and the offset to go on from.
func show(m *nats.Msg) string {
	s := m.Header.Get(api.HeaderOffset)
	if s == "" {
		if off, _, ok := api.ParseDelivery(m.Reply); ok {
			s = strconv.FormatUint(off, 10)
		} else {
			s = string(m.Data)
		}
	}
	if n := m.Header.Get(api.HeaderCount); n != "" {
		s += "×" + n
	}
	if status := m.Header.Get("Status"); status != "" {
		s = status + " " + s
	}
	return s
}

// take returns the next n deliveries.
func (i *inbox) take(n int) (got []string) {
	i.c.t.Helper()
	for range n {
		got = append(got, show(i.next()))
	}
	return got
}

// quiet checks that nothing comes for a while.
func (i *inbox) quiet(d time.Duration) {
	i.c.t.Helper()
	m, err := i.NextMsg(d)
	require.ErrorIs(i.c.t, err, nats.ErrTimeout, "%v", m)
}

// list is "from", …, "to".
func list(from, to int) (out []string) {
	for ; from <= to; from++ {
		out = append(out, strconv.Itoa(from))
	}
	return out
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	require.Eventually(t, ok, patience, 2*time.Millisecond, what)
}

// full is what a log on a full disk answers.
func full() error { return fmt.Errorf("%w: quota", partition.ErrNoSpace) }

func (n *node) channel(name string) (*partition.Channel, bool) {
	return n.shards[partition.Route(name, shardCount)].part.Channel(name)
}
