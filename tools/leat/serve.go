package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"leat.dev/leat/segment"
	"leat.dev/leat/tools/node"
)

// newServe is `leat serve`.
func newServe() *cobra.Command {
	o := node.Options{}
	var logLevel, logFormat string
	var segmentMiB int64
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a storage node",
		Long: `Run a storage node: NATS and NATS Streaming clients on one address, health,
metrics and JSON pages over HTTP on another. An acknowledgement means that the
record is synced to disk. SIGINT and SIGTERM end it in order; after kill -9 it
goes on where it was.`,
		Example: `  leat serve
  leat serve --data /var/lib/leat --listen 0.0.0.0:4222 --http 127.0.0.1:8222
  leat serve --cluster-id orders --partitions 8 --log-level debug`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			logger, err := newLogger(logLevel, logFormat)
			if err != nil {
				return err
			}
			o.Logger, o.Version, o.SegmentBytes = logger, version(), segmentMiB<<20
			n, err := node.Open(o)
			if err != nil {
				return openError(err)
			}
			<-cmd.Context().Done()
			logger.Info("the node stops")
			return n.Close()
		},
	}
	f := c.Flags()
	f.StringVar(&o.Dir, "data", "./leat-data", "data directory, made when missing")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:4222", "address for NATS and NATS Streaming clients")
	f.StringVar(&o.HTTP, "http", "127.0.0.1:8222", `address for health, metrics and JSON pages, "" for none`)
	f.StringVar(&o.ClusterID, "cluster-id", "", "cluster ID, which NATS Streaming clients name (default "+node.DefaultClusterID+"); fixed when the data directory is made")
	f.StringVar(&o.NodeID, "node-id", "", "name of this node (default random); fixed when the data directory is made")
	f.IntVar(&o.Partitions, "partitions", 0, fmt.Sprintf("number of partitions (default %d); fixed when the data directory is made", node.DefaultPartitions))
	f.Int64Var(&segmentMiB, "segment-mib", 0, "size of new segments in MiB, 1 to 1024 (default 128)")
	f.BoolVar(&o.AcceptDataLoss, "accept-data-loss", false, "cut the end of a log whose damage may hide acknowledged records; without it the node refuses to start on one")
	f.IntVar(&o.STAN.ChannelsMax, "stan-channels", -1, "channels that NATS Streaming clients may make (the old server's default was 100); -1 for no limit")
	f.StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&logFormat, "log-format", "text", "text or json")
	return c
}

// openError adds what an operator can do where only a flag helps.
func openError(err error) error {
	var damage *segment.CorruptionError
	if errors.As(err, &damage) && damage.Tail == segment.TailUncertain {
		return fmt.Errorf("%w; leat serve --accept-data-loss cuts it, and leat inspect --verify shows it", err)
	}
	return err
}

func newLogger(level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", format)
}
