package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"leat.dev/leat/wire/api"
)

// replayCommand is `leat replay`.
type replayCommand struct {
	client
	from     string
	count    uint64
	follow   bool
	window   int
	durable  string
	ackWait  time.Duration
	patience time.Duration
	output   string
}

func newReplay() *cobra.Command {
	r := &replayCommand{}
	c := &cobra.Command{
		Use:   "replay CHANNEL",
		Short: "Write a channel's records to standard output",
		Long: `Write a channel's records to standard output, from any place on:

  --from FIRST        the oldest record (the default)
  --from LAST         the newest one
  --from NEW          what comes from now on (with --follow)
  --from 1000         this offset
  --from 2026-01-31T12:00:00Z, --from 2026-01-31
                      the first record stored at that time or later
  --from -10m         the same, so long ago

It ends at what was the last record when it began, also when there is none from
that place on, which it says; with --follow it goes on with new ones until it is
interrupted. Output raw is each record's value and a line
end: what "leat publish" read comes out byte for byte. Output json is an object a
line: offset, time, channel, subject, key, headers, value (value_base64 where the
value is no UTF-8). Output text is for people.

Offsets are compared: a record that is missing or comes twice is an error. When the
connection breaks, the replay goes on behind the last record as soon as there is a
node again, for up to --patience.

With --durable NAME the node keeps the place: records are acknowledged once they
are written, and the next replay of that name goes on there (at least once: what
was written and not yet acknowledged comes again). --window is how many may be
unacknowledged.

Exit codes: 0 complete, 1 not, 130 after an interrupt (0 with --follow).`,
		Example: `  leat replay quakes
  leat replay quakes --from 1000 --output raw
  leat replay quakes --from LAST --output json
  leat replay quakes --from -1h --count 10
  leat replay quakes --from NEW --follow
  leat replay quakes --durable reader --follow`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd, args[0]) },
	}
	r.flags(c)
	f := c.Flags()
	f.StringVar(&r.from, "from", "FIRST", "where to begin: FIRST, LAST, NEW, an offset, a time, or a duration back (-10m)")
	f.Uint64Var(&r.count, "count", 0, "end after so many records, 0 for no limit")
	f.BoolVar(&r.follow, "follow", false, "go on with new records")
	f.IntVar(&r.window, "window", 0, "acknowledge records, and have at most so many unacknowledged")
	f.StringVar(&r.durable, "durable", "", "name of a place that the node keeps")
	f.DurationVar(&r.ackWait, "ack-wait", 0, "with --window or --durable: the node sends a record again after so long (default 30s)")
	f.DurationVar(&r.patience, "patience", time.Minute, "give up when the connection is away for so long")
	f.StringVar(&r.output, "output", "text", "raw, json or text")
	return c
}

func (c *replayCommand) run(cmd *cobra.Command, channel string) error {
	r, err := c.replayer(cmd, channel)
	if err != nil {
		return err
	}
	// On a terminal the records themselves show that something happens.
	var bar *progress
	if !isTerminal(cmd.OutOrStdout()) {
		bar = startProgress(cmd.ErrOrStderr(), "replay "+channel, -1, "records", func() int64 { return int64(r.written.Load()) })
	}
	err = r.run(cmd.Context())
	if bar != nil {
		bar.finish()
	}
	switch {
	case err == nil && r.got == 0 && !c.follow:
		fmt.Fprintf(cmd.ErrOrStderr(), "leat: there are no records from there on; the last offset of %s is %d\n", channel, r.last)
		return nil
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled) && c.follow:
		return nil
	case errors.Is(err, context.Canceled):
		return &exitError{code: exitInterrupted}
	}
	return fmt.Errorf("replay %s: %w", channel, err)
}

// replayer checks the arguments and makes what does the work.
func (c *replayCommand) replayer(cmd *cobra.Command, channel string) (*replayer, error) {
	if err := checkChannel(channel); err != nil {
		return nil, err
	}
	if err := checkOutput(c.output, "raw", "json", "text"); err != nil {
		return nil, err
	}
	from, err := api.ParseFrom(c.from)
	switch {
	case err != nil:
		return nil, fmt.Errorf("--from %q: want FIRST, LAST, NEW, an offset, a time as 2006-01-02T15:04:05Z, or -1h", c.from)
	case c.window < 0:
		return nil, fmt.Errorf("--window %d: want 0 or more", c.window)
	case c.ackWait < 0 || c.patience <= 0:
		return nil, errors.New("--ack-wait: want 0 or more; --patience: want more than 0")
	case c.ackWait > 0 && c.window == 0 && c.durable == "":
		return nil, errors.New("--ack-wait is of use with --window or --durable only")
	}
	r := &replayer{
		server: c.server, channel: channel, patience: c.patience,
		out: bufio.NewWriterSize(cmd.OutOrStdout(), writeBytes), note: cmd.ErrOrStderr(),
		request: api.ReplayRequest{From: from, Count: c.count, Follow: c.follow, Window: c.window, Durable: c.durable},
	}
	if c.ackWait > 0 {
		r.request.AckWait = c.ackWait.String()
	}
	switch c.output {
	case "raw":
		r.format = appendRaw
	case "json":
		r.format = appendJSON
	default:
		r.format = appendText
	}
	return r, nil
}
