package bench

import "errors"

var (
	// ErrRefused is returned when a node refuses what a workload asks for.
	ErrRefused = errors.New("the node refused")
	// ErrContent is returned when a record is not the one that was sent.
	ErrContent = errors.New("received what was not sent")
	// ErrOrder is returned when offsets do not follow each other.
	ErrOrder = errors.New("offsets are out of order")
	// ErrOptions is returned for options that make no workload.
	ErrOptions = errors.New("bad workload options")
	// ErrStalled is returned when nothing comes any more.
	ErrStalled = errors.New("nothing came for too long")
)
