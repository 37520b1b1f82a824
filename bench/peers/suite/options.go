package suite

import (
	"fmt"
	"io"
	"slices"
	"time"

	"leat.dev/leat/bench/peers/report"
)

// Options of a comparison. EnsureDefaults fills in what is zero.
type Options struct {
	Name      string   // of the report; default "peers"
	Cases     []string // ids; default all
	Rounds    int      // default 5
	PeersOnly bool     // leave Leat out

	BinDir   string    // where the peers' programs are
	LeatPath string    // the leat binary; unused with PeersOnly
	DataRoot string    // where data folders are made
	Self     string    // this program, which runs clients as "Self work"
	Progress io.Writer // one line a run

	Warmup       time.Duration // before each measured time; default 500ms
	Duration     time.Duration // each measured time; default 3s
	PayloadBytes int           // P1, P2, P5, P10 and P3; default 128

	PublishInFlight      int // P1; default 4,000
	PipelineInFlight     int // P2, Leat; default 65,536
	PipelineInFlightPeer int // P2, JetStream; default 4,000
	FanoutInFlight       int // P5; default 65,536
	StanInFlight         int // P3, stan-bench -mpa; default 1,000
	StanMessages         int // P3; default 600,000
	ReplayRecords        int // P4; default 300,000
	ReplayBytes          int // P4; default 1,024
	EngineBlockBytes     int // P6; default 256 KiB
	EngineBytes          int // P6, at most written a run; default 1 GiB
}

// EnsureDefaults fills in what was left zero.
func (o *Options) EnsureDefaults() {
	if o.Name == "" {
		o.Name = "peers"
	}
	for _, d := range []struct {
		field *int
		value int
	}{
		{&o.Rounds, 5},
		{&o.PayloadBytes, 128},
		{&o.PublishInFlight, 4_000},
		{&o.PipelineInFlight, 65_536},
		{&o.PipelineInFlightPeer, 4_000},
		{&o.FanoutInFlight, 65_536},
		{&o.StanInFlight, 1_000},
		{&o.StanMessages, 600_000},
		{&o.ReplayRecords, 300_000},
		{&o.ReplayBytes, 1_024},
		{&o.EngineBlockBytes, 256 << 10},
		{&o.EngineBytes, 1 << 30},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.Warmup == 0 {
		o.Warmup = 500 * time.Millisecond
	}
	if o.Duration == 0 {
		o.Duration = 3 * time.Second
	}
}

// Validate tells what cannot be run.
func (o *Options) Validate() error {
	for _, id := range o.Cases {
		if !slices.Contains(CaseIDs(), id) {
			return fmt.Errorf("%w: %q; there are %v", ErrUnknownCase, id, CaseIDs())
		}
	}
	least := min(o.Rounds, o.PayloadBytes, o.PublishInFlight, o.PipelineInFlight, o.PipelineInFlightPeer,
		o.FanoutInFlight, o.StanInFlight, o.StanMessages, o.ReplayRecords, o.ReplayBytes, o.EngineBlockBytes, o.EngineBytes)
	if least < 1 || o.Duration < time.Millisecond || o.Warmup < 0 {
		return fmt.Errorf("%w: numbers and times must be above 0", ErrBadOption)
	}
	return nil
}

func (o *Options) settings() []report.Setting {
	return []report.Setting{
		{Name: "measured time a run", Value: fmt.Sprintf("%v, after %v of warm-up (P1, P2, P5, P10)", o.Duration, o.Warmup)},
		{Name: "payload", Value: fmt.Sprintf("%d B, random (P3: zeros, by stan-bench; P4: %d B, random)", o.PayloadBytes, o.ReplayBytes)},
		{Name: "in flight", Value: fmt.Sprintf("P1 %s, P2 %s (JetStream %s), P3 %s, P5 %s messages", fig(o.PublishInFlight), fig(o.PipelineInFlight), fig(o.PipelineInFlightPeer), fig(o.StanInFlight), fig(o.FanoutInFlight))},
		{Name: "messages a run", Value: fmt.Sprintf("P3 %s, P4 %s", fig(o.StanMessages), fig(o.ReplayRecords))},
		{Name: "P6", Value: fmt.Sprintf("up to %s bytes in blocks of %s, for the measured time", fig(o.EngineBytes), fig(o.EngineBlockBytes))},
	}
}

func fig(n int) string { return report.Figure(float64(n)) }
