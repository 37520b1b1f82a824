package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"leat.dev/leat/bench/peers/bare"
	"leat.dev/leat/bench/peers/client"
	"leat.dev/leat/bench/peers/peer"
	"leat.dev/leat/bench/peers/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := rootCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

const examples = `  go run . --leat ~/bin/leat               # everything, five rounds
  go run . --cases P1,P2 --rounds 1        # two cases, one round; leat is built from this repository
  go run . --peers-only --name baseline    # what there is to beat
  go run . install                         # only install the peers' programs`

// flags are what the command line says beyond suite.Options.
type flags struct {
	opts suite.Options
	out  string
}

func rootCommand() *cobra.Command {
	var f flags
	cmd := &cobra.Command{
		Use:   "peers",
		Short: "Measure Leat beside JetStream, nats-streaming-server and fio",
		Long: "Installs the peers at fixed versions, starts each as a process of its own with a fresh data folder,\n" +
			"runs the same client code against all in turn, and writes medians and ratios to bench/results.\n" +
			"The exit code is 1 when a run failed; a missed target is no failure.",
		Example: examples, Args: cobra.NoArgs, SilenceUsage: true, SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error { return compare(cmd.Context(), f, cmd.OutOrStdout()) },
	}
	o := &f.opts
	o.EnsureDefaults() // so that --help shows them
	fl := cmd.Flags()
	fl.StringSliceVar(&o.Cases, "cases", nil, "cases to run, of "+strings.Join(suite.CaseIDs(), ",")+" (default all)")
	fl.IntVar(&o.Rounds, "rounds", o.Rounds, "rounds; in each, every participant runs once")
	fl.BoolVar(&o.PeersOnly, "peers-only", false, "leave Leat out")
	fl.StringVar(&o.LeatPath, "leat", "", "leat binary (default: built from this repository)")
	fl.StringVar(&o.Name, "name", o.Name, "name of the result files, after the date")
	fl.StringVar(&f.out, "out", "", "folder for result files (default: bench/results of this repository)")
	fl.StringVar(&o.DataRoot, "data", "", "folder for the servers' data; say which disk (default: leat-bench/data in the user's cache)")
	fl.DurationVar(&o.Duration, "duration", o.Duration, "measured time of a run")
	fl.DurationVar(&o.Warmup, "warmup", o.Warmup, "time before it that is not measured")
	fl.IntVar(&o.PayloadBytes, "payload-bytes", o.PayloadBytes, "payload of P1, P2, P3, P5, P10")
	fl.IntVar(&o.PublishInFlight, "publish-in-flight", o.PublishInFlight, "P1: messages in flight")
	fl.IntVar(&o.PipelineInFlight, "pipeline-in-flight", o.PipelineInFlight, "P2: messages in flight, Leat")
	fl.IntVar(&o.PipelineInFlightPeer, "pipeline-in-flight-peer", o.PipelineInFlightPeer, "P2: messages in flight, JetStream, which gets no faster from 1,000 on")
	fl.IntVar(&o.FanoutInFlight, "fanout-in-flight", o.FanoutInFlight, "P5: messages in flight")
	fl.IntVar(&o.StanInFlight, "stan-in-flight", o.StanInFlight, "P3: messages in flight (stan-bench -mpa)")
	fl.IntVar(&o.StanMessages, "stan-messages", o.StanMessages, "P3: messages a run")
	fl.IntVar(&o.ReplayRecords, "replay-records", o.ReplayRecords, "P4: records stored and replayed")
	fl.IntVar(&o.ReplayBytes, "replay-bytes", o.ReplayBytes, "P4: payload of a record")
	fl.IntVar(&o.EngineBlockBytes, "engine-block-bytes", o.EngineBlockBytes, "P6: bytes between two syncs")
	fl.IntVar(&o.EngineBytes, "engine-bytes", o.EngineBytes, "P6: bytes written a run")
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.AddCommand(installCommand(), workCommand(), bareCommand())
	return cmd
}

// compare is the program: install, build, run, write.
func compare(ctx context.Context, f flags, out io.Writer) error {
	o := f.opts
	if err := o.Validate(); err != nil {
		return err
	}
	bin, err := peer.BinDir()
	if err != nil {
		return err
	}
	root, err := repositoryRoot()
	if err != nil && (f.out == "" || (o.LeatPath == "" && !o.PeersOnly)) {
		return err
	}
	if err := peer.Install(ctx, bin, peer.Programs(), os.Stderr); err != nil {
		return err
	}
	if o.LeatPath == "" && !o.PeersOnly {
		if o.LeatPath, err = peer.BuildLeat(ctx, root, bin, os.Stderr); err != nil {
			return err
		}
	}
	if o.LeatPath != "" { // servers run in folders of their own
		if o.LeatPath, err = filepath.Abs(o.LeatPath); err != nil {
			return fmt.Errorf("find the leat binary: %w", err)
		}
	}
	if o.DataRoot == "" {
		o.DataRoot = filepath.Join(filepath.Dir(bin), "data")
	}
	if o.DataRoot, err = filepath.Abs(o.DataRoot); err != nil {
		return fmt.Errorf("find the folder for data: %w", err)
	}
	if err := os.MkdirAll(o.DataRoot, 0o755); err != nil {
		return fmt.Errorf("make the folder for data: %w", err)
	}
	if o.Self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if f.out == "" {
		f.out = filepath.Join(root, "bench", "results")
	}
	o.BinDir, o.Progress = bin, os.Stderr
	rep, err := suite.Run(ctx, o)
	if rep == nil || (err != nil && !errors.Is(err, suite.ErrFailed)) {
		return err
	}
	paths, writeErr := rep.Write(f.out)
	if _, err := io.WriteString(out, rep.Markdown()); err != nil {
		writeErr = errors.Join(writeErr, fmt.Errorf("print the report: %w", err))
	}
	fmt.Fprintln(os.Stderr, "written:", strings.Join(paths, ", "))
	return errors.Join(err, writeErr)
}

func installCommand() *cobra.Command {
	return &cobra.Command{
		Use: "install", Short: "Install the peers' programs and end", Args: cobra.NoArgs,
		Example: "  go run . install",
		RunE: func(cmd *cobra.Command, _ []string) error {
			bin, err := peer.BinDir()
			if err != nil {
				return err
			}
			return peer.Install(cmd.Context(), bin, peer.Programs(), os.Stderr)
		},
	}
}

// workCommand is what this program starts itself as for every run, so that
// each has a fresh client process: a job on standard input, its result on
// standard output.
func workCommand() *cobra.Command {
	return &cobra.Command{
		Use: "work", Short: "Run one client job (JSON on standard input)", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var j client.Job
			if err := json.NewDecoder(bufio.NewReader(os.Stdin)).Decode(&j); err != nil {
				return fmt.Errorf("read the job: %w", err)
			}
			res, err := client.Run(cmd.Context(), j)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(res)
		},
	}
}

// bareCommand is what this program starts itself as to be the participant
// bare-server.
func bareCommand() *cobra.Command {
	var addr, dir string
	cmd := &cobra.Command{
		Use: "bare", Short: "Serve as the least that can acknowledge after a sync", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return bare.Serve(cmd.Context(), addr, dir) },
	}
	cmd.Flags().StringVar(&addr, "listen", "127.0.0.1:0", "address")
	cmd.Flags().StringVar(&dir, "data", "", "folder for its file")
	return cmd
}

// repositoryRoot is the folder above that holds the main module.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the working folder: %w", err)
	}
	for d := dir; ; d = filepath.Dir(d) {
		b, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module leat.dev/leat\n") {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("no leat.dev/leat module in %s or above it; run there, or give --out and --leat", dir)
		}
	}
}
