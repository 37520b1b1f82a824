package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Aim: what was asked wrongly is not told as a state of the files, which have
// exit codes of their own. Method: bad arguments of each kind.
func TestInspectBadArguments(t *testing.T) {
	dir, file := stored(t)
	for _, args := range [][]string{
		{},
		{dir, dir},
		{dir, "--nonsense"},
		{dir, "--dump", "x"},
		{dir, "--verify", "--records"},
		{dir, "--at", "8"},
		{dir, "--output", "csv"},
		{dir, "--verify", "--channel", "s"},
		{file, "--dump", "0"},
		{file, "--dump", "8", "--at", "3"},
		{dir, "--compare", filepath.Dir(file)},
	} {
		r := leat(t, nil, append([]string{"inspect"}, args...)...)
		require.Equal(t, exitIO, r.code, "%v: %s", args, r.err)
		require.Contains(t, r.err, "leat: ", args)
	}
}

// Aim: inspect ends, whatever lies where a file should. Method: pipes, which
// block whoever opens them, and a device, by themselves and in folders; an
// identity of a terabyte.
func TestInspectNoFile(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	for _, path := range []string{pipe, "/dev/zero"} {
		r := leat(t, nil, "inspect", path)
		require.Equal(t, exitIO, r.code, r.out)
		require.Contains(t, r.err, "not a regular file")
		require.Equal(t, exitIO, leat(t, nil, "inspect", path, "--dump", "64").code)
	}
	for _, name := range []string{"NODE", "MANIFEST-0000000000000001", "0000000000000001.seg"} {
		_, file := stored(t)
		folder := filepath.Dir(file)
		if name == "NODE" {
			folder = filepath.Dir(folder)
		}
		names, err := filepath.Glob(filepath.Join(folder, name[:4]+"*"))
		require.NoError(t, err)
		for _, n := range names {
			require.NoError(t, os.Remove(n))
		}
		require.NoError(t, syscall.Mkfifo(filepath.Join(folder, name), 0o600))
		r := leat(t, nil, "inspect", folder)
		require.NotEqual(t, exitClean, r.code, r.out)
		require.Contains(t, r.out+r.err, "not a regular file", name)
	}
	huge, _ := stored(t)
	require.NoError(t, os.Truncate(filepath.Join(huge, "NODE"), 1<<40))
	require.Equal(t, exitCorrupt, leat(t, nil, "inspect", huge, "--verify").code)
}

// Aim: inspect does not call clean what it does not know. Method: a directory
// whose identity names a later format, with the right checksum.
func TestInspectOtherVersion(t *testing.T) {
	dir, _ := stored(t)
	line := `{"format":2,"node_id":"n","cluster_id":"test-cluster","partitions":2}`
	sum := crc32.Checksum([]byte(line), crc32.MakeTable(crc32.Castagnoli))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "NODE"), []byte(line+"\ncrc32c "+fmt.Sprintf("%08x", sum)+"\n"), 0o600))
	r := leat(t, nil, "inspect", dir, "--verify")
	require.Equal(t, exitIO, r.code, r.out)
	require.Contains(t, r.err, "use the version of leat that wrote it")
}

// Aim: an interrupt is told as one. Method: inspect with a context that is over.
func TestInspectInterrupted(t *testing.T) {
	dir, _ := stored(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := leatContext(ctx, nil, "inspect", dir)
	require.Equal(t, exitInterrupted, r.code, r.err)
	require.NotContains(t, r.err, "context")
}
