package node_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/tools/node"
)

// Aim: kill -9 of the real program under load loses nothing acknowledged and
// invents nothing. Method: build leat, serve, publish over some connections with
// many records in flight, kill after a random time, serve again, replay what was
// published since the last check, compare; at the end compare all of it.
func TestKill(t *testing.T) {
	s := *node.Seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("%d kills, -seed %d", *node.Kills, s)
	rng := rand.New(rand.NewPCG(s, 9))
	p := newProgram(t)
	books := []*book{{channel: "kill.a"}, {channel: "kill.b"}, {channel: "kill.c"}}
	for kill := range *node.Kills {
		p.start(t)
		for _, b := range books {
			b.check(t, p.url, fmt.Sprintf("before kill %d", kill+1), b.checked)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for _, b := range books {
			wg.Go(func() { b.publish(ctx, p.url) })
		}
		time.Sleep(time.Duration(10+rng.IntN(490)) * time.Millisecond)
		p.kill(t)
		cancel()
		wg.Wait()
	}
	p.start(t)
	records := 0
	for _, b := range books {
		b.check(t, p.url, "at the end", 0)
		records += b.count()
	}
	p.kill(t)
	t.Logf("%d records acknowledged", records)
	require.NotZero(t, records)
}

// program is the real thing in a process of its own.
type program struct {
	binary, dir, url string
	listen           string
	cmd              *exec.Cmd
	logName          string // a file: the program writes while the test reads
}

func newProgram(t *testing.T) *program {
	t.Helper()
	dir := t.TempDir()
	binary, err := node.Program()
	require.NoError(t, err)
	p := &program{binary: binary, dir: filepath.Join(dir, "data"), listen: freeAddr(t), logName: filepath.Join(dir, "log")}
	p.url = "nats://" + p.listen
	t.Cleanup(func() {
		if p.cmd != nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("the program's log:\n%s", p.log())
		}
	})
	return p
}

func freeAddr(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().String()
}

func (p *program) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.binary, "serve", "--data", p.dir, "--listen", p.listen, "--http", "", "--segment-mib", "1")
	log, err := os.OpenFile(p.logName, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	p.cmd.Stderr = log
	require.NoError(t, p.cmd.Start())
	require.NoError(t, log.Close()) // the program has its own
	deadline := time.Now().Add(20 * time.Second)
	for {
		nc, err := nats.Connect(p.url, nats.Timeout(time.Second))
		if err == nil {
			_, err = nc.Request("$LEAT.API.INFO", nil, 2*time.Second)
			nc.Close()
			if err == nil {
				return
			}
		}
		if time.Now().After(deadline) {
			require.Fail(t, "the node does not serve", "%v\n%s", err, p.log())
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// log is what the program has said so far.
func (p *program) log() string {
	b, err := os.ReadFile(p.logName)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func (p *program) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, p.cmd.Process.Signal(os.Kill))
	_ = p.cmd.Wait() // its state is "killed", which is what was asked for
	p.cmd = nil
}

// book keeps what was sent to a channel and acknowledged.
type book struct {
	channel string
	mu      sync.Mutex
	next    int
	acked   map[uint64]int // by offset: the record's number
	checked uint64         // highest offset that was compared
	seen    map[int]uint64 // by record: the offset that it was found at
}

// count is the number of records acknowledged so far. Acknowledgements may come
// in until the connection's goroutines have ended, which nobody waits for.
func (b *book) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.acked)
}

// publish keeps records in flight until ctx ends or the connection is lost.
func (b *book) publish(ctx context.Context, url string) {
	nc, err := nats.Connect(url, nats.NoReconnect())
	if err != nil {
		return // killed before it began
	}
	defer nc.Close()
	lost := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(lost) })
	window := make(chan struct{}, 256)
	inbox := nats.NewInbox()
	_, err = nc.Subscribe(inbox+".*", func(m *nats.Msg) {
		var ack struct {
			Seq   uint64          `json:"seq"`
			Error json.RawMessage `json:"error"`
		}
		id, err := strconv.Atoi(m.Subject[strings.LastIndexByte(m.Subject, '.')+1:])
		if json.Unmarshal(m.Data, &ack) == nil && err == nil && ack.Error == nil {
			b.mu.Lock()
			if b.acked == nil {
				b.acked = map[uint64]int{}
			}
			b.acked[ack.Seq] = id
			b.mu.Unlock()
		}
		<-window
	})
	if err != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-lost:
			return
		case window <- struct{}{}:
		}
		b.mu.Lock()
		id := b.next
		b.next++
		b.mu.Unlock()
		if nc.PublishRequest("$LEAT.PUB."+b.channel, inbox+"."+strconv.Itoa(id), body(id)) != nil {
			return
		}
	}
}

func body(id int) []byte { return fmt.Appendf(nil, "%d|%s", id, strings.Repeat("x", id*31%400)) }

// check replays the channel from behind the given offset.
func (b *book) check(t *testing.T, url, when string, behind uint64) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.seen == nil || behind == 0 {
		b.seen = map[int]uint64{}
	}
	if len(b.acked) == 0 {
		return
	}
	nc, err := nats.Connect(url, nats.SyncQueueLen(8<<20)) // a replay is as fast as the connection takes it
	require.NoError(t, err)
	defer nc.Close()
	inbox := nats.NewInbox()
	sub, err := nc.SubscribeSync(inbox)
	require.NoError(t, err)
	require.NoError(t, sub.SetPendingLimits(-1, -1))
	request := fmt.Sprintf(`{"from":%d}`, behind+1)
	require.NoError(t, nc.PublishRequest("$LEAT.REPLAY."+b.channel, inbox, []byte(request)))
	found := map[uint64]int{}
	last := behind
	for {
		m, err := sub.NextMsg(10 * time.Second)
		require.NoError(t, err, when)
		if m.Header.Get("Status") == "204" {
			break
		}
		off, err := strconv.ParseUint(m.Header.Get("Leat-Offset"), 10, 64)
		require.NoError(t, err, "%s: %q", when, m.Data)
		require.Equal(t, last+1, off, "%s: channel %s has a gap", when, b.channel)
		last = off
		text, _, _ := strings.Cut(string(m.Data), "|")
		id, err := strconv.Atoi(text)
		require.NoError(t, err)
		require.Less(t, id, b.next, "%s: nobody sent it", when)
		require.Equal(t, body(id), m.Data, "%s: channel %s offset %d", when, b.channel, off)
		at, twice := b.seen[id]
		require.False(t, twice, "%s: record %d is at %d and at %d", when, id, at, off)
		b.seen[id] = off
		found[off] = id
	}
	for off, id := range b.acked {
		if off > behind {
			got, ok := found[off]
			require.True(t, ok, "%s: channel %s: acknowledged offset %d is gone; last is %d", when, b.channel, off, last)
			require.Equal(t, id, got, "%s: channel %s offset %d", when, b.channel, off)
		}
	}
	b.checked = last
}
