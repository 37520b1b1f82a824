package stan_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	streaming "github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/stan"
)

// Aim: whatever comes together (subscriptions that close with messages on their
// way, members that come and go, acknowledgements forgotten, the node stopped and
// its power cut), applications notice no more than publishes that time out and
// messages that come again, flagged: what was acknowledged to a publisher is
// stored once, in order of time; each durable, each queue group and each plain
// subscription gets all of it. Method: the official client, everything at random,
// checked as it comes and at the end.
func TestEverythingAtOnce(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &chaos{
		t: t, s: start(t, stan.Options{ReplaceDurable: true}), rng: rand.New(rand.NewPCG(seed, 1)), stored: map[string]map[string]bool{},
	}
	channels := []string{"c.0", "c.1", "c.2"}
	for _, channel := range channels {
		c.stored[channel] = map[string]bool{}
	}
	for i := range 3 {
		sc := c.connect(fmt.Sprintf("publisher-%d", i))
		c.wait.Go(func() { c.publishLoop(sc, channels, i) })
	}
	for _, channel := range channels {
		for _, kind := range []string{"plain", "durable", "queue", "durable queue"} {
			c.consume(channel, kind)
		}
	}
	for range 5 {
		time.Sleep(time.Duration(200+c.rng.IntN(600)) * time.Millisecond)
		if c.rng.IntN(3) == 0 {
			c.s.restart()
		} else {
			c.s.crash()
		}
	}
	time.Sleep(300 * time.Millisecond)
	c.stop.Store(true)
	c.wait.Wait()
	require.Zero(t, c.lost.Load(), "an application noticed")
	for _, l := range c.journals {
		c.check(l)
	}
}

// chaos is what the goroutines of the test share.
type chaos struct {
	t        *testing.T
	s        *server
	rng      *rand.Rand
	stop     atomic.Bool
	lost     atomic.Int64 // connections, as stan.go sees it
	wait     sync.WaitGroup
	journals []*journal

	mu     sync.Mutex
	stored map[string]map[string]bool // by channel: what was acknowledged to publishers; guarded by mu
}

func (c *chaos) connect(id string) streaming.Conn {
	c.t.Helper()
	nc, err := nats.Connect(c.s.url(), nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectBufSize(-1))
	require.NoError(c.t, err)
	c.t.Cleanup(nc.Close)
	sc, err := streaming.Connect(stan.DefaultClusterID, id, streaming.NatsConn(nc), streaming.Pings(1, 1000),
		streaming.PubAckWait(200*time.Millisecond), streaming.ConnectWait(500*time.Millisecond),
		streaming.SetConnectionLostHandler(func(streaming.Conn, error) { c.lost.Add(1) }))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = sc.Close() })
	return sc
}

func (c *chaos) publishLoop(sc streaming.Conn, channels []string, publisher int) {
	for i := 0; !c.stop.Load(); i++ {
		time.Sleep(500 * time.Microsecond)
		channel, data := channels[i%len(channels)], fmt.Sprintf("%d.%d", publisher, i)
		if sc.Publish(channel, []byte(data)) == nil {
			c.mu.Lock()
			c.stored[channel][data] = true
			c.mu.Unlock()
		}
	}
}

// consume starts a consumer. Members of a queue that is not durable take turns
// around one that stays; a plain subscription stays.
func (c *chaos) consume(channel, kind string) {
	j := &journal{channel: channel, kind: kind, seen: map[uint64]string{}, times: map[uint64]int64{}}
	c.journals = append(c.journals, j)
	members := 1
	if j.isQueue() {
		members = 3
	}
	for i := range members {
		m := &member{
			j: j, sc: c.connect(strings.ReplaceAll(fmt.Sprintf("%s-%s-%d", channel[2:], kind, i), " ", "-")),
			rng: rand.New(rand.NewPCG(c.rng.Uint64(), 2)),
		}
		sub := m.subscribe()
		if kind == "plain" || kind == "queue" && i == 0 {
			continue
		}
		c.wait.Go(func() {
			for !c.stop.Load() {
				time.Sleep(time.Duration(20+m.rng.IntN(400)) * time.Millisecond)
				_ = sub.Close() // the server may not hear of it
				time.Sleep(time.Duration(m.rng.IntN(2)*m.rng.IntN(100)) * time.Millisecond)
				sub = m.subscribe()
			}
		})
	}
}

// check compares what a consumer was sent with what is stored.
func (c *chaos) check(j *journal) {
	c.t.Helper()
	ch, ok := c.s.node.Store().Channel(j.channel)
	require.True(c.t, ok)
	last := int(ch.Last())
	require.Eventually(c.t, func() bool { return j.count() == last }, 3*patience, 10*time.Millisecond,
		"%s %s has %d of %d", j.channel, j.kind, j.count(), last)
	j.mu.Lock()
	defer j.mu.Unlock()
	require.Empty(c.t, j.bad, "%s %s", j.channel, j.kind)
	copies, before := map[string]int{}, int64(0)
	for seq := uint64(1); seq <= uint64(last); seq++ {
		copies[j.seen[seq]]++
		require.GreaterOrEqual(c.t, j.times[seq], before)
		before = j.times[seq]
	}
	for data := range c.stored[j.channel] {
		require.Equal(c.t, 1, copies[data], "%q", data)
	}
}

// journal is what a consumer was sent: one subscription after the other, or all
// members of a queue group.
type journal struct {
	channel, kind string

	mu    sync.Mutex
	seen  map[uint64]string // data by sequence; guarded by mu
	times map[uint64]int64  // guarded by mu
	bad   []string          // guarded by mu
}

func (j *journal) isQueue() bool { return strings.Contains(j.kind, "queue") }

func (j *journal) count() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.seen)
}

// member is one subscription at a time.
type member struct {
	j   *journal
	sc  streaming.Conn
	rng *rand.Rand
}

// subscribe tries until it gets through: nobody serves now and then.
func (m *member) subscribe() streaming.Subscription {
	window := 5 + m.rng.IntN(50)
	r := &reader{j: m.j, window: window, held: map[uint64]bool{}, rng: rand.New(rand.NewPCG(m.rng.Uint64(), 3))}
	opts := []streaming.SubscriptionOption{
		streaming.DeliverAllAvailable(), streaming.SetManualAckMode(), streaming.MaxInflight(window), streaming.AckWait(time.Second),
	}
	if strings.Contains(m.j.kind, "durable") {
		opts = append(opts, streaming.DurableName("d"))
	}
	group := ""
	if m.j.isQueue() {
		group = "g"
	}
	for {
		sub, err := m.sc.QueueSubscribe(m.j.channel, group, r.take, opts...)
		if err == nil {
			return sub
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// reader takes the messages of one subscription, whose callback is called by one
// goroutine.
type reader struct {
	j      *journal
	window int
	held   map[uint64]bool // received and not acknowledged
	last   uint64          // highest that came unflagged
	rng    *rand.Rand
}

func (r *reader) take(m *streaming.Msg) {
	r.note(m)
	if r.rng.IntN(20) == 0 {
		time.Sleep(time.Duration(r.rng.IntN(3)) * time.Millisecond)
	}
	if r.rng.IntN(300) > 0 && m.Ack() == nil { // else it has to come again
		delete(r.held, m.Sequence)
	}
}

func (r *reader) note(m *streaming.Msg) {
	j := r.j
	j.mu.Lock()
	defer j.mu.Unlock()
	wrong := func(format string, args ...any) { j.bad = append(j.bad, fmt.Sprintf(format, args...)) }
	data, seen := j.seen[m.Sequence]
	if seen && (data != string(m.Data) || j.times[m.Sequence] != m.Timestamp) {
		wrong("%d came as %q and as %q", m.Sequence, data, m.Data)
	}
	if m.Redelivered != (m.RedeliveryCount > 0) {
		wrong("%d: redelivered %v, count %d", m.Sequence, m.Redelivered, m.RedeliveryCount)
	}
	j.seen[m.Sequence], j.times[m.Sequence] = string(m.Data), m.Timestamp
	r.held[m.Sequence] = true
	if m.Redelivered {
		return
	}
	if seen {
		wrong("%d came again, not flagged", m.Sequence)
	}
	if m.Sequence <= r.last {
		wrong("%d came after %d", m.Sequence, r.last)
	}
	r.last = m.Sequence
	// What a queue member forgets goes to another one.
	if len(r.held) > r.window && !j.isQueue() {
		wrong("%d are held when %d comes, %d may be", len(r.held), m.Sequence, r.window)
	}
}
