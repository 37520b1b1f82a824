package partition_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/index"
	"leat.dev/leat/partition"
	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
)

// refuser is a Proposer that says why it does not lead.
type refuser struct {
	*leader
	why atomic.Pointer[error]
}

func (r *refuser) Refusal() error {
	if err := r.why.Load(); err != nil {
		return *err
	}
	return nil
}

// give gives values away and returns where the outcome will be.
func (n *node) give(c *partition.Channel, v string) chan error {
	n.t.Helper()
	a := c.NewAppend()
	require.NoError(n.t, a.AddValue([]byte(v)))
	outcome := make(chan error, 1)
	a.Done = func(a *partition.Append) { outcome <- a.Err }
	c.Append(a)
	return outcome
}

// Aim: without a leader what waits is refused after LeaderWait, what comes later
// at once, and what comes when there is a leader again is stored; whether there
// never was a leader, it stepped down, or an entry failed. Method: a clock that
// the test moves.
func TestNoLeader(t *testing.T) {
	for name, begin := range map[string]func(n *node){
		"never": func(*node) {},
		"steps down": func(n *node) {
			n.lead()
			n.store("a", "before")
			n.leader.depose()
		},
		"fails": func(n *node) {
			n.lead()
			n.store("a", "before")
			n.leader.setDecide(func([]byte) (verdict, error) { return lose, nil })
			_, err := n.append(n.ensure("a"), "lost")
			require.ErrorIs(n.t, err, partition.ErrUnknownOutcome)
			n.leader.setDecide(nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				n.open()
				defer n.close()
				begin(n)
				c := n.ensure("a")
				first := n.give(c, "1")
				time.Sleep(partition.LeaderWait / 2)
				second := n.give(c, "2")
				synctest.Wait()
				require.Empty(t, first)
				time.Sleep(partition.LeaderWait)
				require.ErrorIs(t, <-first, partition.ErrNotLeader)
				require.ErrorIs(t, <-second, partition.ErrNotLeader)
				require.ErrorIs(t, <-n.give(c, "3"), partition.ErrNotLeader)
				_, err := n.part.Create(t.Context(), "b", partition.Config{})
				require.ErrorIs(t, err, partition.ErrNotLeader)
				n.lead()
				require.NoError(t, <-n.give(c, "4"))
				n.leader.depose()
				fifth := n.give(c, "5")
				time.Sleep(partition.LeaderWait / 2)
				n.lead()
				require.NoError(t, <-fifth, "a short absence is not noticed")
				time.Sleep(2 * partition.LeaderWait)
				require.NoError(t, <-n.give(c, "6"), "the timer has ended")
			})
		})
	}
}

// Aim: a full queue holds sources up and lets them go: when there is room, when
// there is no leader for long, when the partition fails or is closed. Method:
// sources that add more than the queue holds while nothing is proposed.
func TestFullQueue(t *testing.T) {
	for name, release := range map[string]struct {
		do   func(n *node)
		want error
	}{
		"leader":    {func(n *node) { n.lead() }, nil},
		"no leader": {func(*node) { time.Sleep(partition.LeaderWait) }, partition.ErrNotLeader},
		"fail":      {func(n *node) { n.part.Fail(fmt.Errorf("bad disk")) }, partition.ErrClosed},
		"close": {func(n *node) {
			if err := n.part.Close(); err != nil {
				panic(err)
			}
		}, partition.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				n.seg.SegmentBytes = 16 << 20
				n.open()
				defer n.close()
				n.lead()
				n.leader.depose()
				v := strings.Repeat("v", 1<<20)
				const each, sources = 10, 10
				var given atomic.Int64
				var all sync.WaitGroup
				errs := make(chan error, each*sources)
				for s := range sources {
					c := n.ensure(fmt.Sprint("c", s%3))
					all.Go(func() {
						for range each {
							outcome := n.give(c, v)
							given.Add(1)
							all.Go(func() { errs <- <-outcome })
						}
					})
				}
				synctest.Wait()
				require.InDelta(t, partition.QueueBytesMax, n.part.QueueBytes(), 2<<20)
				require.Less(t, given.Load(), int64(each*sources))
				release.do(n)
				all.Wait()
				for range each * sources {
					if err := <-errs; release.want == nil {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, release.want)
					}
				}
				require.Zero(t, n.part.QueueBytes())
			})
		})
	}
}

// Aim: publishers learn at once that the disk is full, and that it is no more.
// Method: a proposer that says so.
func TestFullDisk(t *testing.T) {
	n := newNode(t)
	r := &refuser{}
	n.wrap = func(l *leader) partition.Proposer {
		r.leader = l
		return r
	}
	n.open()
	defer n.close()
	n.lead()
	full := fmt.Errorf("%w: quota", partition.ErrNoSpace)
	n.leader.setDecide(func([]byte) (verdict, error) {
		r.why.Store(&full)
		return refuse, full
	})
	c := n.ensure("a")
	for range 3 {
		require.ErrorIs(t, <-n.give(c, "x"), partition.ErrNoSpace)
	}
	r.why.Store(nil)
	n.leader.setDecide(nil)
	waiting := n.give(c, "y")
	n.lead()
	require.NoError(t, <-waiting)
}

// Aim: who does not want to wait is told that the outcome is not known. Method:
// no leader, and a context that ends.
func TestContext(t *testing.T) {
	n := newNode(t)
	n.open()
	defer n.close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := n.part.Create(ctx, "a", partition.Config{})
	require.ErrorIs(t, err, partition.ErrUnknownOutcome)
	require.ErrorIs(t, err, context.Canceled)
	n.lead()
	require.Eventually(t, func() bool { return n.ensure("a").Exists() }, patience, tick)
}

// Aim: an index that is not written any more costs replay and nothing else.
// Method: close it under the partition; start again.
func TestIndexFails(t *testing.T) {
	n := newNode(t)
	n.open()
	n.lead()
	n.store("a", "1")
	require.Eventually(t, func() bool {
		applied, _, err := n.opts.Index.Applied()
		return err == nil && applied == n.part.Applied()
	}, patience, tick)
	require.NoError(t, n.ix.Close())
	n.store("a", "2")
	require.NoError(t, n.ensure("a").Delete(t.Context()))
	n.store("b", "1")
	want := dump(n.part)
	n.leader.stop()
	require.Error(t, n.part.Close())
	require.NoError(t, n.log.Close())
	n.open()
	defer n.close()
	require.Equal(t, want, dump(n.part))
}

// Aim: after a write of the index failed none follows, as its applied would hide
// what the failed one lost. Method: apply something that the index does not
// take, as a newer version might log it; then more. The index stays where it was,
// and a replay gives the state again.
func TestIndexRefuses(t *testing.T) {
	n := newNode(t)
	n.seg.SegmentBytes = 16 << 20
	n.open()
	n.lead()
	n.store("a", "1")
	require.Eventually(t, func() bool {
		applied, _, err := n.opts.Index.Applied()
		return err == nil && applied == n.part.Applied()
	}, patience, tick)
	before := n.part.Applied()

	fields := append(binary.AppendUvarint([]byte{1, 1, 's'}, 2<<20), make([]byte, 2<<20)...)
	body := append(binary.AppendUvarint([]byte{8}, uint64(len(fields))), fields...) // opPutSession
	payload := record.AppendCommand(nil, 1, 1, epochStart, body)
	require.NoError(t, n.log.Append([]segment.Entry{{Index: before + 1, Term: 1, Type: record.FrameData, Payload: payload}}))
	n.part.Apply([]partition.Entry{{Index: before + 1, Term: 1, Payload: payload}})
	for i := range 20 {
		n.store("a", strconv.Itoa(i))
		time.Sleep(time.Millisecond) // so that there are several writes
	}
	want := dump(n.part)
	require.Contains(t, want, "session 1 s")
	n.leader.stop()
	require.ErrorIs(t, n.part.Close(), index.ErrInvalid)
	applied, _, err := n.opts.Index.Applied()
	require.NoError(t, err)
	require.Equal(t, before, applied)
	require.NoError(t, n.log.Close())
	require.NoError(t, n.ix.Close())
	n.open()
	require.Equal(t, want, dump(n.part))
	n.leader.stop()
	require.Error(t, n.part.Close())
	require.NoError(t, n.log.Close())
	require.NoError(t, n.ix.Close())
}
