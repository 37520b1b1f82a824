package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/tools/node"
)

// Aim: a second process over the same directory, or on the same port, is told so
// and harms nothing; SIGTERM, SIGINT
// and SIGHUP end the first one in order. Method: real processes.
func TestSecondProcess(t *testing.T) {
	p := newProgram(t)
	p.start(t)
	busy := filepath.Join(t.TempDir(), "busy")
	for _, c := range []struct {
		name, dir, listen, http, want string
	}{
		{"directory", p.dir, "127.0.0.1:0", "", "in use by another process"},
		{"port", busy, p.listen, "", "address already in use"},
		{"HTTP port", busy, "127.0.0.1:0", p.listen, "address already in use"},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		out, err := exec.CommandContext(ctx, p.binary, "serve", "--data", c.dir, "--listen", c.listen, "--http", c.http, "--segment-mib", "1").CombinedOutput()
		cancel()
		exit := (*exec.ExitError)(nil)
		require.ErrorAs(t, err, &exit, "%s: %s", c.name, out)
		require.Positive(t, exit.ExitCode(), "%s: %s", c.name, out)
		require.Contains(t, string(out), c.want, c.name)
	}
	b := &book{channel: "second"}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	b.publish(ctx, p.url)
	cancel()
	require.NotZero(t, b.count())
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		require.NoError(t, p.cmd.Process.Signal(signal))
		require.NoError(t, p.cmd.Wait(), "%s: %s", signal, p.log())
		p.start(t)
		b.check(t, p.url, "after "+signal.String(), 0)
	}
	p.kill(t)
}

// Aim: a real file system that is full, filled by the node itself and then by
// somebody else, loses nothing and gives the node back when there is room.
// Method: the program on an ext4 of 64 MiB in a file; publish until nothing is
// acknowledged any more; take what the reserve left; free; over and over; read
// everything at the end, and after a kill.
func TestFullExt4(t *testing.T) {
	t.Parallel() // it waits, mostly
	dir := smallDisk(t)
	p := newProgram(t)
	p.dir = filepath.Join(dir, "data")
	ballast := filepath.Join(dir, "ballast")
	grow(t, ballast, 20<<20)
	p.start(t)
	b := &book{channel: "full"}
	beside := "a" // a channel of the same partition
	for partition.Route(beside, node.DefaultPartitions) != partition.Route(b.channel, node.DefaultPartitions) {
		beside += "a"
	}
	cycles := 2
	if *node.Kills >= 100 {
		cycles = 4
	}
	for cycle := range cycles {
		before := b.count()
		full(t, p, b)
		require.Greater(t, b.count(), before, "cycle %d: nothing was stored when there was room", cycle)
		b.check(t, p.url, fmt.Sprintf("cycle %d, full", cycle), b.checked)
		// Somebody else takes the rest.
		rest := filepath.Join(dir, "rest")
		grow(t, rest, 1<<30)
		full(t, p, b)
		b.check(t, p.url, fmt.Sprintf("cycle %d, full to the last byte", cycle), b.checked)
		require.NoError(t, os.Remove(rest))
		require.NoError(t, os.Truncate(ballast, int64(20-5*(cycle+1))<<20))
		require.Eventually(t, func() bool { return stores(p, beside) }, 20*time.Second, 10*time.Millisecond, "cycle %d: not after there was room", cycle)
		if cycle == 1 {
			p.kill(t)
			p.start(t)
		}
	}
	b.check(t, p.url, "at the end", 0)
	t.Logf("%d records acknowledged", b.count())
	require.NotContains(t, p.log(), "panic")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.cmd.Wait(), p.log())
	p.cmd = nil
}

// smallDisk mounts an ext4 of 64 MiB, or skips the test.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	image, dir := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 64<<20))
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no loop mounts here: %v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		out, err := exec.CommandContext(context.Background(), "umount", dir).CombinedOutput()
		require.NoError(t, err, string(out))
	})
	return dir
}

// grow writes until the file has that many bytes or the disk is full.
func grow(t *testing.T, name string, sizeBytes int64) {
	t.Helper()
	f, err := os.Create(name)
	require.NoError(t, err)
	for _, block := range []int64{1 << 20, 4096} {
		data := make([]byte, block)
		for have := int64(0); have < sizeBytes; have += block {
			if _, err := f.Write(data); err != nil {
				require.ErrorIs(t, err, syscall.ENOSPC)
				break
			}
		}
		if sizeBytes < 1<<30 {
			break
		}
	}
	require.NoError(t, errors.Join(f.Sync(), f.Close()))
}

// full publishes until a second brings nothing.
func full(t *testing.T, p *program, b *book) {
	t.Helper()
	for range 60 {
		before := b.count()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		var wg sync.WaitGroup
		wg.Go(func() { b.publish(ctx, p.url) })
		wg.Wait()
		cancel()
		if b.count() == before {
			return
		}
	}
	t.Fatal("the disk is never full")
}

// stores tells whether a publish to a channel is acknowledged now.
func stores(p *program, beside string) bool {
	nc, err := nats.Connect(p.url)
	if err != nil {
		return false
	}
	defer nc.Close()
	m, err := nc.Request("$LEAT.PUB."+beside, []byte("x"), 2*time.Second)
	return err == nil && strings.Contains(string(m.Data), `"seq":`)
}
