package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// stored makes a data directory with records in it, closed in order.
func stored(t *testing.T) (dir, file string) {
	t.Helper()
	dir = t.TempDir()
	n, server := startNode(t, dir, "127.0.0.1:0")
	r := leat(t, nil, "publish", "s", sample, "--key", "id", "--header", "Host=a", "--server", server)
	require.Contains(t, r.out, "4 records acknowledged")
	require.NoError(t, n.Close())
	out := leat(t, nil, "inspect", dir, "--frames", "--channel", "s", "--json").out
	var f frameDoc
	require.NoError(t, json.Unmarshal([]byte(strings.SplitN(out, "\n", 2)[0]), &f))
	folder := filepath.Join(dir, []string{"partition-0000", "partition-0001"}[f.Partition])
	return dir, filepath.Join(folder, "0000000000000001.seg")
}

// Aim: inspect shows what is stored, in each form. Method: a small directory,
// looked at as a whole, as a folder, and as a file.
func TestInspect(t *testing.T) {
	dir, file := stored(t)
	for _, path := range []string{dir, filepath.Dir(file), file} {
		r := leat(t, nil, "inspect", path, "--json")
		require.Equal(t, exitClean, r.code, r.err)
		var s survey
		require.NoError(t, json.Unmarshal([]byte(r.out), &s))
		require.Equal(t, "clean", s.Verdict)
		require.Equal(t, uint64(4), s.Records)
		require.Empty(t, s.Findings)

		r = leat(t, nil, "inspect", path)
		require.Equal(t, exitClean, r.code, r.err)
		require.Contains(t, r.out, "clean:")
		r = leat(t, nil, "inspect", path, "--verify")
		require.Equal(t, 1, strings.Count(r.out, "\n"))

		r = leat(t, nil, "inspect", path, "--records", "--json", "--channel", "s")
		require.Equal(t, 4, strings.Count(r.out, "\n"))
		require.Contains(t, r.out, `"key":"a1","headers":{"Host":["a"]},"value":`)
		require.Empty(t, leat(t, nil, "inspect", path, "--records", "--channel", "none").out)
		require.Contains(t, leat(t, nil, "inspect", path, "--records").out, "s #1 ")
	}
	require.Contains(t, leat(t, nil, "inspect", dir).out, "node ")
	require.Contains(t, leat(t, nil, "inspect", dir, "--frames").out, "channel s (id 1) offsets 1 to")
}

// Aim: the exit code says what is wrong. Method: damage a closed directory in
// the ways that there is a code for.
func TestInspectExitCodes(t *testing.T) {
	flip := func(t *testing.T, name string, at int64) {
		t.Helper()
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		require.NoError(t, err)
		b := make([]byte, 1)
		_, err = f.ReadAt(b, at)
		require.NoError(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	t.Run("frame", func(t *testing.T) {
		dir, file := stored(t)
		flip(t, file, 4096+200)
		r := leat(t, nil, "inspect", dir, "--verify")
		require.Equal(t, exitCorrupt, r.code, r.out)
		require.Contains(t, r.out, filepath.Base(file))
	})
	t.Run("manifest", func(t *testing.T) {
		dir, file := stored(t)
		names, err := filepath.Glob(filepath.Join(filepath.Dir(file), "MANIFEST-*"))
		require.NoError(t, err)
		flip(t, names[len(names)-1], 40)
		require.Equal(t, exitCorrupt, leat(t, nil, "inspect", dir, "--verify").code)
	})
	t.Run("identity", func(t *testing.T) {
		dir, _ := stored(t)
		flip(t, filepath.Join(dir, "NODE"), 20)
		r := leat(t, nil, "inspect", dir, "--verify")
		require.Equal(t, exitCorrupt, r.code)
		require.Contains(t, r.out, "NODE")
	})
	t.Run("lost segment", func(t *testing.T) {
		dir, file := stored(t)
		require.NoError(t, os.Remove(file))
		require.Equal(t, exitCorrupt, leat(t, nil, "inspect", dir).code)
	})
	t.Run("torn", func(t *testing.T) {
		// The header of a frame, and zeros where the rest should be.
		_, file := stored(t)
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		end := len(strings.TrimRight(string(data), "\x00"))
		end = (end + 7) &^ 7
		f, err := os.OpenFile(file, os.O_RDWR, 0)
		require.NoError(t, err)
		_, err = f.WriteAt([]byte("LFRM"), int64(end))
		require.NoError(t, err)
		require.NoError(t, f.Close())
		code := leat(t, nil, "inspect", filepath.Dir(file), "--verify").code
		require.Contains(t, []int{exitTorn, exitUncertain}, code, "by where sectors end")
	})
	t.Run("nothing there", func(t *testing.T) {
		require.Equal(t, exitIO, leat(t, nil, "inspect", filepath.Join(t.TempDir(), "none")).code)
		require.Equal(t, exitIO, leat(t, nil, "inspect", t.TempDir()).code)
		require.Equal(t, exitIO, leat(t, nil, "inspect", sample, "--dump", "100").code)
	})
}

// Aim: replicas are told apart by their first different entry. Method: a copy,
// and the copy after it went its own way.
func TestInspectCompare(t *testing.T) {
	dir, _ := stored(t)
	other := t.TempDir()
	require.NoError(t, os.CopyFS(other, os.DirFS(dir)))
	r := leat(t, nil, "inspect", dir, "--compare", other)
	require.Equal(t, exitClean, r.code, r.out+r.err)
	require.Equal(t, 2, strings.Count(r.out, "identical"))

	for path, line := range map[string]string{dir: "ours", other: "theirs"} {
		n, server := startNode(t, path, "127.0.0.1:0")
		require.Equal(t, 0, leat(t, strings.NewReader(line), "publish", "s", "--server", server).code)
		require.NoError(t, n.Close())
	}
	r = leat(t, nil, "inspect", dir, "--compare", other, "--json")
	require.Equal(t, exitCorrupt, r.code, r.out+r.err)
	require.Contains(t, r.out, `"identical":false`)
}

// Aim: a dump names every byte of a file. Method: positions of the lines must
// join up from the first byte to the last.
func TestDumpIsComplete(t *testing.T) {
	_, file := stored(t)
	r := leat(t, nil, "inspect", file, "--dump", "1000000000")
	require.Equal(t, 0, r.code, r.err)
	for _, want := range []string{`magic          "LEATSEG1"`, "payloadCRC", "baseOffset", `name           "s"`, "keyBytes", "starts of the records"} {
		require.Contains(t, r.out, want)
	}
	requireJoined(t, r.out, file)
}

// requireJoined checks that the lines of a dump cover the file without holes.
func requireJoined(t *testing.T, dump, file string) {
	t.Helper()
	info, err := os.Stat(file)
	require.NoError(t, err)
	next := int64(0)
	for l := range strings.SplitSeq(strings.TrimSpace(dump), "\n") {
		if strings.HasPrefix(l, "-- ") {
			continue
		}
		at, n := dumpLine(t, l)
		require.Equal(t, next, at, l)
		next += n
	}
	require.Equal(t, info.Size(), next)
}

var update = flag.Bool("update", false, "rewrite the dump in segment/FORMAT.md")

const (
	formatFile = "../../segment/FORMAT.md"
	goldenDir  = "../../segment/testdata/golden"
	dumpBegin  = "<!-- dump: begin -->\n"
	dumpEnd    = "<!-- dump: end -->\n"
)

// Aim: FORMAT.md shows the golden files as they are. Method: the dump of each
// is compared with the text between the marks; -update writes it there.
func TestFormatShowsGoldenFiles(t *testing.T) {
	names, err := filepath.Glob(filepath.Join(goldenDir, "*"))
	require.NoError(t, err)
	if len(names) == 0 {
		t.Skip("there are no golden files in segment/testdata/golden")
	}
	format, err := os.ReadFile(formatFile)
	require.NoError(t, err)
	before, rest, ok := strings.Cut(string(format), dumpBegin)
	_, after, ok2 := strings.Cut(rest, dumpEnd)
	if !ok || !ok2 {
		require.True(t, *update, "FORMAT.md has no lines %q and %q; -update puts them at its end", dumpBegin, dumpEnd)
		before, after = strings.TrimRight(string(format), "\n")+"\n\n", ""
	}
	var text strings.Builder
	for _, name := range names {
		r := leat(t, nil, "inspect", name, "--dump", "1000000000")
		require.Equal(t, 0, r.code, r.err)
		requireJoined(t, r.out, name)
		text.WriteString("\n`" + filepath.Base(name) + "`:\n\n```\n" + r.out + "```\n")
	}
	want := before + dumpBegin + text.String() + "\n" + dumpEnd + after
	if *update {
		require.NoError(t, os.WriteFile(formatFile, []byte(want), 0o644))
		return
	}
	require.Equal(t, want, string(format), "go test ./tools/leat -run TestFormatShowsGoldenFiles -update")
}
