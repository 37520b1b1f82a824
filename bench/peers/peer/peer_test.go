package peer

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script writes a program that stands for a server.
func script(t *testing.T, body string) string {
	path := filepath.Join(t.TempDir(), "leat")
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+body+"\n"), 0o755))
	return path
}

// Aim: a server that ends, or that never serves, is an error with its output,
// and neither its process nor its data stay. Method: scripts as servers.
func TestStartOfABrokenServer(t *testing.T) {
	for name, body := range map[string]string{
		"ends":         "echo port in use; exit 3",
		"never serves": "echo port in use; exec sleep 600",
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			_, err := Start(t.Context(), Options{
				Kind: Leat, LeatPath: script(t, body), DataRoot: root, ReadyMax: 300 * time.Millisecond,
			})
			require.ErrorIs(t, err, ErrNotReady)
			require.ErrorContains(t, err, "port in use")
			left, err := os.ReadDir(root)
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// Aim: Stop ends the process, returns when it has ended, and removes its data;
// before that, what it costs can be read. Method: a script as server.
func TestStop(t *testing.T) {
	p, err := spawn(Options{Kind: Leat, LeatPath: script(t, "exec sleep 600")}, t.TempDir())
	require.NoError(t, err)
	require.True(t, p.Alive())
	_, err = p.CPU()
	require.NoError(t, err)
	bytes, err := p.ResidentPeakBytes()
	require.NoError(t, err)
	require.Positive(t, bytes)
	require.NoError(t, p.Stop())
	require.False(t, p.Alive())
	require.ErrorIs(t, syscall.Kill(p.cmd.Process.Pid, 0), syscall.ESRCH)
	require.NoDirExists(t, p.dir)
}

// Aim: an unknown kind is refused. Method: one.
func TestUnknownKind(t *testing.T) {
	_, err := Start(context.Background(), Options{Kind: "x", DataRoot: t.TempDir()})
	require.ErrorIs(t, err, ErrUnknownKind)
}

// Aim: processor time is read past a process name that tries to confuse.
// Method: a table of /proc/PID/stat lines.
func TestParseStatCPU(t *testing.T) {
	got, err := parseStatCPU("7 (a) b (c) S 1 1 1 0 -1 0 0 0 0 0 150 25 0 0 20")
	require.NoError(t, err)
	require.Equal(t, 1750*time.Millisecond, got)
	for _, bad := range []string{"", "7 (a) S 1", "7 (a) S 1 1 1 0 -1 0 0 0 0 0 x 25 0"} {
		_, err := parseStatCPU(bad)
		require.Error(t, err, "%q", bad)
	}
}

// Aim: JetStream's configuration syncs always only where it says so. Method:
// look at the text of both.
func TestJetStreamConfig(t *testing.T) {
	require.NotContains(t, string(jetStreamConfig(JetStreamLazy, "/d", "a:1")), "sync_interval")
	require.Contains(t, string(jetStreamConfig(JetStreamAlways, "/d", "a:1")), "sync_interval: always")
}

// Aim: a program that is there at its version is not installed again, another
// is. Method: read the version of this test binary, which is no program of the
// list.
func TestInstalledVersion(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	require.Empty(t, installedVersion(self, "github.com/nats-io/nats-server/v2"))
	require.Empty(t, installedVersion(filepath.Join(t.TempDir(), "absent"), "x"))
}
