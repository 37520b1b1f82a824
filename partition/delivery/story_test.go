package delivery_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/partition/delivery"
	"leat.dev/leat/segment/record"
)

// story is a group under test and the world around it.
type story struct {
	t     *testing.T
	opts  delivery.Options
	c     *cursor.Cursor
	g     *delivery.Group
	now   int64
	last  record.Offset
	limit int
}

// Aim: every rule of delivery as a text that can be read and checked by hand.
// Method: a file for each rule. The commands:
//
//	group [queue] [acks=none] [start=N] [stop=N] [count=N]
//	join ID [max=N] [wait=DURATION]   leave ID
//	publish N                         N records more in the channel
//	ack N N-M …                       acknowledge; gone and touch likewise; first N
//	suspect ID   healthy ID   pause ID   unpause ID
//	advance DURATION                  the clock; what is due is sent again
//	next [limit=N]   expire [limit=N] one bounded call
//	restart                           only the cursor's bytes survive
//	state
//
// After each event but next, expire and restart, all that can be sent is sent
// and printed; with hold nothing is.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := &story{t: t, limit: 1000}
		datadriven.RunTest(t, path, s.command)
	})
}

func (s *story) command(t *testing.T, d *datadriven.TestData) string {
	s.t = t
	hold := false
	var out strings.Builder
	switch d.Cmd {
	case "next", "expire":
		limit := s.limit
		d.MaybeScanArgs(t, "limit", &limit)
		if d.Cmd == "next" {
			return s.print(s.g.Next(s.now, s.last, limit, nil))
		}
		return s.print(s.g.Expire(s.now, limit, nil))
	case "restart":
		c, err := cursor.Decode(s.c.AppendTo(nil))
		require.NoError(t, err)
		s.c = c
		s.g = s.newGroup()
		return s.c.String() + "\n"
	case "state":
		return s.state()
	case "group":
		s.group(d)
		return ""
	case "join":
		if err := s.join(d); err != nil {
			return err.Error() + "\n"
		}
	case "leave":
		require.True(t, s.g.Leave(s.now, s.id(d)))
	case "publish":
		s.last += s.offset(d.CmdArgs[0].Key)
	case "first":
		s.g.MoveFirst(s.offset(d.CmdArgs[0].Key))
	case "ack", "gone", "touch":
		s.ranges(d, &out)
	case "suspect", "healthy":
		s.g.Suspect(s.id(d), d.Cmd == "suspect")
	case "pause":
		s.g.Pause(s.id(d))
	case "unpause":
		s.g.Unpause(s.id(d))
	case "advance":
		by, err := time.ParseDuration(d.CmdArgs[0].Key)
		require.NoError(t, err)
		s.now += int64(by)
	default:
		t.Fatalf("unknown command %q", d.Cmd)
	}
	hold = d.HasArg("hold")
	if !hold {
		var acts []delivery.Send
		acts = s.g.Expire(s.now, s.limit, acts)
		acts = s.g.Next(s.now, s.last, s.limit, acts)
		out.WriteString(s.print(acts))
	}
	return out.String()
}

func (s *story) group(d *datadriven.TestData) {
	*s = story{t: s.t, limit: 1000}
	start := 1
	d.MaybeScanArgs(s.t, "start", &start)
	var stop, count int
	d.MaybeScanArgs(s.t, "stop", &stop)
	d.MaybeScanArgs(s.t, "count", &count)
	s.opts = delivery.Options{Queue: d.HasArg("queue"), Stop: record.Offset(stop), CountMax: uint64(count)}
	if d.HasArg("acks") {
		s.opts.Acks = delivery.AckNone
	}
	s.c = cursor.New(record.Offset(start))
	s.last = record.Offset(start - 1)
	s.g = s.newGroup()
}

func (s *story) newGroup() *delivery.Group {
	g, err := delivery.NewGroup(s.c, s.opts)
	require.NoError(s.t, err)
	return g
}

func (s *story) join(d *datadriven.TestData) error {
	var o delivery.MemberOptions
	d.MaybeScanArgs(s.t, "max", &o.MaxInFlight)
	var wait string
	d.MaybeScanArgs(s.t, "wait", &wait)
	if wait != "" {
		var err error
		o.AckWait, err = time.ParseDuration(wait)
		require.NoError(s.t, err)
	}
	return s.g.Join(s.id(d), o)
}

// ranges does ack and gone.
func (s *story) ranges(d *datadriven.TestData, out *strings.Builder) {
	for _, a := range d.CmdArgs {
		if a.Key == "hold" {
			continue
		}
		lo, hi, many := strings.Cut(a.Key, "-")
		if !many {
			hi = lo
		}
		from, to := s.offset(lo), s.offset(hi)
		switch {
		case d.Cmd == "gone":
			s.g.Gone(from, to)
		case d.Cmd == "touch":
			s.g.Touch(s.now, from, to)
		case many:
			if n := s.g.AckRange(from, to); n < uint64(to-from)+1 {
				fmt.Fprintf(out, "%d of %s were pending\n", n, a.Key)
			}
		case !s.g.Ack(from):
			fmt.Fprintf(out, "%d was not pending\n", from)
		}
	}
}

// print shows actions and when the group wants to be called again.
func (s *story) print(acts []delivery.Send) string {
	var b strings.Builder
	for _, a := range acts {
		what := fmt.Sprintf("%d", a.From)
		if a.To > a.From {
			what += fmt.Sprintf("-%d", a.To)
		}
		fmt.Fprintf(&b, "to %d: %s", a.Member, what)
		if a.Redelivered() {
			fmt.Fprintf(&b, " redelivered, count %d", a.Count)
		}
		b.WriteByte('\n')
	}
	if at, ok := s.g.Deadline(); ok {
		fmt.Fprintf(&b, "wake at %v, now %v\n", time.Duration(at), time.Duration(s.now))
	}
	return b.String()
}

func (s *story) state() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v; in flight %d", s.c, s.g.InFlight())
	for what, is := range map[string]bool{
		"; stalled": s.g.Stalled(),
	} {
		if is {
			b.WriteString(what)
		}
	}
	if s.g.Resuming() {
		b.WriteString("; resuming")
	}
	if s.g.Done() {
		b.WriteString("; done")
	} else if s.g.Exhausted() {
		b.WriteString("; exhausted")
	}
	b.WriteByte('\n')
	for id := delivery.MemberID(1); id < 10; id++ {
		if st, ok := s.g.Stats(id); ok {
			fmt.Fprintf(&b, "%d: %d pending", id, st.Pending)
			if st.Stalled {
				b.WriteString(", stalled")
			}
			if st.Suspect {
				b.WriteString(", suspect")
			}
			if st.Paused {
				b.WriteString(", paused")
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (s *story) id(d *datadriven.TestData) delivery.MemberID {
	return delivery.MemberID(s.offset(d.CmdArgs[0].Key))
}

func (s *story) offset(text string) record.Offset {
	n, err := strconv.ParseUint(text, 10, 63)
	require.NoError(s.t, err)
	return record.Offset(n)
}
