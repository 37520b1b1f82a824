package subject_test

import (
	"runtime"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/wire/nats/subject"
)

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestMemoryOfInboxes(t *testing.T) {
	// Aim: neither many distinct published subjects nor inboxes that come and
	// go leave memory behind. Method: the heap before and after.
	tree := subject.NewTree[int]()
	require.NoError(t, tree.Insert("_INBOX.me.*", "", 1))
	before := heap()
	var scratch subject.Result[int]
	for i := range 300_000 {
		s := strconv.AppendInt([]byte("_INBOX.me."), int64(i), 10)
		tree.Match(s, &scratch)
		tree.Match(s, &scratch) // the second time it is let into the cache
	}
	require.Less(t, heap()-before, int64(8<<20))

	const inboxes = 200_000
	for i := range inboxes {
		require.NoError(t, tree.Insert("_INBOX.once."+strconv.Itoa(i), "", i))
	}
	full := heap() - before
	for i := range inboxes {
		require.True(t, tree.Remove("_INBOX.once."+strconv.Itoa(i), "", i))
	}
	require.Less(t, heap()-before, int64(8<<20))
	t.Logf("%d bytes per literal subscription", full/inboxes)
	runtime.KeepAlive(tree)
}
