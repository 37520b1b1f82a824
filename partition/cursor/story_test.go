package cursor_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// Aim: the rules of a cursor as texts that can be checked by hand. Method: each
// command (new, sent, ack, first, again, each with offsets or ranges) answers
// with how many offsets it moved, where that is a number, and the cursor after
// it; delta and whole show bytes and a replica that has followed them.
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var c, replica *cursor.Cursor
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			for _, a := range d.CmdArgs {
				lo, hi, many := strings.Cut(a.Key, "-")
				if !many {
					hi = lo
				}
				from, to := offset(t, lo), offset(t, hi)
				switch {
				case d.Cmd == "new":
					c, replica = cursor.New(from), cursor.New(from)
				case d.Cmd == "sent":
					c.Sent(from)
				case d.Cmd == "ack" && many:
					fmt.Fprintf(&out, "%d acknowledged\n", c.AckRange(from, to))
				case d.Cmd == "ack" && !c.Ack(from):
					fmt.Fprintf(&out, "%d was not pending\n", from)
				case d.Cmd == "first":
					fmt.Fprintf(&out, "%d were pending\n", c.MoveFirst(from))
				case d.Cmd == "again":
					c.Redeliver(from)
				}
			}
			switch d.Cmd {
			case "delta":
				delta := c.AppendDelta(nil)
				require.NoError(t, replica.ApplyDelta(delta))
				return fmt.Sprintf("% x\n%v\n", delta, replica)
			case "whole":
				return fmt.Sprintf("% x\n", c.AppendTo(nil))
			}
			return out.String() + c.String() + "\n"
		})
	})
}

func offset(t *testing.T, text string) record.Offset {
	t.Helper()
	n, err := strconv.ParseUint(text, 10, 63)
	require.NoError(t, err)
	return record.Offset(n)
}
