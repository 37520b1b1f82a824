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

// startProgress begins to watch position, which is of total; a negative total
// is unknown. unit names what is counted; "" is bytes.
func startProgress(w io.Writer, what string, total int64, unit string, position func() int64) *progress {
	p := &progress{stop: make(chan struct{}), done: make(chan struct{})}
	if !isTerminal(w) {
		close(p.done)
		return p
	}
	go p.loop(w, what, total, unit, position)
	return p
}

func (p *progress) loop(w io.Writer, what string, total int64, unit string, position func() int64) {
	defer close(p.done)
	select {
	case <-p.stop:
		return
	case <-time.After(progressAfter):
	}
	options := []progressbar.Option{
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionClearOnFinish(),
		progressbar.OptionShowCount(), progressbar.OptionSetPredictTime(true), progressbar.OptionSetWidth(24),
	}
	if unit == "" {
		options = append(options, progressbar.OptionShowBytes(true))
	} else {
		options = append(options, progressbar.OptionSetItsString(unit), progressbar.OptionShowIts())
	}
	bar := progressbar.NewOptions64(total, options...)
	tick := time.NewTicker(progressEvery)
	defer tick.Stop()
	for {
		_ = bar.Set64(position()) // a bar that can't be drawn is no failure
		select {
		case <-p.stop:
			_ = bar.Clear()
			return
		case <-tick.C:
		}
	}
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
