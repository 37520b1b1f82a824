package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), endSignals()...)
	// The second one ends the program at once.
	context.AfterFunc(ctx, stop)
	err := newRoot().ExecuteContext(ctx)
	stop()
	if err == nil {
		return
	}
	if exit, ok := errors.AsType[*exitError](err); ok {
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "leat:", exit.err)
		}
		os.Exit(exit.code)
	}
	fmt.Fprintln(os.Stderr, "leat:", err)
	os.Exit(1)
}

// endSignals are those that end a command in order. A terminal that goes away is
// one, unless nohup wants it to be none.
func endSignals() []os.Signal {
	list := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		list = append(list, syscall.SIGHUP)
	}
	return list
}

// exitError ends the program with a code of its own.
type exitError struct {
	code int
	err  error // nil: everything was said already
}

// Error implements error.
func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// Unwrap gives the reason.
func (e *exitError) Unwrap() error { return e.err }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "leat",
		Short: "A log-structured streaming store for NATS and NATS Streaming clients",
		Long: `Leat stores what NATS and NATS Streaming clients publish in channels, durably, and
replays it from any offset. "leat serve" is a whole node; the other commands are
clients of one, but for "inspect", which reads a data directory offline.`,
		Example: `  leat serve
  leat publish quakes earthquakes.jsonl
  leat replay quakes --from 1000 --output raw
  leat inspect ./leat-data --verify`,
		Version:       version(),
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (%s --help has examples)", err, cmd.CommandPath())
	})
	root.AddCommand(newServe(), newPublish(), newReplay(), newChannels(), newInspect(), newBench())
	return root
}

// arguments checks how many there are, and says what is wanted.
func arguments(minimum, maximum int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= minimum && len(args) <= maximum {
			return nil
		}
		return fmt.Errorf("want: leat %s, got %d arguments (%s --help has examples)",
			strings.TrimPrefix(cmd.Parent().CommandPath()+" "+cmd.Use, "leat "), len(args), cmd.CommandPath())
	}
}

// version is what the Go toolchain knows of this build.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v == "" || v == "(devel)" {
		v = "dev"
	}
	return v
}
