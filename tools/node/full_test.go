package node

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/stan.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/segment/vfs"
)

// Aim: a full disk refuses publishes with a reason that clients of both protocols
// understand, for as long as it lasts; reads and administration go on; when there
// is room, publishing works again; nothing is lost. Method: a node on a file
// system of limited size, filled and freed over and over.
func TestFullDisk(t *testing.T) {
	t.Parallel() // it waits, mostly
	d, h := newDisk(), newHistory()
	o := d.options()
	o.HTTP = "127.0.0.1:0"
	n, err := Open(o)
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Close()) }()
	nc, err := nats.Connect("nats://" + n.Addr())
	require.NoError(t, err)
	defer nc.Close()
	sc, err := stan.Connect("test", "full", stan.NatsConn(nc), stan.PubAckWait(20*time.Second))
	require.NoError(t, err)
	defer func() { _ = sc.Close() }()

	big := make([]byte, 20_000) // does not fit into what little is left of a segment
	refused := func(cycle int) {
		m, err := nc.Request("$LEAT.PUB."+channelName(0), big, 10*time.Second)
		require.NoError(t, err, "cycle %d", cycle)
		var answer struct {
			Error struct {
				Code        int
				Description string
			}
		}
		require.NoError(t, json.Unmarshal(m.Data, &answer))
		require.Equal(t, 507, answer.Error.Code, "%s; %s", m.Data, space(t, d, n))
		require.EqualError(t, sc.Publish(channelName(0), big), "stan: no space left on the server's disk", "%s", space(t, d, n))
	}
	cycles := 4
	if *cuts >= 1000 {
		cycles = 20
	}
	for cycle := range cycles {
		d.files.SetCapacity(1) // less than is in use: full
		var err error
		for i := 0; i < 100_000 && err == nil; i++ {
			err = h.store(n.storage, 0, 20)
		}
		require.ErrorIs(t, err, partition.ErrNoSpace, "cycle %d", cycle)
		if cycle == 0 {
			// The active segment has room for what every try to lead writes, and
			// it is used up by those.
			for range 2 {
				for range 40 {
					_ = h.store(n.storage, 0, 1)
					time.Sleep(50 * time.Millisecond)
				}
				refused(cycle)
			}
			require.True(t, h.check(t, n.storage, "while the disk is full"))
			code, body := get(t, n, "/healthz")
			require.Equal(t, http.StatusServiceUnavailable, code)
			require.Contains(t, body, "no space")
			_, err := nc.Request("$LEAT.API.INFO", nil, 5*time.Second)
			require.NoError(t, err)
		}
		d.files.SetCapacity(0)
		require.Eventually(t, func() bool { return h.store(n.storage, 0, 1) == nil }, 10*time.Second, time.Millisecond)
	}
	require.NoError(t, sc.Publish("other", value(0)))
	require.Eventually(t, func() bool { return n.storage.health() == nil }, 5*time.Second, time.Millisecond)
	require.True(t, h.check(t, n.storage, "in the end"))
}

// space tells how full the disk and the logs are.
func space(t *testing.T, d *disk, n *Node) string {
	t.Helper()
	u, err := d.files.Usage("data")
	require.NoError(t, err)
	var b strings.Builder
	fmt.Fprintf(&b, "disk %+v", u)
	for i, sh := range n.storage.shards {
		fmt.Fprintf(&b, "; partition %d: %+v, segments %+v", i, sh.group.Status(), sh.log.Segments())
	}
	return b.String()
}

// get asks an admin page.
func get(t *testing.T, n *Node, path string) (status int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+n.HTTPAddr()+path, http.NoBody)
	require.NoError(t, err)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	require.NoError(t, err)
	defer func() { require.NoError(t, resp.Body.Close()) }()
	data := make([]byte, 0, 4096)
	for buf := make([]byte, 4096); ; {
		k, err := resp.Body.Read(buf)
		data = append(data, buf[:k]...)
		if err != nil {
			return resp.StatusCode, string(data)
		}
	}
}

// Aim: segments stop while the reserve is still free. Method: a disk with a
// little more than the reserve left; fill it; the rest is there still, and the
// error tells of it.
func TestDiskReserve(t *testing.T) {
	d, h := newDisk(), newHistory()
	o := d.options()
	o.DiskReserveBytes = 300_000
	d.files.SetCapacity(2 << 20)
	n, err := Open(o)
	require.NoError(t, err)
	for i := 0; i < 100_000 && err == nil; i++ {
		err = h.store(n.storage, i%cutChannels, 20)
	}
	require.ErrorIs(t, err, partition.ErrNoSpace)
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.ErrorContains(t, err, "300000 are kept free")
	u, err := d.files.Usage("data")
	require.NoError(t, err)
	require.GreaterOrEqual(t, u.AvailableBytes, int64(290_000))
	require.NoError(t, n.Close())
	// It starts on the full disk, too, and serves what is there.
	n, err = Open(o)
	require.NoError(t, err)
	require.True(t, h.check(t, n.storage, "after a restart on a full disk"))
	require.NoError(t, n.Close())
}

// Aim: an index that cannot be written takes nothing from publishers: all is
// acknowledged and read, health tells, and a restart has everything. Method: the
// index's log fails from some moment on. It runs in a process of its own, because
// Pebble is left as it is after that and keeps its goroutines.
func TestIndexCannotBeWritten(t *testing.T) {
	const child = "LEAT_NODE_TEST_CHILD"
	if os.Getenv(child) == "" {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestIndexCannotBeWritten$", "-test.timeout=60s")
		cmd.Env = append(os.Environ(), child+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "all is there", "the child did nothing: %s", out)
		return
	}
	d, h := newDisk(), newHistory()
	var broken atomic.Bool
	inner := d.index
	d.index = errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpCreate:
		default:
			return nil
		}
		if broken.Load() && filepath.Ext(op.Path) == ".log" {
			return &fs.PathError{Op: "write", Path: op.Path, Err: syscall.ENOSPC}
		}
		return nil
	}))
	st, err := d.storage()
	require.NoError(t, err)
	h.fill(t, st, 2)
	broken.Store(true)
	require.Error(t, st.index.Sync())
	require.ErrorIs(t, st.health(), index.ErrFailed)
	h.fill(t, st, 6)
	require.True(t, h.check(t, st, "with an index that has failed"))
	require.ErrorIs(t, st.close(), index.ErrFailed)

	// Pebble has let nothing go, so the next life is on what a kill leaves.
	broken.Store(false)
	next := diskOf(d.files.CrashClone(vfs.CrashOptions{UnsyncedShare: 1}), cloneIndex(t, inner))
	st, err = next.storage()
	require.NoError(t, err)
	require.True(t, h.check(t, st, "after a restart"))
	require.NoError(t, st.health())
	require.NoError(t, st.close())
	fmt.Println("all is there")
	os.Exit(0) // before goleak looks
}
