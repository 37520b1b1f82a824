package segment_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/vfs"
)

// Aim: Verify has nothing to say about a log that is being written, sealed and
// dropped while it reads. Method: a writer on real files (their mappings are
// what a second process sees), and Verify again and again beside it.
func TestVerifyBesideWriter(t *testing.T) {
	o := options(vfs.OS{})
	o.Dir, o.SegmentBytes = t.TempDir(), 1<<20
	l := open(t, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		h := newHistory(50)
		var err error
		for i := 0; ctx.Err() == nil && err == nil; i++ {
			err = l.Append(h.make(1+i%3, 20000))
			if i%100 == 99 && err == nil {
				err = l.TruncatePrefix(h.last() - 100)
			}
		}
		done <- err
	}()
	entries := 0
	for start := time.Now(); time.Since(start) < 700*time.Millisecond; {
		r, err := segment.Verify(context.Background(), o, nil)
		require.NoError(t, err)
		require.Empty(t, r.Findings)
		entries = max(entries, r.Entries)
	}
	cancel()
	require.NoError(t, <-done)
	require.Positive(t, entries)
	closeLog(t, l)
	r, err := segment.Verify(context.Background(), o, nil)
	require.NoError(t, err)
	require.Empty(t, r.Findings)
}

// BenchmarkOpen is a restart with a tail of the given part of a segment.
func BenchmarkOpen(b *testing.B) {
	o := options(vfs.OS{})
	o.Dir, o.SegmentBytes = b.TempDir(), 128<<20
	l := open(b, o)
	var entries []segment.Entry
	p := payload(256 << 10)
	for i := range 200 {
		entries = append(entries, segment.Entry{Index: uint64(i) + 1, Term: 1, Type: 1, Payload: p})
	}
	require.NoError(b, l.Append(entries))
	closeLog(b, l)
	b.ResetTimer()
	for b.Loop() {
		closeLog(b, open(b, o))
	}
}
