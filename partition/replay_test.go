package partition_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// churn does n random things to the node, of which none fails.
func churn(n *node, rng *rand.Rand, steps int) {
	n.t.Helper()
	ctx := context.Background()
	for range steps {
		name := fmt.Sprintf("channel-%d", rng.IntN(6))
		c := n.ensure(name)
		switch rng.IntN(12) {
		case 0:
			if c.Exists() {
				require.NoError(n.t, c.Trim(ctx, c.First()+record.Offset(rng.IntN(5))))
			}
		case 1:
			if c.Exists() && rng.IntN(4) == 0 {
				require.NoError(n.t, c.Delete(ctx))
			}
		case 2:
			if c.Exists() {
				cfg := partition.Config{Compression: []string{"", "s2", "zstd"}[rng.IntN(3)], MaxRecords: rng.Uint64N(3)}
				require.NoError(n.t, c.Set(ctx, cfg))
			}
		case 3:
			place := cursor.New(record.Offset(1 + rng.IntN(3)))
			require.NoError(n.t, await(func(done func(error)) { c.PutCursor(fmt.Sprint("w", rng.IntN(3)), []byte(name), place, done) }))
		case 4, 5:
			for _, info := range c.Cursors() {
				info.Place.Sent(c.Last())
				for o := range info.Place.Pending() {
					if rng.IntN(2) == 0 {
						info.Place.Ack(o)
					}
				}
				delta := info.Place.AppendDelta(nil)
				require.NoError(n.t, await(func(done func(error)) { c.AdvanceCursor(info.Name, delta, done) }))
			}
		case 6:
			if c.Exists() {
				require.NoError(n.t, await(func(done func(error)) { c.DeleteCursor(fmt.Sprint("w", rng.IntN(3)), done) }))
			}
		case 7:
			kind, name := byte(rng.IntN(3)), fmt.Sprint("s", rng.IntN(4))
			require.NoError(n.t, await(func(done func(error)) { n.part.PutSession(kind, name, []byte(strconv.Itoa(rng.IntN(100))), done) }))
		case 8:
			kind, name := byte(rng.IntN(3)), fmt.Sprint("s", rng.IntN(4))
			require.NoError(n.t, await(func(done func(error)) { n.part.DeleteSession(kind, name, done) }))
		default:
			values := make([]string, 1+rng.IntN(5))
			for i := range values {
				values[i] = fmt.Sprintf("%s %0*d", name, rng.IntN(300), rng.IntN(1000))
			}
			n.store(name, values...)
		}
	}
}

func await(f func(done func(error))) error {
	done := make(chan error, 1)
	f(func(err error) { done <- err })
	return <-done
}

func contents(t testing.TB, p *partition.Partition) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	p.Channels(func(c *partition.Channel) { all[c.Name()] = read(t, c, 1) })
	return all
}

// Aim: whatever of the index is left, replay gives the same state. Method: a
// random history; then the node is started with its index, with an index from
// some time before, with the index as a crash leaves it, and with none, and
// compared. Entries that come twice change nothing.
func TestReplay(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 9))
			crashable := pebblevfs.NewCrashableMem()
			n := newNode(t)
			n.ixFS = crashable
			n.open()
			n.lead()
			t.Cleanup(n.close)
			churn(n, rng, 150)
			var checkpoint bytes.Buffer
			require.NoError(t, n.ix.Partition(n.opts.ID).WriteCheckpoint(&checkpoint))
			churn(n, rng, 150)
			crashed := crashable.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng})
			churn(n, rng, 50)
			want, values := dump(n.part), contents(t, n.part)

			n.replay(1)
			require.Equal(t, want, dump(n.part), "entries again")
			for _, index := range []struct {
				name string
				make func()
			}{
				{"as closed", nil},
				{"from before", func() { n.ixFS = pebblevfs.NewMem(); loadCheckpoint(n, &checkpoint) }},
				{"after a crash", func() { n.ixFS = crashed }},
				{"none", func() { n.ixFS = pebblevfs.NewMem() }},
			} {
				n.restart(index.make)
				require.Equal(t, want, dump(n.part), index.name)
				require.Equal(t, values, contents(t, n.part), index.name)
			}
			// And it goes on from there: ids and offsets are not given anew.
			churn(n, rng, 50)
			want = dump(n.part)
			n.restart(func() { n.ixFS = pebblevfs.NewMem() })
			require.Equal(t, want, dump(n.part))
		})
	}
}

func loadCheckpoint(n *node, from *bytes.Buffer) {
	n.t.Helper()
	ix, err := index.Open(index.Options{Dir: "index", FS: n.ixFS})
	require.NoError(n.t, err)
	require.NoError(n.t, ix.Partition(n.opts.ID).LoadCheckpoint(from))
	require.NoError(n.t, ix.Close())
}

// Aim: an index that is ahead of the log is not believed. Method: keep the index
// and lose the log.
func TestIndexAhead(t *testing.T) {
	n := start(t)
	n.store("a", "1", "2")
	n.restart(func() { n.files = newNode(t).files })
	require.Empty(t, dump(n.part))
	require.EqualValues(t, 1, n.store("a", "3"))
	require.Equal(t, []string{"3"}, read(t, n.ensure("a"), 1))
}

// Aim: an index of another log is not believed, though it is not ahead: offsets
// would be given twice. Method: two nodes with histories of their own under
// equal terms, of which one gets the index of the other, with a log in one
// segment and in many.
func TestIndexOfAnotherLog(t *testing.T) {
	other := start(t)
	other.store("b", "x")
	other.store("b", "y")
	for _, fill := range []int{3, 200} {
		n := start(t)
		for range fill {
			n.store("a", strings.Repeat("v", 1000), "2")
		}
		want, values := dump(n.part), contents(t, n.part)
		other.restart(nil)
		other.close()
		n.restart(func() { n.ixFS = other.ixFS })
		require.Equal(t, want, dump(n.part))
		require.Equal(t, values, contents(t, n.part))
		require.EqualValues(t, 2*fill+1, n.store("a", "next"))
		n.close()
		other.ixFS = pebblevfs.NewMem()
		other.open()
		other.lead()
	}
}

// Aim: an index with contents that cannot be is reported as damaged, so that it
// is made anew. Method: write such values.
func TestDamagedState(t *testing.T) {
	for name, damage := range map[string]func(*index.Batch){
		"channel":              func(b *index.Batch) { b.PutChannel(1, []byte{1, 2}) },
		"machine":              func(b *index.Batch) { b.PutChannel(0, nil) },
		"records":              func(b *index.Batch) { b.PutChannel(1, []byte{1, 5, 2, 0, 9, 9, 1, 'a', 0}) },
		"name":                 func(b *index.Batch) { b.PutChannel(1, []byte{1, 1, 0, 0, 0, 0, 1, '*', 0}) },
		"config":               func(b *index.Batch) { b.PutChannel(1, []byte{1, 1, 0, 0, 0, 0, 1, 'a', 1, '{'}) },
		"cursor":               func(b *index.Batch) { b.PutCursor(1, "w", []byte{9}) },
		"cursor of no channel": func(b *index.Batch) { b.PutCursor(77, "w", []byte{0, 1, 1, 0, 0, 0, 0, 0}) },
		"name twice": func(b *index.Batch) {
			b.PutChannel(8, []byte{1, 1, 0, 0, 0, 0, 1, 'a', 0})
			b.PutChannel(9, []byte{1, 1, 0, 0, 0, 0, 1, 'a', 0})
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t)
			n.store("first", "1")
			b := n.ix.Partition(n.opts.ID).NewBatch()
			damage(b)
			require.NoError(t, b.Commit())
			_, err := partition.Open(n.opts)
			require.ErrorIs(t, err, index.ErrDamaged)
		})
	}
}

// Aim: an idle node's index is not behind for long. Method: one append, then
// nothing; the index gets it all the same.
func TestIdleFlush(t *testing.T) {
	n := start(t)
	n.store("a", "1")
	require.Eventually(t, func() bool {
		applied, _, err := n.opts.Index.Applied()
		return err == nil && applied == n.part.Applied()
	}, 10*time.Second, time.Millisecond)
}
