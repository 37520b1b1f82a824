package main

import (
	"bytes"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Aim: a bar shows nothing in the first second, and true rates afterwards.
// Method: 1,000 records a second in a bubble's time, for half a second and for
// five.
func TestProgress(t *testing.T) {
	drawn := func(d time.Duration, total int64, unit string) string {
		var out bytes.Buffer
		synctest.Test(t, func(*testing.T) {
			p, start := &progress{stop: make(chan struct{}), done: make(chan struct{})}, time.Now()
			go p.loop(&out, "work", total, unit, func() int64 { return time.Since(start).Milliseconds() })
			time.Sleep(d)
			p.finish()
		})
		return out.String()
	}
	require.Empty(t, drawn(500*time.Millisecond, -1, "records"))
	for _, l := range strings.FieldsFunc(drawn(5*time.Second, -1, "records"), func(r rune) bool { return r == '\r' }) {
		if strings.Contains(l, "work") {
			require.Contains(t, l, "1000 records/s", l)
		}
	}
	text := drawn(5*time.Second, 10_000, "records")
	require.Contains(t, text, " 48% ")
	require.Contains(t, text, "[4s:5s]")
	require.NotContains(t, drawn(5*time.Second, -1, unitTime), "/s")
	require.Contains(t, drawn(5*time.Second, 2000, unitTime), " 99% ", "there is a bar until the end")
}
