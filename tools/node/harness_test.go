package node

import (
	"context"
	"fmt"
	"testing"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// disk is the file systems of one node in memory. Faults are injected between
// the node and files.
type disk struct {
	files *vfs.MemFS
	fault *vfs.Fault
	index pebblevfs.FS
}

func newDisk() *disk { return diskOf(vfs.NewMem(), pebblevfs.NewMem()) }

func diskOf(files *vfs.MemFS, index pebblevfs.FS) *disk {
	return &disk{files: files, fault: vfs.NewFault(files), index: index}
}

// options are those of a node with two partitions of small segments.
func (d *disk) options() Options {
	o := Options{
		Dir: "data", NodeID: "n1", ClusterID: "test", Partitions: 2, Listen: "127.0.0.1:0",
		Files: d.fault, IndexFiles: d.index, SegmentBytes: segment.SegmentBytesMin, FlushDelay: 5 * time.Millisecond,
		DiskReserveBytes: -1,
	}
	o.EnsureDefaults()
	return o
}

// storage opens what is below the front-ends, and waits until it leads.
func (d *disk) storage() (*storage, error) {
	o := d.options()
	st, err := openStorage(&o, prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	if err := st.awaitLeading(10 * time.Second); err != nil {
		_ = st.close()
		return nil, err
	}
	return st, nil
}

// node opens a whole node, which is closed with the test.
func (d *disk) node(t *testing.T) *Node {
	t.Helper()
	n, err := Open(d.options())
	require.NoError(t, err)
	t.Cleanup(func() { _ = n.Close() })
	return n
}

// store publishes n records together, waits, and notes what came of it.
func (h *history) store(st *storage, ch, n int) error {
	c, err := st.set.Ensure(channelName(ch))
	if err != nil {
		return err
	}
	h.mu.Lock()
	first := len(h.sent)
	for range n {
		h.sent = append(h.sent, uint8(ch))
	}
	h.mu.Unlock()
	a := c.NewAppend()
	for i := range n {
		if err := a.AddValue(value(first + i)); err != nil {
			return err
		}
	}
	done := make(chan error, 1)
	a.Done = func(a *partition.Append) {
		if a.Err == nil {
			h.mu.Lock()
			for i := range n {
				h.acked[ch][a.Base+record.Offset(i)] = first + i
			}
			h.mu.Unlock()
		}
		done <- a.Err
	}
	c.Append(a)
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		return fmt.Errorf("no answer to a publish: %w", context.DeadlineExceeded)
	}
}

// fill stores records in all channels until every partition has that many
// segments, plus a session and a cursor.
func (h *history) fill(t reporter, st *storage, segments int) {
	for range 1000 {
		few := false
		for _, sh := range st.shards {
			few = few || len(sh.log.Segments()) < segments
		}
		if !few {
			break
		}
		for ch := range cutChannels {
			if err := h.store(st, ch, 5); err != nil {
				t.Errorf("store: %v", err)
				return
			}
		}
	}
	h.remember(t, st)
}

// remember moves a cursor and writes a session.
func (h *history) remember(t reporter, st *storage) {
	h.mu.Lock()
	v := h.session["client-0"]
	v[1]++
	h.session["client-0"] = v
	h.floor[0][1] += 3
	to := h.floor[0][1]
	h.mu.Unlock()
	done := make(chan error, 2)
	st.set.PutSession(1, "client-0", fmt.Appendf(nil, "%d", v[1]), func(err error) { done <- err })
	if c, ok := st.set.Channel(channelName(0)); ok {
		c.PutCursor("durable", []byte("meta"), cursor.New(to+1), func(err error) { done <- err })
	} else {
		done <- nil
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Errorf("put session and cursor: %v", err)
			return
		}
	}
	h.mu.Lock()
	h.session["client-0"] = [2]int{v[1], v[1]}
	h.floor[0][0] = to
	h.mu.Unlock()
}

// cloneIndex copies the folder of an index as it is now.
func cloneIndex(t *testing.T, from pebblevfs.FS) *pebblevfs.MemFS {
	t.Helper()
	to := pebblevfs.NewMem()
	dir := "data/index"
	require.NoError(t, to.MkdirAll(dir, 0o755))
	names, err := from.List(dir)
	require.NoError(t, err)
	for _, name := range names {
		if name != "LOCK" {
			require.NoError(t, pebblevfs.CopyAcrossFS(from, dir+"/"+name, to, dir+"/"+name))
		}
	}
	return to
}
