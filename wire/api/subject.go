package api

import (
	"fmt"
	"strings"

	"leat.dev/leat/partition"
)

// checkPattern says why a channel can't be bound to the subject pattern: it is
// none, or it takes in subjects that belong to a protocol, so that storing what
// comes there would store requests, inboxes or the store's own answers.
func checkPattern(p string) error {
	tokens := strings.Split(p, ".")
	for i, t := range tokens {
		switch {
		case t == "":
			return fmt.Errorf("%w: subject %q has an empty token", partition.ErrConfig, p)
		case t == ">" && i < len(tokens)-1:
			return fmt.Errorf("%w: subject %q has '>' before its end", partition.ErrConfig, p)
		case strings.ContainsAny(t, " \t\r\n"):
			return fmt.Errorf("%w: subject %q holds white space", partition.ErrConfig, p)
		case len(t) > 1 && strings.ContainsAny(t, "*>"):
			return fmt.Errorf("%w: subject %q has a wildcard inside a token", partition.ErrConfig, p)
		}
	}
	for _, reserved := range []string{"$LEAT.>", "$SYS.>", "$JS.>", "_STAN.>", inboxPrefix + ">"} {
		if overlap(p, reserved) {
			return fmt.Errorf("%w: subject %q takes in %s, which is not for channels: let it begin with a name of your own", partition.ErrConfig, p, reserved)
		}
	}
	return nil
}

// inboxPrefix begins the subjects that clients have answers sent to.
const inboxPrefix = "_INBOX."

// overlap tells whether some subject matches both patterns.
func overlap(a, b string) bool {
	for {
		ta, ra, moreA := strings.Cut(a, ".")
		tb, rb, moreB := strings.Cut(b, ".")
		switch {
		case ta == ">" || tb == ">":
			return true
		case ta != tb && ta != "*" && tb != "*":
			return false
		case moreA != moreB:
			return false
		case !moreA:
			return true
		}
		a, b = ra, rb
	}
}
