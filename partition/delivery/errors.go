package delivery

import "errors"

var (
	// ErrMemberExists is returned when a member joins under an ID that a
	// member of the group has.
	ErrMemberExists = errors.New("member is in the group already")

	// ErrOccupied is returned when a second member joins a group that is no
	// queue. Have the other one leave first.
	ErrOccupied = errors.New("consumer has a member already")

	// ErrOptions is returned when options contradict each other or are out of
	// range.
	ErrOptions = errors.New("invalid delivery options")
)
