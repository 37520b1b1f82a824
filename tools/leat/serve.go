package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"leat.dev/leat/segment"
	"leat.dev/leat/tools/node"
)

// segmentMiBMax is the largest segment.
const segmentMiBMax = segment.SegmentBytesMax >> 20

// serveCommand is `leat serve`.
type serveCommand struct {
	options    node.Options
	log        logSettings
	config     string
	segmentMiB int64
}

// logSettings say what is logged, and how.
type logSettings struct{ level, format string }

func newServe() *cobra.Command { return (&serveCommand{}).command() }

func (s *serveCommand) command() *cobra.Command {
	o := &s.options
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run a storage node",
		Long: `Run a storage node: NATS and NATS Streaming clients on one address, health,
metrics and JSON pages over HTTP on another. An acknowledgement means that the
record is synced to disk. SIGINT, SIGTERM and SIGHUP end it in order, a second one
at once; after that, and after kill -9, it goes on where it was.

A configuration file is in the format of nats-server, whose settings for listen,
http, server_name, authorization (a user or a token), limits and pings count, as do
those of nats-streaming-server's block "streaming" for the cluster ID, heartbeats
and max_channels. What is not served is told in the log and passed over; TLS and
accounts, and what is unknown, refuse the start. A block "leat" has data, node_id,
cluster_id, partitions, segment_mib, stan_channels, log_level and log_format. Flags
count before the file.`,
		Example: `  leat serve
  leat serve --data /var/lib/leat --listen 0.0.0.0:4222 --http 127.0.0.1:8222
  leat serve --cluster-id orders --partitions 8 --log-level debug
  leat serve --config /etc/leat.conf`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error { return s.run(cmd) },
	}
	f := c.Flags()
	f.StringVar(&s.config, "config", "", "configuration file")
	f.StringVar(&o.Dir, "data", "./leat-data", "data directory, made when missing")
	f.StringVar(&o.Listen, "listen", "127.0.0.1:4222", "address for NATS and NATS Streaming clients")
	f.StringVar(&o.HTTP, "http", "127.0.0.1:8222", `address for health, metrics and JSON pages, "" for none`)
	f.StringVar(&o.ClusterID, "cluster-id", "", "cluster ID, which NATS Streaming clients name (default "+node.DefaultClusterID+"); fixed when the data directory is made")
	f.StringVar(&o.NodeID, "node-id", "", "name of this node (default random); fixed when the data directory is made")
	f.IntVar(&o.Partitions, "partitions", 0, fmt.Sprintf("number of partitions (default %d); fixed when the data directory is made", node.DefaultPartitions))
	f.Int64Var(&s.segmentMiB, "segment-mib", 0, "size of new segments in MiB, 1 to 1024 (default 128)")
	f.BoolVar(&o.AcceptDataLoss, "accept-data-loss", false, "cut the end of a log whose damage may hide acknowledged records; without it the node refuses to start on one")
	f.IntVar(&o.STAN.ChannelsMax, "stan-channels", -1, "channels that NATS Streaming clients may make (the old server's default was 100); -1 for no limit")
	f.StringVar(&s.log.level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&s.log.format, "log-format", "text", "text or json")
	return c
}

func (s *serveCommand) run(cmd *cobra.Command) error {
	passedOver, err := s.settle(cmd)
	if err != nil {
		return err
	}
	o := &s.options
	logger, err := newLogger(cmd.ErrOrStderr(), s.log.level, s.log.format)
	if err != nil {
		return err
	}
	for _, name := range passedOver {
		logger.Warn("a setting is not served and is passed over", "setting", name, "config", s.config)
	}
	o.Logger, o.Version = logger, version()
	if dir, err := filepath.Abs(o.Dir); err == nil {
		o.Dir = dir // in messages, where the node runs is not known
	}
	start := time.Now()
	logger.Info("leat starts", "version", o.Version, "pid", os.Getpid(), "data", o.Dir)
	n, err := node.Open(*o)
	if err != nil {
		return openError(err)
	}
	<-cmd.Context().Done()
	logger.Info("the node stops", "cause", context.Cause(cmd.Context()), "ran", time.Since(start).Round(time.Second))
	if err := n.Close(); err != nil {
		return err
	}
	logger.Info("the node has stopped")
	return nil
}

// settle puts the settings of the file below the flags that were given, and
// checks what the node can't check by name. It returns what was passed over.
func (s *serveCommand) settle(cmd *cobra.Command) (passedOver []string, err error) {
	f := cmd.Flags()
	if s.config != "" {
		given := map[string]string{}
		f.Visit(func(flag *pflag.Flag) { given[flag.Name] = flag.Value.String() })
		passedOver, err = readConfig(s.config, &s.options, &s.log)
		if err != nil {
			return nil, err
		}
		for name, value := range given {
			if err := f.Set(name, value); err != nil {
				return nil, err
			}
		}
	}
	switch {
	case s.options.Dir == "":
		return nil, errors.New("--data: want a folder")
	case s.segmentMiB < 0 || s.segmentMiB > segmentMiBMax:
		return nil, fmt.Errorf("--segment-mib %d: want 1 to %d", s.segmentMiB, segmentMiBMax)
	case s.segmentMiB > 0:
		s.options.SegmentBytes = s.segmentMiB << 20
	}
	return passedOver, nil
}

// openError adds what an operator can do where only a flag helps.
func openError(err error) error {
	var damage *segment.CorruptionError
	if errors.As(err, &damage) && damage.Tail == segment.TailUncertain {
		return fmt.Errorf("%w; leat serve --accept-data-loss cuts it, and leat inspect --verify shows it", err)
	}
	return err
}

func newLogger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q: want debug, info, warn or error", level)
	}
	o := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), nil
	}
	return nil, fmt.Errorf("--log-format %q: want text or json", format)
}
