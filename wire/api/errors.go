package api

import (
	"context"
	"errors"

	"leat.dev/leat/partition"
)

var (
	// errBadRequest is returned when a request does not say what it should.
	errBadRequest = errors.New("bad request")
	// errNoSuchCall is returned when a subject below "$LEAT.API." is none.
	errNoSuchCall = errors.New("no such call")
	// errNoReplay is returned when a delivery of no replay under way is
	// acknowledged.
	errNoReplay = errors.New("replay not found")
	// errBusy is returned when too many requests are under way.
	errBusy = errors.New("too many requests under way")
	// errAnswerTooLarge is returned when an answer does not fit in a message.
	errAnswerTooLarge = errors.New("the answer is too large")
)

// errorCodes maps store errors to what clients see. The first that matches
// counts; what matches none is 500. Codes are those of HTTP, as NATS clients
// know them from JetStream.
var errorCodes = []struct {
	err  error
	code int
}{
	{errBadRequest, 400},
	{errNoSuchCall, 404},
	{errNoReplay, 404},
	{errBusy, 503},
	{errAnswerTooLarge, 413},
	{partition.ErrNoChannel, 404},
	{partition.ErrNoCursor, 404},
	{partition.ErrChannelName, 400},
	{partition.ErrConfig, 400},
	{partition.ErrSubjectTaken, 409},
	{partition.ErrChannelExists, 409},
	{partition.ErrTooLarge, 413},
	{partition.ErrNoSpace, 507},
	{partition.ErrNotLeader, 503},
	{partition.ErrUnknownOutcome, 503},
	{partition.ErrClosed, 503},
	{partition.ErrCorrupt, 500},
	{context.DeadlineExceeded, 504},
	{context.Canceled, 503},
}

func errorCode(err error) int {
	for _, e := range errorCodes {
		if errors.Is(err, e.err) {
			return e.code
		}
	}
	return 500
}

// Error is what an answer holds when a request failed.
type Error struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// Error implements error, for clients of this package's types.
func (e *Error) Error() string { return e.Description }

func wireError(err error) *Error {
	return &Error{Code: errorCode(err), Description: err.Error()}
}
