package main

import (
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

const (
	progressAfter = time.Second
	progressEvery = 200 * time.Millisecond
)

// progress shows on a terminal how far something is that takes over a second.
// On anything but a terminal it does nothing.
type progress struct {
	stop chan struct{}
	done chan struct{} // closed when loop has ended
}

// unitBytes and unitTime are units that a bar has forms of its own for.
const (
	unitBytes = ""
	unitTime  = "s"
)

// startProgress begins to watch position, which is of total; a negative total
// is unknown. unit names what is counted.
func startProgress(w io.Writer, what string, total int64, unit string, position func() int64) *progress {
	p := &progress{stop: make(chan struct{}), done: make(chan struct{})}
	if !isTerminal(w) {
		close(p.done)
		return p
	}
	go p.loop(w, what, total, unit, position)
	return p
}

// loop draws. The bar exists from the start, as its rates count from there, but
// nothing of it is seen in the first second.
func (p *progress) loop(w io.Writer, what string, total int64, unit string, position func() int64) {
	defer close(p.done)
	screen := &gate{to: w}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(screen), progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(24),
		// Else it draws from a goroutine of its own, which nobody can end.
		progressbar.OptionSetSpinnerChangeInterval(0),
	}
	switch unit {
	case unitBytes:
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionShowBytes(true))
	case unitTime: // a rate of time is none
	default:
		options = append(options, progressbar.OptionShowCount(), progressbar.OptionSetItsString(unit), progressbar.OptionShowIts())
	}
	bar := progressbar.NewOptions64(total, options...)
	_ = bar.Set64(0) // starts its clock; a bar that can't be drawn is no failure
	shown := time.After(progressAfter)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.stop:
			_ = bar.Clear()
			return
		case <-shown:
			screen.open = true
		case <-tick.C:
		}
		n := position()
		if total > 0 {
			n = min(n, total-1) // a full bar is gone, and there may be something to wait for
		}
		_ = bar.Set64(n)
	}
}

// gate lets nothing through until it is open.
type gate struct {
	to   io.Writer
	open bool
}

// Write implements io.Writer.
func (g *gate) Write(b []byte) (int, error) {
	if !g.open {
		return len(b), nil
	}
	return g.to.Write(b)
}

// finish takes the bar away.
func (p *progress) finish() {
	close(p.stop)
	<-p.done
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
