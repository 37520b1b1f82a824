package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"leat.dev/leat/bench"
	"leat.dev/leat/tools/node"
)

// benchCommand is what the workloads of `leat bench` have in common.
type benchCommand struct {
	client
	serve    bool
	data     string
	output   string
	duration time.Duration
	warmup   time.Duration
}

func newBench() *cobra.Command {
	parent := &cobra.Command{
		Use:   "bench",
		Short: "Measure a node, or the engine without a network",
		Long: `Measure a running node (--server), or one that is started for the purpose on a
scratch folder (--serve). Each figure is printed with its unit; latencies come from
HDR histograms. Only acknowledged or received records count, and order and content
are compared: a workload that gets a wrong record fails. Channels that a workload
makes are deleted at its end.`,
		Example: `  leat bench publish --serve
  leat bench replay --server nats://127.0.0.1:4222 --output json
  leat bench engine --data /mnt/disk --output csv
  leat bench latency --serve --data /mnt/disk`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	parent.AddCommand(newBenchPublish(), newBenchReplay(), newBenchCore(), newBenchEngine(), newBenchLatency(), newBenchPubSub())
	return parent
}

// networkFlags are those of workloads that need a node.
func (b *benchCommand) networkFlags(cmd *cobra.Command) {
	b.flags(cmd)
	cmd.Flags().BoolVar(&b.serve, "serve", false, "start a node in this process, on a scratch folder")
	cmd.Flags().StringVar(&b.data, "data", "", "folder on the disk to measure: with --serve the scratch folder is made in it (default: the system's for temporary files)")
	cmd.MarkFlagsMutuallyExclusive("server", "serve")
	b.outputFlag(cmd)
}

func (b *benchCommand) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.output, "output", "text", "text, json or csv")
}

func (b *benchCommand) spanFlags(cmd *cobra.Command) {
	cmd.Flags().DurationVar(&b.duration, "duration", 5*time.Second, "measured time")
	cmd.Flags().DurationVar(&b.warmup, "warmup", time.Second, "time before that, not measured")
}

func (b *benchCommand) span() bench.Span { return bench.Span{Warmup: b.warmup, Duration: b.duration} }

// run does the work and prints its report. With network, server is the address
// of a node.
func (b *benchCommand) run(cmd *cobra.Command, network bool, work func(ctx context.Context, server string) (*bench.Report, error)) (err error) {
	if err := checkOutput(b.output, "text", "json", "csv"); err != nil {
		return err
	}
	if b.duration < 0 || b.warmup < 0 {
		return errors.New("--duration and --warmup: want more than 0")
	}
	if err := checkZeros(cmd); err != nil {
		return err
	}
	server := b.server
	if network && b.serve {
		n, remove, err := b.startNode()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, n.Close(), remove()) }()
		server = "nats://" + n.Addr()
	}
	start := time.Now()
	total := int64(-1) // as long as it takes
	if b.duration > 0 {
		total = int64((b.duration + b.warmup).Seconds())
	}
	bar := startProgress(cmd.ErrOrStderr(), cmd.CommandPath(), total, unitTime, func() int64 { return int64(time.Since(start).Seconds()) })
	report, err := work(cmd.Context(), server)
	bar.finish()
	if errors.Is(err, context.Canceled) && cmd.Context().Err() != nil {
		return &exitError{code: exitInterrupted}
	}
	if err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	switch b.output {
	case "json":
		return report.WriteJSON(cmd.OutOrStdout())
	case "csv":
		return report.WriteCSV(cmd.OutOrStdout())
	}
	return report.WriteText(cmd.OutOrStdout())
}

// checkZeros refuses zeros that were given: to a workload they mean its default,
// so that it would measure something else than was asked for.
func checkZeros(cmd *cobra.Command) (err error) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if value := f.Value.String(); (value == "0" || value == "0s") && value != f.DefValue && f.Name != "warmup" {
			err = fmt.Errorf("--%s %s: want more than 0", f.Name, value)
		}
	})
	return err
}

// startNode runs a node on a scratch folder, which remove takes away.
func (b *benchCommand) startNode() (n *node.Node, remove func() error, err error) {
	dir, err := os.MkdirTemp(b.data, "leat-bench-")
	if err != nil {
		return nil, nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	remove = func() error { return os.RemoveAll(dir) }
	n, err = node.Open(node.Options{Dir: dir, Listen: "127.0.0.1:0"})
	if err != nil {
		return nil, nil, errors.Join(err, remove())
	}
	return n, remove, nil
}

func newBenchPublish() *cobra.Command {
	b, o := &benchCommand{}, bench.PublishOptions{}
	c := &cobra.Command{
		Use:   "publish",
		Short: "Acknowledged publishes",
		Long: `Publish records with many in flight and count acknowledgements, each of which means
that the record is synced to disk. The client is nats.go; --pipeline takes a bare
connection instead, which writes many messages at once and shows what the node can
do rather than what the client can.`,
		Example: `  leat bench publish --serve
  leat bench publish --serve --pipeline --size 1024 --output json
  leat bench publish --server nats://127.0.0.1:4222 --in-flight 1000`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, server string) (*bench.Report, error) {
				o.Server, o.Span = server, b.span()
				return bench.Publish(ctx, o)
			})
		},
	}
	publishFlags(c, b, &o)
	return c
}

func publishFlags(c *cobra.Command, b *benchCommand, o *bench.PublishOptions) {
	b.networkFlags(c)
	b.spanFlags(c)
	f := c.Flags()
	f.IntVar(&o.RecordBytes, "size", 128, "bytes of a record")
	f.IntVar(&o.InFlight, "in-flight", 0, "records without acknowledgement (default 4000, 16000 with --pipeline)")
	f.BoolVar(&o.Pipeline, "pipeline", false, "bare connection instead of nats.go")
}

func newBenchPubSub() *cobra.Command {
	b, o := &benchCommand{}, bench.PublishOptions{}
	c := &cobra.Command{
		Use:   "pubsub",
		Short: "Acknowledged publishes, and a follower that gets the records",
		Long: `Publish as "bench publish" does while a follower on a connection of its own gets
every record once it is stored. The time to delivery is from the call that
published.`,
		Example: `  leat bench pubsub --serve
  leat bench pubsub --serve --pipeline --in-flight 1000 --output json`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, server string) (*bench.Report, error) {
				o.Server, o.Span = server, b.span()
				return bench.PubSub(ctx, o)
			})
		},
	}
	publishFlags(c, b, &o)
	return c
}

func newBenchReplay() *cobra.Command {
	b, o := &benchCommand{}, bench.ReplayOptions{}
	c := &cobra.Command{
		Use:   "replay",
		Short: "Stored records, from the first on",
		Long: `Store records, then replay them from the first on, several times. The figures are
those of the round in the middle. The client is nats.go; --pipeline takes a bare
connection, which is what "leat replay" uses.`,
		Example: `  leat bench replay --serve
  leat bench replay --serve --pipeline --records 100000 --size 128 --output csv`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, server string) (*bench.Report, error) {
				o.Server = server
				return bench.Replay(ctx, o)
			})
		},
	}
	b.networkFlags(c)
	f := c.Flags()
	f.IntVar(&o.Records, "records", 500_000, "records to store and replay")
	f.IntVar(&o.RecordBytes, "size", 1024, "bytes of a record")
	f.IntVar(&o.Rounds, "rounds", 3, "how often to replay")
	f.BoolVar(&o.Pipeline, "pipeline", false, "bare connection instead of nats.go")
	return c
}

func newBenchCore() *cobra.Command {
	b, o := &benchCommand{}, bench.CoreOptions{}
	c := &cobra.Command{
		Use:   "core",
		Short: "Publish and subscribe without storage",
		Long: `Route messages from publishers to subscribers, all of which get every message.
Nothing is stored. Clients are bare connections. It works on any NATS server, so
that one can be set beside another.`,
		Example: `  leat bench core --serve
  leat bench core --serve --publishers 8 --subscribers 8 --output json
  leat bench core --server nats://127.0.0.1:4222 --subscribers 8`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, server string) (*bench.Report, error) {
				o.Server, o.Span = server, b.span()
				return bench.Core(ctx, o)
			})
		},
	}
	b.networkFlags(c)
	b.spanFlags(c)
	f := c.Flags()
	f.IntVar(&o.Publishers, "publishers", 1, "connections that publish")
	f.IntVar(&o.Subscribers, "subscribers", 1, "connections that subscribe")
	f.IntVar(&o.MessageBytes, "size", 128, "bytes of a message")
	f.IntVar(&o.InFlight, "in-flight", 8192, "messages that a publisher may be ahead of the slowest subscriber")
	return c
}

func newBenchLatency() *cobra.Command {
	b, o := &benchCommand{}, bench.LatencyOptions{}
	c := &cobra.Command{
		Use:   "latency",
		Short: "One publish at a time",
		Long: `Publish one record at a time on a bare connection and measure until it is
acknowledged. With --data, a write of the same size and fdatasync in that folder are
measured in turns with it, so that the two can be set beside each other; the folder
should be on the node's disk.`,
		Example: `  leat bench latency --serve
  leat bench latency --serve --data /mnt/disk --output json
  leat bench latency --server nats://127.0.0.1:4222 --data /mnt/disk`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, true, func(ctx context.Context, server string) (*bench.Report, error) {
				o.Server, o.Span, o.ProbeDir = server, b.span(), b.data
				if o.ProbeDir == "" && b.serve {
					o.ProbeDir = os.TempDir()
				}
				return bench.Latency(ctx, o)
			})
		},
	}
	b.networkFlags(c)
	b.spanFlags(c)
	c.Flags().IntVar(&o.RecordBytes, "size", 128, "bytes of a record")
	return c
}

func newBenchEngine() *cobra.Command {
	b, o := &benchCommand{}, bench.EngineOptions{}
	c := &cobra.Command{
		Use:   "engine",
		Short: "Appends and reads with no network",
		Long: `Append blocks of records through the partition and Raft to a synced segment, in
this process, and read them again from the page cache. The data lies in a scratch
folder made in --data, and is removed at the end. "synced" is what to set beside
the disk's own figure for writes of the same size, each followed by fdatasync.`,
		Example: `  leat bench engine
  leat bench engine --data /mnt/disk --block 262144 --output json
  leat bench engine --size 128 --writers 64 --block 1024 --partitions 4`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return b.run(cmd, false, func(ctx context.Context, _ string) (r *bench.Report, err error) {
				dir, err := os.MkdirTemp(b.data, "leat-bench-")
				if err != nil {
					return nil, fmt.Errorf("make a scratch folder: %w", err)
				}
				defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
				o.Dir, o.Span = dir, b.span()
				return bench.Engine(ctx, o)
			})
		},
	}
	b.outputFlag(c)
	b.spanFlags(c)
	f := c.Flags()
	f.StringVar(&b.data, "data", "", "folder on the disk to measure (default: the system's for temporary files)")
	f.IntVar(&o.RecordBytes, "size", 1024, "bytes of a record")
	f.IntVar(&o.BlockBytes, "block", 256<<10, "bytes of an append")
	f.IntVar(&o.Writers, "writers", 2, "appends under way at once")
	f.IntVar(&o.Partitions, "partitions", 1, "partitions")
	f.IntVar(&o.ReadRounds, "reads", 3, "how often everything is read again, -1 for never")
	return c
}
