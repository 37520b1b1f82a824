package segment_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

var rewriteGolden = flag.Bool("rewrite-golden", false, "write testdata/golden anew; only with a new version of the format")

const goldenTime = 1_700_000_000_000_000_000

// goldenEntries are what the golden partition holds: one entry of each type, and
// records with every field.
func goldenEntries() []segment.Entry {
	var b record.Builder
	b.Reset("orders")
	b.AppendValue([]byte("plain value"))
	b.Append(&record.Record{
		Key: []byte("key-1"), Subject: []byte("orders.new"), Headers: record.AppendHeader(nil, []byte("Trace"), []byte("abc")),
		Value: []byte(`{"total":12}`), ProducerTime: goldenTime - 1000, HasProducerTime: true,
	}, nil)
	b.AppendValue(nil)
	orders := append([]byte{}, b.Finish(record.CodecNone)...)
	record.Stamp(orders, 1, 1, 1, goldenTime)
	b.Reset("audit")
	b.AppendValue([]byte("one"))
	audit := append([]byte{}, b.Finish(record.CodecNone)...)
	record.Stamp(audit, 2, 1, 1, goldenTime+1)
	more := append([]byte{}, audit...)
	record.Stamp(more, 2, 2, 2, goldenTime+2)
	return []segment.Entry{
		{Index: 1, Term: 1, Type: record.FrameConfiguration, Time: goldenTime, Payload: []byte("configuration")},
		{Index: 2, Term: 1, Type: record.FrameData, Time: goldenTime, CommitHint: 1, Payload: record.AppendCommand(nil, 1, 1, goldenTime, []byte("command"))},
		{Index: 3, Term: 1, Type: record.FrameData, Time: goldenTime + 1, CommitHint: 2, Payload: append(orders, audit...)},
		{Index: 4, Term: 2, Type: record.FrameNoop, Time: goldenTime + 2, CommitHint: 3},
		{Index: 5, Term: 2, Type: record.FrameBarrier, Time: goldenTime + 2, CommitHint: 4},
		{Index: 6, Term: 2, Type: record.FrameData, Time: goldenTime + 2, CommitHint: 5, Payload: more},
	}
}

// buildGolden makes the golden partition: a sealed segment and an active one.
func buildGolden(t *testing.T) map[string][]byte {
	fs := vfs.NewMem()
	l := open(t, options(fs))
	entries := goldenEntries()
	require.NoError(t, l.Append(entries[:2]))
	require.NoError(t, l.Append(entries[2:4]))
	require.NoError(t, l.Roll())
	require.NoError(t, l.Append(entries[4:]))
	closeLog(t, l)
	files := map[string][]byte{}
	for _, name := range []string{"0000000000000001.seg", "0000000000000002.seg", filepath.Base(verify(t, fs).Manifest)} {
		data, err := vfs.ReadFile(fs, filepath.Join("p", name))
		require.NoError(t, err)
		files[name] = data
	}
	return files
}

// Aim: files of this version of the format stay readable, and the same entries
// make the same bytes. Method: compare with files that were written when the
// version was new, then read those.
func TestGolden(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	files := buildGolden(t)
	if *rewriteGolden {
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.MkdirAll(dir, 0o755))
		for name, data := range files {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
		}
	}
	stored, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, stored, len(files))
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("p"))
	for _, entry := range stored {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		require.NoError(t, err)
		require.Equal(t, files[entry.Name()], data, entry.Name())
		require.NoError(t, vfs.WriteFileAtomic(fs, filepath.Join("p", entry.Name()), data))
	}
	require.Empty(t, verify(t, fs).Findings)
	l := open(t, options(fs))
	defer closeLog(t, l)
	h := &history{entries: goldenEntries(), next: map[record.ChannelID]record.Offset{}}
	last, _ := l.Last()
	require.Equal(t, h.last(), last)
	for i := l.First(); i <= last; i++ {
		e, _, err := l.Entry(i, nil)
		require.NoError(t, err)
		require.Equal(t, string(h.at(i).Payload), string(e.Payload))
		e.Payload, h.entries[i-1].Payload = nil, nil
		require.Equal(t, h.at(i), e)
	}
}
