package subject

// The bytes with a meaning in subjects.
const (
	separator = '.'
	anyOne    = '*'
	anyRest   = '>'
)

// text is what subjects come as: strings from programs, bytes from sockets.
type text interface{ ~string | ~[]byte }

// ValidPattern tells whether s can be subscribed to: tokens that are not empty
// and hold no white space, with ">" at most as the last one. A wildcard
// character within a longer token ("a*") is an ordinary character.
func ValidPattern[S text](s S) bool {
	valid, _ := inspect(s)
	return valid
}

// ValidLiteral tells whether s is a valid subject without wildcards, one that
// a well-behaved publisher uses.
func ValidLiteral[S text](s S) bool {
	valid, wild := inspect(s)
	return valid && !wild
}

// inspect reads s once. It returns whether s is a valid pattern and whether it
// holds a wildcard token.
func inspect[S text](s S) (valid, wild bool) {
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != separator {
			switch s[i] {
			case ' ', '\t', '\n', '\r', '\f':
				return false, wild
			}
			continue
		}
		if i == start {
			return false, wild
		}
		if i-start == 1 {
			switch s[start] {
			case anyOne:
				wild = true
			case anyRest:
				if i < len(s) {
					return false, true
				}
				wild = true
			}
		}
		start = i + 1
	}
	return true, wild
}

// hasEmptyToken tells whether a published subject has an empty token, in which
// case it matches nothing.
func hasEmptyToken(s []byte) bool {
	after := true
	for _, b := range s {
		if b == separator {
			if after {
				return true
			}
			after = true
		} else {
			after = false
		}
	}
	return after
}

// token cuts the first token off s. more is false when it was the last.
func token(s string) (first, rest string, more bool) {
	for i := 0; i < len(s); i++ {
		if s[i] == separator {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}

// Matches tells whether the literal subject matches pattern. It is the plain
// definition; a Tree gives the same answer for many patterns at once.
func Matches(pattern, subject string) bool {
	for {
		p, pRest, pMore := token(pattern)
		s, sRest, sMore := token(subject)
		switch {
		case s == "":
			return false
		case p == string(anyRest) && !pMore:
			return !hasEmptyToken([]byte(subject))
		case p != string(anyOne) && p != s:
			return false
		case !pMore || !sMore:
			return pMore == sMore
		}
		pattern, subject = pRest, sRest
	}
}
