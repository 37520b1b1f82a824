package partition_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/partition"
	"leat.dev/leat/partition/cursor"
	"leat.dev/leat/segment/record"
)

// tracer is a node and the names that a trace has for what it holds on to.
type tracer struct {
	*node
	now     int64
	handles map[string]*partition.Channel
	changes []string
}

// Aim: the state machine's rules as text that can be read and checked by hand.
// Method: files under testdata/trace. The commands:
//
//	create NAME [s2] [max=N]    set NAME …     delete NAME   trim NAME first=N   purge NAME
//	append NAME VALUE…          read NAME [from=N]           at NAME [time=SECONDS]
//	put NAME CURSOR [meta=M] [next=N]          ack NAME CURSOR OFFSET…   drop NAME CURSOR
//	hold NAME as=H              keeps the handle; @H may then be used for a name
//	session KIND NAME VALUE     nosession KIND NAME
//	clock SECONDS               depose          lead
//	restart [index=gone]        state           changes
func TestTraces(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "trace"), func(t *testing.T, path string) {
		tr := &tracer{node: newNode(t), now: epochStart, handles: map[string]*partition.Channel{}}
		tr.opts.Now = func() int64 { return tr.now }
		tr.open()
		tr.lead()
		tr.watch()
		defer tr.close()
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := tr.run(d)
			if err != nil {
				return fmt.Sprintf("error: %v\n", err)
			}
			if out == "" {
				return "ok\n"
			}
			return strings.TrimRight(out, "\n") + "\n"
		})
	})
}

func (tr *tracer) watch() {
	tr.part.WatchChannels(func(c partition.Change) {
		tr.changes = append(tr.changes, fmt.Sprintf("%s exists=%t deleted=%t config=%+v", c.Channel.Name(), c.Channel.Exists(), c.Deleted, c.Channel.Config()))
	})
}

func (tr *tracer) channel(name string) (*partition.Channel, error) {
	if h, ok := strings.CutPrefix(name, "@"); ok {
		return tr.handles[h], nil
	}
	return tr.part.Ensure(name)
}

func words(d *datadriven.TestData) (list []string, options map[string]string) {
	options = map[string]string{}
	for _, a := range d.CmdArgs {
		switch {
		case len(a.Vals) > 0:
			options[a.Key] = a.Vals[0]
		default:
			list = append(list, a.Key)
		}
	}
	return list, options
}

func number(s string) uint64 {
	v, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		panic(err)
	}
	return v
}

func (tr *tracer) run(d *datadriven.TestData) (string, error) {
	args, opts := words(d)
	switch d.Cmd {
	case "clock":
		tr.now = epochStart + int64(number(args[0]))*int64(time.Second)
		return "", nil
	case "depose":
		tr.leader.depose()
		return "", nil
	case "lead":
		tr.lead()
		return "", nil
	case "restart":
		tr.restart(func() {
			if opts["index"] == "gone" {
				tr.ixFS = pebblevfs.NewMem()
			}
		})
		tr.watch()
		return "", nil
	case "state":
		return strings.ReplaceAll(dump(tr.part), strconv.Itoa(epochStart)[:10], "T"), nil
	case "changes":
		out := strings.Join(tr.changes, "\n")
		tr.changes = nil
		return out, nil
	case "session":
		return "", tr.wait(func(done func(error)) { tr.part.PutSession(byte(number(args[0])), args[1], []byte(args[2]), done) })
	case "nosession":
		return "", tr.wait(func(done func(error)) { tr.part.DeleteSession(byte(number(args[0])), args[1], done) })
	case "create":
		_, err := tr.part.Create(context.Background(), args[0], config(args[1:], opts))
		return "", err
	}
	c, err := tr.channel(args[0])
	if err != nil {
		return "", err
	}
	return tr.runChannel(d.Cmd, c, args[1:], opts)
}

func config(args []string, opts map[string]string) (cfg partition.Config) {
	if slices.Contains(args, "s2") {
		cfg.Compression = "s2"
	}
	if m := opts["max"]; m != "" {
		cfg.MaxRecords = number(m)
	}
	if s := opts["subject"]; s != "" {
		cfg.Subjects = []string{s}
	}
	if opts["codec"] != "" {
		cfg.Compression = opts["codec"]
	}
	return cfg
}

func (tr *tracer) wait(f func(done func(error))) error {
	done := make(chan error, 1)
	f(func(err error) { done <- err })
	return <-done
}

func (tr *tracer) runChannel(cmd string, c *partition.Channel, args []string, opts map[string]string) (string, error) {
	ctx := context.Background()
	switch cmd {
	case "hold":
		tr.handles[opts["as"]] = c
		return "", nil
	case "append":
		base, err := tr.append(c, args...)
		return fmt.Sprintf("base %d", base), err
	case "set":
		return "", c.Set(ctx, config(args, opts))
	case "delete":
		return "", c.Delete(ctx)
	case "purge":
		return "", c.Purge(ctx)
	case "trim":
		return "", c.Trim(ctx, record.Offset(number(opts["first"])))
	case "read":
		from := uint64(1)
		if f := opts["from"]; f != "" {
			from = number(f)
		}
		return fmt.Sprint(read(tr.t, c, record.Offset(from))), nil
	case "at":
		off, err := c.OffsetAt(epochStart + int64(number(opts["time"]))*int64(time.Second))
		return fmt.Sprint(off), err
	case "put":
		next := uint64(1)
		if n := opts["next"]; n != "" {
			next = number(n)
		}
		return "", tr.wait(func(done func(error)) {
			c.PutCursor(args[0], []byte(opts["meta"]), cursor.New(record.Offset(next)), done)
		})
	case "drop":
		return "", tr.wait(func(done func(error)) { c.DeleteCursor(args[0], done) })
	case "ack":
		info, ok := c.Cursor(args[0])
		if !ok {
			return "", partition.ErrNoCursor
		}
		for _, a := range args[1:] {
			info.Place.Sent(record.Offset(number(a)))
		}
		for _, a := range args[1:] {
			info.Place.Ack(record.Offset(number(a)))
		}
		delta := info.Place.AppendDelta(nil)
		return "", tr.wait(func(done func(error)) { c.AdvanceCursor(args[0], delta, done) })
	case "advance": // with bytes that make no sense
		return "", tr.wait(func(done func(error)) { c.AdvanceCursor(args[0], []byte(args[1]), done) })
	case "info":
		return fmt.Sprintf("exists=%t deleted=%t first=%d last=%d", c.Exists(), c.Deleted(), c.First(), c.Last()), nil
	}
	require.Fail(tr.t, "unknown command", cmd)
	return "", nil
}
