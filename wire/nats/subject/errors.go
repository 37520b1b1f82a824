package subject

import "errors"

// ErrPattern is returned when a pattern is not valid: it is empty, has an empty
// token or white space in it, or goes on after ">".
var ErrPattern = errors.New("invalid subject pattern")
