package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"
)

// exitInterrupted is the code after SIGINT, as shells know it.
const exitInterrupted = 130

// publishCommand is `leat publish`.
type publishCommand struct {
	client
	channel  string
	file     string // "" or "-": standard input
	key      string
	headers  []string
	rate     float64
	window   int
	ackWait  time.Duration
	patience time.Duration
	output   string
}

func newPublish() *cobra.Command {
	p := &publishCommand{}
	c := &cobra.Command{
		Use:   "publish CHANNEL [FILE]",
		Short: "Store the lines of a file, or of standard input, as records",
		Long: `Store each line of a file, or of standard input, as one record of a channel, which
is made when it does not exist. Only the line end '\n' is taken off: a '\r' before
it stays part of the record, an empty line is an empty record, and a last line
without '\n' is a record.

The command ends when every record is acknowledged, which means synced to disk. It
then says how many, how fast, and which offsets they got. Records are stored at
least once: when the connection is lost, or an acknowledgement does not come within
--ack-wait, what is not acknowledged is published again, and may then be stored
twice; only then can order change. While the node takes nothing, as with a full
disk, it is asked again for up to --patience, and then publishing ends. Lines that
can't be stored are told with their numbers, and the others go on.

Exit codes: 0 all stored, 1 some or all not, 130 after an interrupt (what was read
until then is still waited for).`,
		Example: `  leat publish quakes earthquakes.jsonl
  leat publish quakes earthquakes.jsonl --key properties.net --output json
  tail -f access.log | leat publish access --header host=web1
  seq 1 1000 | leat publish numbers --rate 100`,
		Args: arguments(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.channel = args[0]
			if len(args) == 2 {
				p.file = args[1]
			}
			return p.run(cmd)
		},
	}
	p.flags(c)
	f := c.Flags()
	f.StringVar(&p.key, "key", "", "field of the record's JSON that is its key, or a path as properties.net")
	f.StringArrayVar(&p.headers, "header", nil, "header NAME=VALUE for every record; may be given more than once")
	f.Float64Var(&p.rate, "rate", 0, "records a second at most, 0 for no limit")
	f.IntVar(&p.window, "window", 4096, "records that may be in flight")
	f.DurationVar(&p.ackWait, "ack-wait", 10*time.Second, "publish a record again when it is not acknowledged after so long")
	f.DurationVar(&p.patience, "patience", time.Minute, "give up when nothing is acknowledged for so long")
	f.StringVar(&p.output, "output", "text", "text or json")
	return c
}

func (p *publishCommand) run(cmd *cobra.Command) error {
	key, header, err := p.check()
	if err != nil {
		return err
	}
	in, size, err := p.open(cmd)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }() // it was read only
	nc, err := p.connect(nats.ReconnectBufSize(-1))
	if err != nil {
		return err
	}
	defer nc.Close()
	pub, err := newPublisher(nc, p.channel, p.window, header, p.ackWait, p.patience)
	if err != nil {
		return err
	}
	counted := &countedReader{in: in}
	position, unit := counted.position, unitBytes
	if size < 0 {
		position, unit = pub.acked, "records"
	}
	bar := startProgress(cmd.ErrOrStderr(), "publish "+p.channel, size, unit, position)
	err = p.feed(cmd.Context(), pub, key, newLineReader(counted, int(nc.MaxPayload())), int(nc.MaxPayload())-headerBytes(header))
	interrupted := errors.Is(err, context.Canceled)
	if err == nil || interrupted {
		drainCtx, cancel := cmd.Context(), context.CancelFunc(func() {})
		if interrupted {
			drainCtx, cancel = context.WithTimeout(context.WithoutCancel(drainCtx), 5*time.Second)
		}
		if e := pub.drain(drainCtx); e != nil {
			err = e
			interrupted = interrupted || errors.Is(e, context.Canceled)
		}
		cancel()
	}
	bar.finish()
	result, refusals := pub.close()
	result.Interrupted = interrupted
	if e := p.report(cmd, result, refusals); e != nil {
		return e
	}
	switch {
	case interrupted:
		return &exitError{code: exitInterrupted}
	case err != nil:
		return fmt.Errorf("%w; %d records acknowledged, %d with unknown outcome", err, result.Records, result.Unknown)
	case result.Refused > 0:
		return &exitError{code: 1}
	}
	return nil
}

// check looks at the arguments before anything is done.
func (p *publishCommand) check() (keyField, nats.Header, error) {
	if err := checkChannel(p.channel); err != nil {
		return nil, nil, err
	}
	if err := checkOutput(p.output, "text", "json"); err != nil {
		return nil, nil, err
	}
	switch {
	case p.window < 1 || p.window > 1<<20:
		return nil, nil, fmt.Errorf("--window %d: want 1 to %d", p.window, 1<<20)
	case p.rate < 0:
		return nil, nil, fmt.Errorf("--rate %g: want records a second, or 0", p.rate)
	case p.ackWait <= 0 || p.patience <= 0:
		return nil, nil, errors.New("--ack-wait and --patience: want more than 0")
	}
	key, err := parseKeyField(p.key)
	if err != nil {
		return nil, nil, err
	}
	var header nats.Header
	for _, h := range p.headers {
		name, value, ok := strings.Cut(h, "=")
		if !ok || name == "" || strings.ContainsAny(name, " \t\r\n:") || strings.ContainsAny(value, "\r\n") {
			return nil, nil, fmt.Errorf("--header %q: want NAME=VALUE on one line", h)
		}
		if header == nil {
			header = make(nats.Header)
		}
		header[name] = append(header[name], value)
	}
	return key, header, nil
}

// open gives the input and its size, -1 when that is not known.
func (p *publishCommand) open(cmd *cobra.Command) (io.ReadCloser, int64, error) {
	if p.file == "" || p.file == "-" {
		return io.NopCloser(cmd.InOrStdin()), -1, nil
	}
	f, err := os.Open(p.file)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		_ = f.Close() // it was only read
		return nil, 0, err
	case info.IsDir():
		_ = f.Close() // it was only read
		return nil, 0, fmt.Errorf("%s is a folder, want a file of lines", p.file)
	case !info.Mode().IsRegular():
		return f, -1, nil
	}
	return f, info.Size(), nil
}

// feed publishes all lines. It returns ctx's error when it was interrupted.
func (p *publishCommand) feed(ctx context.Context, pub *publisher, key keyField, lines *lineReader, bytesMax int) error {
	// A reader of a pipe can't be interrupted: it is left behind when the
	// program ends.
	batches, failed := make(chan []line, 4), make(chan error, 1)
	go readLines(ctx, lines, batches, failed)
	wake := context.AfterFunc(ctx, func() {
		pub.mu.Lock()
		defer pub.mu.Unlock()
		pub.moved.Broadcast()
	})
	defer wake()
	start, sent := time.Now(), 0
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case batch, ok := <-batches:
			if !ok {
				return <-failed
			}
			for _, ln := range batch {
				if p.rate > 0 {
					if err := sleepUntil(ctx, start.Add(time.Duration(float64(sent)/p.rate*float64(time.Second)))); err != nil {
						return err
					}
				}
				sent++
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if err := p.feedLine(ctx, pub, key, ln, bytesMax); err != nil {
					return err
				}
			}
		}
	}
}

func (p *publishCommand) feedLine(ctx context.Context, pub *publisher, key keyField, ln line, bytesMax int) error {
	var name string
	var keyed bool
	if ln.tooLong == 0 && key != nil {
		var err error
		if name, keyed, err = key.of(ln.data); err != nil {
			pub.refuse(ln.number, err)
			return nil
		}
		if keyed {
			bytesMax -= headerBytes(nats.Header{"Leat-Key": {name}})
		}
	}
	if size := max(ln.tooLong, int64(len(ln.data))); size > int64(bytesMax) {
		pub.refuse(ln.number, fmt.Errorf("%d bytes, the server takes at most %d in a record, headers included", size, bytesMax))
		return nil
	}
	return pub.publish(ctx, ln, name, keyed)
}

const (
	batchLines = 512
	batchBytes = 1 << 20
)

// readLines hands lines on in batches; it does not hold back a line to fill a
// batch when whoever writes the input is slow.
func readLines(ctx context.Context, lines *lineReader, batches chan<- []line, failed chan<- error) {
	defer close(batches)
	for end := false; !end; {
		batch, size := make([]line, 0, batchLines), 0
		for len(batch) < batchLines && size < batchBytes {
			ln, err := lines.next()
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = nil
				}
				failed <- err
				end = true
				break
			}
			batch = append(batch, ln)
			size += len(ln.data)
			if lines.waiting() {
				break
			}
		}
		select {
		case batches <- batch:
		case <-ctx.Done():
			return
		}
	}
}

func sleepUntil(ctx context.Context, at time.Time) error {
	d := time.Until(at)
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *publishCommand) report(cmd *cobra.Command, r publishResult, refusals []refusedLine) error {
	errOut := cmd.ErrOrStderr()
	for _, f := range refusals {
		fmt.Fprintf(errOut, "leat: line %d is not stored: %v\n", f.line, f.err)
	}
	if more := r.Refused - uint64(len(refusals)); more > 0 {
		fmt.Fprintf(errOut, "leat: %d more lines are not stored\n", more)
	}
	if p.output == "json" {
		return writeJSON(cmd.OutOrStdout(), r)
	}
	offsets := "no offsets given"
	if r.First > 0 {
		offsets = fmt.Sprintf("offsets %d to %d", r.First, r.Last)
	}
	text := fmt.Sprintf("%s records acknowledged, %s in %.3f s (%s records/s, %s/s), %s\n",
		grouped(r.Records), bytesText(float64(r.Bytes)), r.Seconds, grouped(uint64(r.RecordRate)), bytesText(r.ByteRate), offsets)
	if r.Repeated > 0 {
		text += fmt.Sprintf("%s records were published again and may be stored twice\n", grouped(r.Repeated))
	}
	_, err := io.WriteString(cmd.OutOrStdout(), text)
	return err
}

// headerBytes is what a header block adds to a payload.
func headerBytes(h nats.Header) int {
	if h == nil {
		return 0
	}
	n := len("NATS/1.0\r\n\r\n")
	for name, values := range h {
		for _, v := range values {
			n += len(name) + len(": \r\n") + len(v)
		}
	}
	return n
}

// countedReader knows how far a file has been read.
type countedReader struct {
	in io.Reader
	n  atomic.Int64
}

func (c *countedReader) Read(b []byte) (int, error) {
	n, err := c.in.Read(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *countedReader) position() int64 { return c.n.Load() }
