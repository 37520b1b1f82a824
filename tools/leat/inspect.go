package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"leat.dev/leat/segment"
	"leat.dev/leat/segment/record"
	"leat.dev/leat/segment/vfs"
)

// Exit codes of inspect.
const (
	exitClean     = 0
	exitTorn      = 1
	exitCorrupt   = 2
	exitUncertain = 3
	exitIO        = 4
)

// inspectCommand is `leat inspect`.
type inspectCommand struct {
	verify  bool
	frames  bool
	records bool
	channel string
	json    bool
	output  string
	compare string
	dump    int64
	at      int64
}

func newInspect() *cobra.Command {
	i := &inspectCommand{}
	c := &cobra.Command{
		Use:   "inspect SEGMENT|DIR",
		Short: "Read and check a data directory, a partition or a segment offline",
		Long: `Read a data directory, one partition's folder or one segment file, and check all of
it: every checksum, the chain over all entries, footers, file hashes, the manifest.
It works with nothing but the files, changes none, and may run beside a node. It
does not look at the folders index and raft: the first is made anew from the
segments when it is lost, the second has checksums that the node compares.

Without other flags it prints what is there: identity, segments with their states,
entries, terms and tails, channels with their offsets. --verify prints the verdict
only. --frames and --records list what the segments hold (all that is on disk:
also records that were purged and are not cleaned up yet). --dump N shows the
bytes of a segment or manifest file with the names of their fields, for the first
N bytes, or N bytes from --at on. --compare says where two replicas differ.

Exit codes: 0 clean, 1 a torn tail (what a power cut leaves; the node cuts it),
2 corrupt, or --compare found a difference, 3 a tail that may be either (uncertain),
4 the files could not be read, are those of another version of leat, or bad
arguments, 130 after an interrupt.`,
		Example: `  leat inspect ./leat-data
  leat inspect ./leat-data --verify
  leat inspect ./leat-data --records --channel quakes --json
  leat inspect ./leat-data/partition-0000 --frames
  leat inspect ./leat-data/partition-0000/0000000000000001.seg --dump 8192
  leat inspect ./leat-data --compare ./other-data`,
		Args: func(cmd *cobra.Command, args []string) error { return inspectError(arguments(1, 1)(cmd, args)) },
		RunE: func(cmd *cobra.Command, args []string) error { return inspectError(i.run(cmd, args[0])) },
	}
	c.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return inspectError(cmd.Root().FlagErrorFunc()(cmd, err)) })
	f := c.Flags()
	f.BoolVar(&i.verify, "verify", false, "print the verdict and what is wrong, nothing else")
	f.BoolVar(&i.frames, "frames", false, "list frames with the fields of their headers")
	f.BoolVar(&i.records, "records", false, "list records")
	f.StringVar(&i.channel, "channel", "", "only this channel's frames and records")
	f.BoolVar(&i.json, "json", false, "the same as --output json")
	f.StringVar(&i.output, "output", "text", "text or json: lists as an object a line, the rest as one object")
	f.StringVar(&i.compare, "compare", "", "another replica's data directory or partition's folder")
	f.Int64Var(&i.dump, "dump", 0, "show so many bytes of a file, with the names of their fields")
	f.Int64Var(&i.at, "at", 0, "with --dump: begin with the frame at this position")
	return c
}

// inspectError gives an error that has no exit code of its own inspect's: the
// program's usual one would say that a tail is torn.
func inspectError(err error) error {
	var exit *exitError
	switch {
	case err == nil || errors.As(err, &exit):
		return err
	case errors.Is(err, context.Canceled):
		return &exitError{code: exitInterrupted}
	}
	return &exitError{code: exitIO, err: err}
}

// check looks at how the flags go together. Cobra's own check of it would end
// the program with its own exit code.
func (i *inspectCommand) check(cmd *cobra.Command) error {
	var forms []string
	for _, name := range []string{"verify", "frames", "records", "compare", "dump"} {
		if cmd.Flags().Changed(name) {
			forms = append(forms, "--"+name)
		}
	}
	switch {
	case len(forms) > 1:
		return fmt.Errorf("%s: want one of them", strings.Join(forms, " and "))
	case cmd.Flags().Changed("at") && !cmd.Flags().Changed("dump"):
		return errors.New("--at is of use with --dump only")
	case i.channel != "" && (i.verify || i.compare != "" || cmd.Flags().Changed("dump")):
		return errors.New("--channel is of use with lists and the survey only: every check is of all channels")
	}
	return checkOutput(i.output, "text", "json")
}

func (i *inspectCommand) run(cmd *cobra.Command, path string) error {
	if err := i.check(cmd); err != nil {
		return err
	}
	i.json = i.json || i.output == "json"
	out := bufio.NewWriterSize(cmd.OutOrStdout(), writeBytes)
	var err error
	switch {
	case cmd.Flags().Changed("dump"):
		err = i.runDump(out, path)
	case i.compare != "":
		err = i.runCompare(cmd.Context(), out, path)
	default:
		err = i.runSurvey(cmd.Context(), out, cmd.ErrOrStderr(), path)
	}
	if e := out.Flush(); e != nil {
		// It is also what err is, if that came from writing.
		return fmt.Errorf("write output: %w", e)
	}
	return err
}

// regularFiles is the file system of inspect. A pipe that lies where a file
// should would be waited for without end, and a device has none.
type regularFiles struct{ vfs.OS }

// errNotRegular is returned for what is there but is no file.
var errNotRegular = errors.New("not a regular file")

// Open implements vfs.FS.
func (f regularFiles) Open(name string) (vfs.File, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("open %s: %w", name, errNotRegular)
	}
	return f.OS.Open(name)
}

func (i *inspectCommand) runSurvey(ctx context.Context, out *bufio.Writer, errOut io.Writer, path string) error {
	s := &surveyor{files: regularFiles{}}
	if i.frames || i.records {
		l := &lister{out: out, channel: i.channel, json: i.json}
		s.visit = l.frame
		if i.records {
			s.visit = l.records
		}
	}
	bar := startProgress(errOut, "inspect "+path, -1, unitBytes, s.bytes.Load)
	found, err := s.survey(ctx, path)
	bar.finish()
	if err != nil {
		return err
	}
	return errors.Join(i.printed(out, errOut, found), verdict(found.state))
}

// printed writes the survey. Below a list only what is wrong is told, and not
// into the list.
func (i *inspectCommand) printed(out, errOut io.Writer, s *survey) error {
	switch {
	case i.frames || i.records:
		if s.state == segment.TailClean {
			return nil
		}
		return printVerdict(errOut, s)
	case i.json:
		if i.channel != "" {
			for k := range s.Partitions {
				p := &s.Partitions[k]
				p.Channels = only(p.Channels, i.channel)
			}
		}
		return writeJSON(out, s)
	case i.verify:
		return printVerdict(out, s)
	}
	return printSurvey(out, s, i.channel)
}

func only(list []channelDoc, name string) []channelDoc {
	kept := []channelDoc{}
	for _, c := range list {
		if c.Channel == name {
			kept = append(kept, c)
		}
	}
	return kept
}

// verdict is the exit code for a state.
func verdict(s segment.TailState) error {
	code := map[segment.TailState]int{
		segment.TailClean: exitClean, segment.TailTorn: exitTorn, segment.TailCorrupt: exitCorrupt, segment.TailUncertain: exitUncertain,
	}[s]
	if code == exitClean {
		return nil
	}
	return &exitError{code: code}
}

// lister lists frames or records as they are read.
type lister struct {
	out     io.Writer
	channel string // "": all
	json    bool

	batch   record.Batch
	rec     record.Record
	inflate []byte
	line    []byte
	d       delivery
}

func (l *lister) frame(partition uint32, id record.SegmentID, f *segment.Frame) error {
	d := describeFrame(partition, id, f)
	if l.channel != "" {
		found := false
		for _, b := range d.Batches {
			found = found || b.Channel == l.channel
		}
		if !found {
			return nil
		}
	}
	if l.json {
		return writeJSON(l.out, d)
	}
	return printFrame(l.out, &d)
}

func (l *lister) records(_ uint32, _ record.SegmentID, f *segment.Frame) error {
	if f.Header.Type != record.FrameData {
		return nil
	}
	return eachBatch(f.Payload, &l.batch, l.batchRecords)
}

func (l *lister) batchRecords(b *record.Batch) (err error) {
	if b.Kind != record.KindData || (l.channel != "" && string(b.Name) != l.channel) {
		return nil
	}
	if l.inflate, err = b.Inflate(l.inflate[:0]); err != nil {
		return fmt.Errorf("inflate batch of %s at offset %d: %w", b.Name, b.Base, err)
	}
	for k := range int(b.Count) {
		if err := b.Record(k, &l.rec); err != nil {
			return fmt.Errorf("read offset %d of %s: %w", b.Base+record.Offset(k), b.Name, err)
		}
		if err := l.record(b.Name); err != nil {
			return err
		}
	}
	return nil
}

const previewBytes = 120

func (l *lister) record(channel []byte) error {
	r, d := &l.rec, &l.d
	*d = delivery{
		offset: uint64(r.Offset), time: r.Time, channel: channel, key: r.Key, subject: r.Subject, headers: d.headers[:0],
		value: r.Value, null: r.Value == nil,
	}
	for list := r.Headers; len(list) > 0; {
		name, value, rest, err := record.NextHeader(list)
		if err != nil {
			return fmt.Errorf("read headers of offset %d of %s: %w", r.Offset, channel, err)
		}
		d.headers = append(d.headers, nameValue{name, value})
		list = rest
	}
	l.line = l.line[:0]
	if l.json {
		l.line = appendJSON(l.line, d)
	} else {
		l.line = append(appendReadable(l.line, channel), ' ')
		if len(d.value) > previewBytes {
			d.value = []byte(strings.ToValidUTF8(string(d.value[:previewBytes]), "") + "…")
		}
		l.line = appendText(l.line, d)
	}
	_, err := l.out.Write(l.line)
	return err
}
