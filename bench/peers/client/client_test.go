package client_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"leat.dev/leat/bench/peers/client"
)

func job(kind client.Kind, url string) client.Job {
	return client.Job{
		Kind: kind, Store: "leat", URL: url, PayloadBytes: 64, InFlightMax: 256, Records: 5_000,
		Warmup: 10 * time.Millisecond, Duration: 300 * time.Millisecond, Publishers: 2, Subscribers: 3,
	}
}

// Aim: a workload gives a figure when the server does all right, and none, but
// the right error, when it does one thing wrong. Method: every workload against
// a fake store that goes wrong at its hundredth message.
func TestWorkloadsCheckWhatTheyGet(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault fault
		kinds []client.Kind
		want  error
	}{
		{"right", none, []client.Kind{client.Publish, client.Pipeline, client.Latency, client.Replay, client.Fanout}, nil},
		{"acknowledged twice", ackTwice, []client.Kind{client.Publish, client.Pipeline, client.Replay}, client.ErrBadAck},
		{"acknowledged with an error", ackError, []client.Kind{client.Publish, client.Pipeline, client.Latency, client.Replay}, client.ErrBadAck},
		{"a sequence number twice", ackSameSeq, []client.Kind{client.Publish, client.Pipeline, client.Latency, client.Replay}, client.ErrBadAck},
		{"stored one less", storeLess, []client.Kind{client.Publish, client.Pipeline, client.Latency, client.Replay}, client.ErrLost},
		{"records out of order", replaySwap, []client.Kind{client.Replay}, client.ErrBadRecord},
		{"a record twice", replayTwice, []client.Kind{client.Replay}, client.ErrBadRecord},
		{"a record of other content", replayOther, []client.Kind{client.Replay}, client.ErrBadRecord},
		{"records end early", replayEnds, []client.Kind{client.Replay}, client.ErrLost},
		{"a replay is refused", replayRefused, []client.Kind{client.Replay}, client.ErrProtocol},
		{"a core message twice", fanoutRepeat, []client.Kind{client.Fanout}, client.ErrBadRecord},
	} {
		for _, kind := range c.kinds {
			t.Run(c.name+"/"+string(kind), func(t *testing.T) {
				res, err := client.Run(t.Context(), job(kind, startFake(t, c.fault)))
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
					require.Zero(t, res)
					return
				}
				require.NoError(t, err)
				require.NotZero(t, res.Messages)
				for _, m := range res.Metrics {
					require.Positive(t, m.Value, m.Name)
					require.NotEmpty(t, m.Unit, m.Name)
				}
			})
		}
	}
}

// Aim: a message that is never acknowledged is noticed, not waited for without
// end. Method: a store that forgets one, and a context that ends.
func TestLostAcknowledgementEndsWithTheContext(t *testing.T) {
	for _, kind := range []client.Kind{client.Publish, client.Pipeline} {
		t.Run(string(kind), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			_, err := client.Run(ctx, job(kind, startFake(t, ackNever)))
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// Aim: what cannot be run is refused. Method: jobs with one wrong field each.
func TestUnknownJobs(t *testing.T) {
	url := startFake(t, none)
	for name, spoil := range map[string]func(*client.Job){
		"workload": func(j *client.Job) { j.Kind = "dance" },
		"store":    func(j *client.Job) { j.Store = "paper" },
		"payload":  func(j *client.Job) { j.PayloadBytes = 3 },
	} {
		t.Run(name, func(t *testing.T) {
			j := job(client.Pipeline, url)
			spoil(&j)
			_, err := client.Run(t.Context(), j)
			require.ErrorIs(t, err, client.ErrUnknownJob)
		})
	}
}
