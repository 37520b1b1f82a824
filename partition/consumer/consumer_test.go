package consumer_test

import (
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/consumer"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

// numbers lists from to to as a receiver shows them.
func numbers(from, to int) (out []string) {
	for ; from <= to; from++ {
		out = append(out, strconv.Itoa(from))
	}
	return out
}

func start(t *testing.T, o consumer.Options) *consumer.Consumer {
	t.Helper()
	if o.Cursor == nil {
		o.Cursor = cursor.New(1)
	}
	c, err := consumer.Start(o)
	require.NoError(t, err)
	return c
}

var second = delivery.MemberOptions{MaxInFlight: 4, AckWait: time.Second}

// Aim: the whole way of a record: delivered up to the window, again after
// AckWait, new ones after acknowledgements; progress reaches the log; after a
// restart from the log the rest comes again, then the new. Method: a fake
// channel, clock and log.
func TestLifeOfAConsumer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, book, to := newChannel(), newLogbook(t), &receiver{t: t}
		c := start(t, consumer.Options{Source: ch, Progress: book})
		require.NoError(t, c.Join(consumer.Member{ID: 1, Options: second, Sink: to}))
		ch.publish(t, 3)
		ch.publish(t, 7)
		synctest.Wait()
		require.Equal(t, numbers(1, 4), to.take())

		c.AckBatch([]record.Offset{2, 1})
		synctest.Wait()
		require.Equal(t, numbers(5, 6), to.take())

		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, to.take())
		state, _ := book.state()
		require.Equal(t, "floor 2 sent 6", state)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		require.Equal(t, []string{"3×1", "4×1", "5×1", "6×1"}, to.take())

		c.Ack(4)
		synctest.Wait()
		require.Equal(t, numbers(7, 7), to.take())
		s, err := c.Stats()
		require.NoError(t, err)
		require.Equal(t, consumer.Stats{
			Floor: 2, LastSent: 7, Pending: 4, Stalled: true,
			Members: map[delivery.MemberID]delivery.MemberStats{1: {Pending: 4, Stalled: true}},
		}, s)
		c.Close()
		c.Close()
		state, _ = book.state()
		require.Equal(t, "floor 2 acked 4 sent 7 again 3×1,5×1,6×1", state)
		_, err = c.Stats()
		require.ErrorIs(t, err, consumer.ErrClosed)
		c.Ack(3) // to no effect, and without harm

		again := start(t, consumer.Options{
			Source: ch, Cursor: book.replica, Progress: book,
			Members: []consumer.Member{{ID: 2, Options: delivery.MemberOptions{MaxInFlight: 5}, Sink: to}},
		})
		synctest.Wait()
		require.Equal(t, []string{"3×2", "5×2", "6×2", "7×1", "8"}, to.take())
		again.Close()
		require.Empty(t, ch.watches)
	})
}

// Aim: a sink that is full gets nothing until it resumes, and then goes on in
// order; what was decided before is neither lost nor sent twice. Method: a sink
// that is full after 10, batches of 3, no acknowledgements.
func TestFullSink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, to := newChannel(), &receiver{t: t, max: 10}
		var ended atomic.Int64
		for range 40 {
			ch.publish(t, 3)
		}
		c := start(t, consumer.Options{
			Source:   ch,
			Delivery: delivery.Options{Acks: delivery.AckNone, Stop: 100},
			Members:  []consumer.Member{{ID: 1, Sink: to}},
			Done:     func() { ended.Add(1) },
		})
		var got []string
		for range 100 {
			synctest.Wait()
			run := to.take()
			require.LessOrEqual(t, len(run), 12, "full is full, but for the batch at hand")
			got = append(got, run...)
			if ended.Load() > 0 {
				break
			}
			c.Resume(1)
		}
		require.Equal(t, numbers(1, 100), got)
		require.EqualValues(t, 1, ended.Load())
		c.Close()
	})
}

// Aim: several actions that wait for a full sink keep their order, whenever it
// is full again. Method: a resume whose records have counts of their own, so that
// each is an action, to a sink that is full after every record.
func TestFullSinkAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, to, place := newChannel(), &receiver{t: t, max: 1}, cursor.New(1)
		place.Sent(6)
		for o := record.Offset(2); o <= 6; o += 2 {
			place.Redeliver(o)
		}
		for range 7 {
			ch.publish(t, 1)
		}
		c := start(t, consumer.Options{
			Source: ch, Cursor: place,
			Members: []consumer.Member{{ID: 1, Options: delivery.MemberOptions{MaxInFlight: 9}, Sink: to}},
		})
		for _, want := range []string{"1×1", "2×2", "3×1", "4×2", "5×1", "6×2", "7"} {
			synctest.Wait()
			require.Equal(t, []string{want}, to.take())
			c.Resume(1)
		}
		c.Close()
	})
}

// Aim: a full member does not hold up the others, and what it left goes to them
// when it leaves. Method: a queue of two, one of which is full after 2.
func TestQueueWithAFullMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, slow, fast := newChannel(), &receiver{t: t, max: 2}, &receiver{t: t}
		wide := delivery.MemberOptions{MaxInFlight: 100, AckWait: time.Minute}
		c := start(t, consumer.Options{
			Source:   ch,
			Delivery: delivery.Options{Queue: true},
			Members:  []consumer.Member{{ID: 1, Options: wide, Sink: slow}, {ID: 2, Options: wide, Sink: fast}},
		})
		for range 10 {
			ch.publish(t, 2)
			synctest.Wait()
		}
		require.Equal(t, []string{"1", "3"}, slow.take())
		require.Len(t, fast.take(), 18)
		left, err := c.Leave(1)
		require.NoError(t, err)
		require.Equal(t, 1, left)
		time.Sleep(delivery.TransferDelay)
		synctest.Wait()
		require.Equal(t, []string{"1×1", "3×1"}, fast.take())
		require.Empty(t, slow.take())
		c.Close()
	})
}

// Aim: what waits for a full member of a queue and is given to another one
// meanwhile is sent once. Method: two members; one is full after its first
// record, so that others decided in the same turn wait, expire, and go to the
// other; then it has room again.
func TestLeftoversOfAQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, slow, fast := newChannel(), &receiver{t: t, max: 1}, &receiver{t: t}
		for range 8 {
			ch.publish(t, 1)
		}
		wide := delivery.MemberOptions{MaxInFlight: 100, AckWait: time.Second}
		c := start(t, consumer.Options{
			Source:   ch,
			Delivery: delivery.Options{Queue: true},
			Members:  []consumer.Member{{ID: 1, Options: wide, Sink: slow}, {ID: 2, Options: wide, Sink: fast}},
		})
		synctest.Wait()
		require.Equal(t, []string{"1"}, slow.take())
		require.Equal(t, []string{"2", "4", "6", "8"}, fast.take())
		c.AckBatch([]record.Offset{1, 2, 4, 6, 8})
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"3×1", "5×1", "7×1"}, fast.take())
		c.Resume(1)
		c.AckBatch([]record.Offset{3, 5})
		synctest.Wait()
		require.Empty(t, slow.take())
		ch.publish(t, 1)
		synctest.Wait()
		require.Equal(t, []string{"9"}, slow.take())
		c.Close()
	})
}

// Aim: records that the channel has no more are skipped and count as
// acknowledged. Method: trim before, under and behind a consumer.
func TestTrimmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, to := newChannel(), &receiver{t: t}
		ch.publish(t, 20)
		ch.trim(5)
		c := start(t, consumer.Options{Source: ch, Members: []consumer.Member{{ID: 1, Options: second, Sink: to}}})
		synctest.Wait()
		require.Equal(t, numbers(5, 8), to.take())
		ch.trim(7)
		synctest.Wait()
		require.Equal(t, numbers(9, 10), to.take())
		ch.trim(18)
		synctest.Wait()
		require.Equal(t, numbers(18, 20), to.take())
		at, err := c.Cursor()
		require.NoError(t, err)
		require.Equal(t, "floor 17 sent 20", at.String())
		c.Close()
	})
}

// Aim: an error of the channel delays and loses nothing. Method: break reading,
// publish, mend it, wait.
func TestReadError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, to := newChannel(), &receiver{t: t}
		ch.breaks(errDisk)
		c := start(t, consumer.Options{Source: ch, Members: []consumer.Member{{ID: 1, Options: second, Sink: to}}})
		ch.publish(t, 2)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Empty(t, to.take())
		opened, _ := ch.counts()
		require.Less(t, opened, 15, "it does not spin")
		ch.breaks(nil)
		c.Ack(1) // came late, from before
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"2"}, to.take(), "what is acknowledged is not sent")
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, []string{"2×1"}, to.take(), "AckWait starts when it is sent")
		c.Close()
	})
}

// Aim: progress is logged by time and by count, one entry at a time, and again
// whole when it failed. Method: a log that is held up, and one that fails.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, book, to := newChannel(), newLogbook(t), &receiver{t: t}
		c := start(t, consumer.Options{
			Source: ch, Progress: book, LogAcks: 100,
			Members: []consumer.Member{{ID: 1, Sink: to}},
		})
		ch.publish(t, 1000)
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		state, n := book.state()
		require.Equal(t, "floor 0 sent 1000", state)
		require.Equal(t, 1, n)

		c.AckRange(1, 99)
		synctest.Wait()
		_, n = book.state()
		require.Equal(t, 1, n, "too few, too early")
		book.set(true, nil)
		c.Ack(100)
		synctest.Wait()
		_, n = book.state()
		require.Equal(t, 2, n, "enough")
		c.AckRange(101, 900)
		time.Sleep(time.Second)
		synctest.Wait()
		_, n = book.state()
		require.Equal(t, 2, n, "one at a time")
		book.set(false, nil)
		synctest.Wait()
		state, n = book.state()
		require.Equal(t, "floor 900 sent 1000", state)
		require.Equal(t, 3, n)

		book.set(false, errDisk)
		c.Ack(901)
		time.Sleep(150 * time.Millisecond)
		synctest.Wait()
		_, n = book.state()
		require.Equal(t, 4, n)
		book.set(false, nil)
		time.Sleep(time.Second)
		synctest.Wait()
		state, n = book.state()
		require.Equal(t, "floor 901 sent 1000", state)
		require.Equal(t, 5, n)
		time.Sleep(time.Hour)
		_, n = book.state()
		require.Equal(t, 5, n, "nothing new, no entry")
		c.Close()
	})
}

// Aim: an idle consumer lets go of the log, and no timer spins. Method: count
// the reader's pauses and the turns of an hour.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, to := newChannel(), &receiver{t: t}
		var turns atomic.Int64
		c := start(t, consumer.Options{
			Source:  ch,
			Members: []consumer.Member{{ID: 1, Sink: to}},
			Now:     func() time.Time { turns.Add(1); return time.Now() },
		})
		ch.publish(t, 5)
		synctest.Wait()
		_, paused := ch.counts()
		require.Zero(t, paused)
		time.Sleep(time.Second)
		synctest.Wait()
		_, paused = ch.counts()
		require.Equal(t, 1, paused)
		before := turns.Load()
		time.Sleep(10 * time.Hour)
		synctest.Wait()
		require.LessOrEqual(t, turns.Load()-before, int64(11))
		c.Close()
	})
}

// Aim: the mailbox is bounded. Method: while the loop is held up by a sink,
// acknowledgements with gaps are put in; the one too many waits.
func TestAcksPushBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ch, gate := newChannel(), make(gate)
		c := start(t, consumer.Options{
			Source: ch, AcksMax: 3,
			Members: []consumer.Member{{ID: 1, Sink: gate}},
		})
		ch.publish(t, 20)
		synctest.Wait()
		var put atomic.Int64
		go func() {
			for o := record.Offset(1); o < 20; o += 2 {
				c.Ack(o)
				put.Add(1)
			}
		}()
		synctest.Wait()
		require.EqualValues(t, 3, put.Load())
		close(gate)
		synctest.Wait()
		require.EqualValues(t, 10, put.Load())
		c.Close()
	})
}

// gate is a sink that does what it must not: it blocks.
type gate chan struct{}

func (g gate) Deliver([]consumer.Delivery) bool {
	<-g
	return false
}

// Aim: what makes no sense is refused. Method: one of each.
func TestRefused(t *testing.T) {
	_, err := consumer.Start(consumer.Options{})
	require.ErrorIs(t, err, consumer.ErrOptions)
	_, err = consumer.Start(consumer.Options{Source: newChannel(), Cursor: cursor.New(1), TurnRecords: -1})
	require.ErrorIs(t, err, consumer.ErrOptions)
	c := start(t, consumer.Options{Source: newChannel()})
	require.ErrorIs(t, c.Join(consumer.Member{ID: 1}), consumer.ErrOptions)
	require.NoError(t, c.Join(consumer.Member{ID: 1, Sink: &receiver{t: t}}))
	require.ErrorIs(t, c.Join(consumer.Member{ID: 1, Sink: &receiver{t: t}}), delivery.ErrMemberExists)
	c.Close()
	require.ErrorIs(t, c.Join(consumer.Member{ID: 2, Sink: &receiver{t: t}}), consumer.ErrClosed)
}
