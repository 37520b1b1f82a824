package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"leat.dev/leat/wire/api"
)

// errRefused is returned when the user does not say yes.
var errRefused = errors.New("nothing was changed")

// channelsCommand is `leat channels` and what is below it.
type channelsCommand struct {
	client
	output string
	yes    bool
}

func newChannels() *cobra.Command {
	c := &channelsCommand{}
	parent := &cobra.Command{
		Use:   "channels",
		Short: "List, show, create, change, purge and delete channels",
		Long: `Work with a node's channels. A channel is made by the first publish to it, or by
"create", which can bind it to NATS subjects: what any NATS client publishes there
is stored, with its subject and headers.`,
		Example: `  leat channels list
  leat channels create orders --subjects 'orders.>' --compression zstd
  leat channels show orders --output json
  leat channels purge orders --before 1000 --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, sub := range []*cobra.Command{c.list(), c.show(), c.create(), c.set(), c.purge(), c.remove()} {
		c.flags(sub)
		sub.Flags().StringVar(&c.output, "output", "text", "text or json")
		parent.AddCommand(sub)
	}
	return parent
}

// with checks the arguments, connects, and runs do.
func (c *channelsCommand) with(cmd *cobra.Command, name string, do func(context.Context, *nats.Conn) error) error {
	if err := checkOutput(c.output, "text", "json"); err != nil {
		return err
	}
	if name != "" {
		if err := checkChannel(name); err != nil {
			return err
		}
	}
	nc, err := c.connect()
	if err != nil {
		return err
	}
	defer nc.Close()
	return do(cmd.Context(), nc)
}

func (c *channelsCommand) list() *cobra.Command {
	var prefix string
	l := &cobra.Command{
		Use:   "list",
		Short: "List channels by name",
		Long: `List channels by name: first and last offset, records, bytes, and when the last
record was stored. Output json is an object a line.`,
		Example: `  leat channels list
  leat channels list --prefix orders. --output json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return c.with(cmd, "", func(ctx context.Context, nc *nats.Conn) error {
				return c.printList(ctx, nc, cmd.OutOrStdout(), prefix)
			})
		},
	}
	l.Flags().StringVar(&prefix, "prefix", "", "only channels whose name begins so")
	return l
}

func (c *channelsCommand) printList(ctx context.Context, nc *nats.Conn, w io.Writer, prefix string) error {
	out := bufio.NewWriter(w)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	if c.output == "text" {
		fmt.Fprintf(table, "channel\tfirst\tlast\trecords\tbytes\tlast stored\t\n")
	}
	for at := 0; ; {
		var page api.ListAnswer
		if err := request(ctx, nc, "CHANNEL.LIST", api.ListRequest{Prefix: prefix, Offset: at, Limit: listPage}, &page); err != nil {
			return err
		}
		for i := range page.Channels {
			info := &page.Channels[i]
			if c.output == "json" {
				if err := writeJSON(out, info); err != nil {
					return err
				}
				continue
			}
			stored := "never"
			if info.LastTime != nil {
				stored = info.LastTime.Format(time.RFC3339)
			}
			fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%s\t%s\t\n", info.Channel, info.First, info.Last, info.Records, bytesText(float64(info.Bytes)), stored)
		}
		at += len(page.Channels)
		if len(page.Channels) == 0 || at >= page.Total {
			break
		}
	}
	return errors.Join(table.Flush(), out.Flush())
}

const listPage = 500

func (c *channelsCommand) show() *cobra.Command {
	return &cobra.Command{
		Use:   "show CHANNEL",
		Short: "Show one channel with its settings and durable consumers",
		Long: `Show one channel: its offsets, size, settings, what an acknowledgement means for
it, and its durable consumers with their places.`,
		Example: `  leat channels show quakes
  leat channels show quakes --output json`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd, args[0], func(ctx context.Context, nc *nats.Conn) error {
				return c.ask(ctx, nc, cmd.OutOrStdout(), "SHOW."+args[0], struct{}{})
			})
		},
	}
}

// ask sends a request that is answered with the channel, and prints it.
func (c *channelsCommand) ask(ctx context.Context, nc *nats.Conn, w io.Writer, call string, question any) error {
	var info api.ChannelInfo
	if err := request(ctx, nc, "CHANNEL."+call, question, &info); err != nil {
		return err
	}
	if c.output == "json" {
		return writeJSON(w, &info)
	}
	return printChannel(w, &info)
}

func printChannel(w io.Writer, info *api.ChannelInfo) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name string, format string, args ...any) { fmt.Fprintf(t, name+"\t"+format+"\n", args...) }
	row("channel", "%s", info.Channel)
	offsets := fmt.Sprintf("none yet, the next is %d", info.Last+1)
	if info.Records > 0 {
		offsets = fmt.Sprintf("%d to %d", info.First, info.Last)
	}
	row("offsets", "%s", offsets)
	row("records", "%s", grouped(info.Records))
	row("bytes", "%s (%s)", grouped(info.Bytes), bytesText(float64(info.Bytes)))
	row("created", "%s", info.Created.Format(time.RFC3339Nano))
	if info.LastTime != nil {
		row("last stored", "%s", info.LastTime.Format(time.RFC3339Nano))
	}
	subjects := "none"
	if len(info.Config.Subjects) > 0 {
		subjects = strings.Join(info.Config.Subjects, ", ")
	}
	row("subjects", "%s", subjects)
	compression := info.Config.Compression
	if compression == "" {
		compression = "none"
	}
	row("compression", "%s", compression)
	row("acknowledged", "%s", info.Durability)
	for _, k := range info.Cursors {
		row("durable", "%s: acknowledged to %d, sent to %d, %d pending", k.Name, k.Floor, k.Sent, k.Pending)
	}
	if more := info.CursorCount - len(info.Cursors); more > 0 {
		row("durable", "and %d more", more)
	}
	return t.Flush()
}

func (c *channelsCommand) create() *cobra.Command {
	var cfg api.ChannelConfig
	s := &cobra.Command{
		Use:   "create CHANNEL",
		Short: "Make a channel, bound to subjects where wanted",
		Long: `Make a channel. With --subjects, every message that a NATS client publishes on them
is stored, and acknowledged on its reply subject once it is on disk. Patterns of
two channels must not overlap.`,
		Example: `  leat channels create quakes
  leat channels create orders --subjects 'orders.>,returns.*' --compression s2`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.with(cmd, args[0], func(ctx context.Context, nc *nats.Conn) error {
				return c.ask(ctx, nc, cmd.OutOrStdout(), "CREATE."+args[0], cfg)
			})
		},
	}
	s.Flags().StringSliceVar(&cfg.Subjects, "subjects", nil, "subjects to store, with wildcards * and >")
	s.Flags().StringVar(&cfg.Compression, "compression", "", "none, s2 or zstd")
	return s
}

func (c *channelsCommand) set() *cobra.Command {
	var subjects []string
	var compression string
	s := &cobra.Command{
		Use:   "set CHANNEL",
		Short: "Change a channel's settings",
		Long: `Change the settings that are named and leave the others. --subjects replaces all
subjects; --subjects '' binds the channel to none. Compression is that of records
stored from now on.`,
		Example: `  leat channels set orders --subjects 'orders.>,returns.>'
  leat channels set orders --compression zstd`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			change := map[string]any{}
			if cmd.Flags().Changed("subjects") {
				change["subjects"] = append([]string{}, subjects...)
			}
			if cmd.Flags().Changed("compression") {
				change["compression"] = compression
			}
			if len(change) == 0 {
				return errors.New("nothing to change: give --subjects or --compression")
			}
			return c.with(cmd, args[0], func(ctx context.Context, nc *nats.Conn) error {
				return c.ask(ctx, nc, cmd.OutOrStdout(), "SET."+args[0], change)
			})
		},
	}
	s.Flags().StringSliceVar(&subjects, "subjects", nil, "subjects to store, with wildcards * and >")
	s.Flags().StringVar(&compression, "compression", "", "none, s2 or zstd")
	return s
}

func (c *channelsCommand) purge() *cobra.Command {
	var before uint64
	s := &cobra.Command{
		Use:   "purge CHANNEL",
		Short: "Remove a channel's records, all or the oldest",
		Long: `Remove all records of a channel, or with --before those under an offset. The
channel stays, and offsets are never given again. On a terminal it asks first; where
nobody can be asked it wants --yes.`,
		Example: `  leat channels purge quakes
  leat channels purge quakes --before 1000 --yes`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			what, request := "all records", api.PurgeRequest{}
			if cmd.Flags().Changed("before") {
				what, request.First = fmt.Sprintf("the records under offset %d", before), &before
			}
			return c.destroy(cmd, args[0], "PURGE", "Remove "+what+" of "+args[0]+"?", request)
		},
	}
	s.Flags().Uint64Var(&before, "before", 0, "remove records under this offset only")
	s.Flags().BoolVar(&c.yes, "yes", false, "do not ask")
	return s
}

func (c *channelsCommand) remove() *cobra.Command {
	s := &cobra.Command{
		Use:   "delete CHANNEL",
		Short: "Remove a channel with its records and durable consumers",
		Long: `Remove a channel with all its records and durable consumers. On a terminal it asks
first; where nobody can be asked it wants --yes.`,
		Example: `  leat channels delete quakes
  leat channels delete quakes --yes`,
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.destroy(cmd, args[0], "DELETE", "Delete channel "+args[0]+" with all its records?", struct{}{})
		},
	}
	s.Flags().BoolVar(&c.yes, "yes", false, "do not ask")
	return s
}

// destroy asks the user and then the node.
func (c *channelsCommand) destroy(cmd *cobra.Command, name, verb, question string, body any) error {
	if !c.yes {
		if !isTerminal(cmd.InOrStdin()) {
			return fmt.Errorf("%w: say --yes, as there is no terminal to ask on", errRefused)
		}
		if err := confirm(cmd.InOrStdin(), cmd.ErrOrStderr(), question); err != nil {
			return err
		}
	}
	return c.with(cmd, name, func(ctx context.Context, nc *nats.Conn) error {
		var done api.Done
		if err := request(ctx, nc, "CHANNEL."+verb+"."+name, body, &done); err != nil {
			return err
		}
		if c.output == "json" {
			return writeJSON(cmd.OutOrStdout(), done)
		}
		_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s: done\n", name)
		return err
	})
}

// confirm returns nil when the answer is yes.
func confirm(in io.Reader, out io.Writer, question string) error {
	fmt.Fprintf(out, "%s [y/N] ", question)
	answer, err := bufio.NewReader(in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the answer: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errRefused
}

// writeJSON writes v as a line.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false) // 'orders.>' is to stay readable
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write output: %w", err)
	}
	return nil
}
