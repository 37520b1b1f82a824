package stan_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/nats-io/nats.go"
	streaming "github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment/vfs"
	"leat.dev/leat/tools/node"
	"leat.dev/leat/wire/stan"
)

const patience = 10 * time.Second

// server is a node on file systems in memory, which can be stopped and killed,
// and comes back under the same address.
type server struct {
	t          *testing.T
	opts       stan.Options
	files      *vfs.MemFS
	faults     *vfs.Fault // of files
	indexFiles *pebblevfs.MemFS
	addr       string
	node       *node.Node
}

func start(t *testing.T, opts stan.Options) *server {
	t.Helper()
	s := &server{t: t, opts: opts, files: vfs.NewMem(), indexFiles: pebblevfs.NewCrashableMem(), addr: "127.0.0.1:0"}
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *server) open() {
	s.t.Helper()
	s.faults = vfs.NewFault(s.files)
	n, err := node.Open(node.Options{
		Dir: "data", Listen: s.addr, Partitions: 2, Files: s.faults, IndexFiles: s.indexFiles, STAN: s.opts,
		SegmentBytes: 4 << 20,
	})
	require.NoError(s.t, err)
	s.node, s.addr = n, n.Addr()
}

func (s *server) close() {
	s.t.Helper()
	require.NoError(s.t, s.node.Close())
}

// restart stops the node in order and starts it again.
func (s *server) restart() {
	s.t.Helper()
	s.close()
	s.open()
}

// kill is the loss of everything that was not synced, and a new start.
func (s *server) kill() {
	s.t.Helper()
	files := s.files.CrashClone(vfs.CrashOptions{Rand: rand.New(rand.NewPCG(1, 2))})
	indexFiles := s.indexFiles.CrashClone(pebblevfs.CrashCloneCfg{})
	s.close()
	s.files, s.indexFiles = files, indexFiles
	s.open()
}

// crash is kill for a node that is at work: from the instant that is kept on,
// nothing is acknowledged any more, because no sync succeeds.
func (s *server) crash() {
	s.t.Helper()
	s.faults.Inject(vfs.Rule{Op: vfs.OpSyncData, Err: syscall.EIO})
	time.Sleep(5 * time.Millisecond) // syncs that had begun
	files := s.files.CrashClone(vfs.CrashOptions{Rand: rand.New(rand.NewPCG(1, 2))})
	indexFiles := s.indexFiles.CrashClone(pebblevfs.CrashCloneCfg{})
	_ = s.node.Close()
	s.files, s.indexFiles = files, indexFiles
	s.open()
}

func (s *server) url() string { return "nats://" + s.addr }

// connect returns an official client. Its NATS connection comes back fast, so
// that restarts take no time.
func (s *server) connect(id string, opts ...streaming.Option) streaming.Conn {
	s.t.Helper()
	nc := s.nats(id)
	sc, err := streaming.Connect(stan.DefaultClusterID, id, append([]streaming.Option{streaming.NatsConn(nc)}, opts...)...)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = sc.Close() })
	return sc
}

func (s *server) nats(name string) *nats.Conn {
	s.t.Helper()
	nc, err := nats.Connect(s.url(), nats.Name(name), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond),
		nats.ReconnectJitter(0, 0))
	require.NoError(s.t, err)
	s.t.Cleanup(nc.Close)
	return nc
}

// box gathers what a subscription gets.
type box struct {
	t    *testing.T
	mu   sync.Mutex
	msgs []*streaming.Msg
	news chan struct{}
}

func newBox(t *testing.T) *box { return &box{t: t, news: make(chan struct{}, 1)} }

func (b *box) take(m *streaming.Msg) {
	b.mu.Lock()
	b.msgs = append(b.msgs, m)
	b.mu.Unlock()
	select {
	case b.news <- struct{}{}:
	default:
	}
}

// await waits for n messages in all and returns them.
func (b *box) await(n int) []*streaming.Msg {
	b.t.Helper()
	deadline := time.After(patience)
	for {
		if msgs := b.all(); len(msgs) >= n {
			return msgs
		}
		select {
		case <-b.news:
		case <-deadline:
			require.FailNow(b.t, "messages are missing", "want %d, got %s", n, show(b.all()))
		}
	}
}

func (b *box) all() []*streaming.Msg {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]*streaming.Msg(nil), b.msgs...)
}

func (b *box) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.msgs = nil
}

// quiet checks that nothing comes for a while.
func (b *box) quiet(d time.Duration, n int) {
	b.t.Helper()
	time.Sleep(d)
	require.Len(b.t, b.all(), n, show(b.all()))
}

func show(msgs []*streaming.Msg) string {
	s := ""
	for _, m := range msgs {
		s += strconv.FormatUint(m.Sequence, 10)
		if m.Redelivered {
			s += fmt.Sprintf("×%d", m.RedeliveryCount)
		}
		s += " "
	}
	return s
}

func publish(t *testing.T, sc streaming.Conn, channel string, n int) {
	t.Helper()
	for i := range n {
		require.NoError(t, sc.Publish(channel, fmt.Appendf(nil, "%s %d", channel, i+1)))
	}
}
