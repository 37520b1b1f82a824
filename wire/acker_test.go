package wire_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"leat.dev/leat/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal is a Bus with one Outlet, and notes what happens to it. The Acker's
// goroutine writes it; synctest.Wait orders that before the tests' reads.
type journal struct {
	wire.Bus
	lines []string
	gate  chan struct{} // when not nil, Send waits for it
}

func (j *journal) note(format string, args ...any) {
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
}

func (j *journal) Outlet() wire.Outlet { return j }

func (j *journal) Send(subject, _, _, data, _ []byte) int {
	if j.gate != nil {
		<-j.gate
	}
	j.note("send %s %s", subject, data)
	return 1
}

func (j *journal) Flush()                             { j.note("flush") }
func (j *journal) Pending() int                       { return 0 }
func (j *journal) Drained(context.Context, int) error { return nil }
func (j *journal) Close()                             { j.note("close") }

type outcome struct {
	j    *journal
	name string
	held int
}

func (o *outcome) HeldBytes() int { return o.held }

func (o *outcome) Answer(out wire.Outlet, scratch []byte) []byte {
	scratch = append(scratch[:0], "ok"...)
	out.Send([]byte(o.name), nil, nil, scratch, nil)
	return scratch
}

func (o *outcome) Answered() { o.j.note("answered %s", o.name) }

// Aim: outcomes are answered in the order in which they are taken, those that
// wait together leave with one flush, and each is told only then. Method: hold up
// the first.
func TestAckerOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{gate: make(chan struct{})}
		k := wire.NewAcker(j)
		give := func(name string) {
			k.Begin()
			k.Expect(1, false)
			k.Take(&outcome{j: j, name: name, held: 1})
		}
		give("a")
		synctest.Wait()
		give("b")
		give("c")
		close(j.gate)
		synctest.Wait()
		require.Equal(t, []string{
			"send a ok", "flush", "answered a",
			"send b ok", "send c ok", "flush", "answered b", "answered c",
		}, j.lines)
		wire.CloseAckers([]*wire.Acker{k})
		require.Equal(t, "close", j.lines[len(j.lines)-1])
	})
}

// Aim: sources wait while too much is held, but for this process itself. Method:
// hold up an answer that holds more than the limit.
func TestAckerLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{gate: make(chan struct{})}
		k := wire.NewAcker(j)
		big := &outcome{j: j, name: "big", held: 65 << 20}
		k.Begin()
		k.Expect(big.held, false)
		k.Take(big)
		through := make(chan string, 2)
		go func() {
			k.Begin()
			k.Expect(1, false)
			through <- "source"
		}()
		synctest.Wait()
		k.Begin()
		k.Expect(1, true) // does not wait
		require.Empty(t, through)
		close(j.gate)
		synctest.Wait()
		require.Equal(t, "source", <-through)
		k.Drop()
		k.Take(&outcome{j: j, name: "small", held: 1})
		wire.CloseAckers([]*wire.Acker{k})
	})
}

// Aim: closing answers what is owed, and waits two seconds for all ackers
// together when it does not come. Method: a clock that only tests move.
func TestAckerClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		k := wire.NewAcker(j)
		k.Begin()
		time.AfterFunc(time.Second, func() {
			k.Expect(1, false)
			k.Take(&outcome{j: j, name: "late", held: 1})
		})
		start := time.Now()
		wire.CloseAckers([]*wire.Acker{k})
		require.Equal(t, time.Second, time.Since(start))
		require.Equal(t, []string{"send late ok", "flush", "answered late", "close"}, j.lines)

		two := []*wire.Acker{wire.NewAcker(&journal{}), wire.NewAcker(&journal{})}
		two[0].Begin()
		two[1].Begin()
		start = time.Now()
		wire.CloseAckers(two)
		require.Equal(t, 2*time.Second, time.Since(start))
	})
}
