package segment_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// tracer runs the commands of a trace on one log.
type tracer struct {
	fs   *vfs.MemFS
	l    *segment.Log
	term uint64
}

// Aim: the life of segments, and what recovery says about each kind of damage,
// can be read. Method: traces in testdata/trace; -rewrite writes what happens.
func TestTraces(t *testing.T) {
	datadriven.Walk(t, filepath.Join("testdata", "trace"), func(t *testing.T, path string) {
		tr := &tracer{fs: vfs.NewMem(), term: 1}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if err := tr.run(t, d); err != nil {
				if c, ok := errors.AsType[*segment.CorruptionError](err); ok {
					return fmt.Sprintf("refused: segment %d at %d, entry %d: %v\n", c.Segment, c.Position, c.Index, c.Tail)
				}
				return fmt.Sprintf("error: %v\n", err)
			}
			return tr.show()
		})
		if tr.l != nil {
			closeLog(t, tr.l)
		}
	})
}

func (tr *tracer) run(t *testing.T, d *datadriven.TestData) (err error) {
	var n, bytes, index, at int
	d.MaybeScanArgs(t, "n", &n)
	d.MaybeScanArgs(t, "bytes", &bytes)
	d.MaybeScanArgs(t, "index", &index)
	d.MaybeScanArgs(t, "at", &at)
	switch d.Cmd {
	case "open":
		tr.l, err = segment.Open(options(tr.fs))
		return err
	case "close":
		err, tr.l = tr.l.Close(), nil
		return err
	case "append":
		for range max(n, 1) {
			last, _ := tr.l.Last()
			e := segment.Entry{Index: last + 1, Term: tr.term, Type: record.FrameConfiguration, Payload: []byte(strings.Repeat("x", bytes))}
			if err := tr.l.Append([]segment.Entry{e}); err != nil {
				return err
			}
		}
		return nil
	case "roll":
		return tr.l.Roll()
	case "truncate-suffix":
		tr.term++
		return tr.l.TruncateSuffix(uint64(index))
	case "truncate-prefix":
		return tr.l.TruncatePrefix(uint64(index))
	case "power-cut":
		clone := tr.fs.CrashClone(vfs.CrashOptions{})
		err, tr.l, tr.fs = tr.l.Close(), nil, clone
		return err
	case "flip", "zero", "write":
		var id int
		d.ScanArgs(t, "segment", &id)
		f, err := tr.fs.OpenReadWrite(fmt.Sprintf("p/%016x.seg", id))
		require.NoError(t, err)
		switch d.Cmd {
		case "flip":
			flip(t, f, int64(at), 0)
		case "zero":
			_, err = f.WriteAt(make([]byte, n), int64(at))
		case "write":
			_, err = f.WriteAt([]byte(d.Input), int64(at))
		}
		return errors.Join(err, f.SyncData(), f.Close())
	}
	return fmt.Errorf("unknown command %q", d.Cmd)
}

// show tells what the log is now.
func (tr *tracer) show() string {
	if tr.l == nil {
		return "closed\n"
	}
	var b strings.Builder
	last, term := tr.l.Last()
	r := tr.l.Recovery()
	fmt.Fprintf(&b, "entries %d to %d, term %d; opened with tail %v", tr.l.First(), last, term, r.Tail)
	if r.CutBytes > 0 {
		fmt.Fprintf(&b, ", cut %d bytes of segment %d at %d", r.CutBytes, r.Segment, r.Position)
	}
	b.WriteByte('\n')
	for _, s := range tr.l.Segments() {
		state := s.State.String()
		if s.State == segment.StateFull || s.State == segment.StateSealed {
			state = "full" // sealing goes on in the background
		}
		fmt.Fprintf(&b, "  segment %d %s: entries %d to %d, end %d", s.ID, state, s.First, s.Last, s.Bytes)
		if s.Bound != segment.BoundNone {
			fmt.Fprintf(&b, ", %v", s.Bound)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
