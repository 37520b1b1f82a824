package suite

import "errors"

var (
	// ErrUnknownCase is returned when a case is asked for that does not exist.
	ErrUnknownCase = errors.New("unknown case")

	// ErrBadOption is returned when a parameter is out of range.
	ErrBadOption = errors.New("bad option")

	// ErrFailed is returned when a run of some case failed; the report has the
	// others.
	ErrFailed = errors.New("some cases failed")

	// ErrNoFigure is returned when a program's output has no figure where one
	// was expected.
	ErrNoFigure = errors.New("no figure in the output")
)
