package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Aim: no record can change the terminal that it is shown on. Method: an escape
// sequence in each of its parts that a client chooses.
func TestTextIsHarmless(t *testing.T) {
	esc := []byte("a\x1b[31mb")
	got := string(appendText(nil, &delivery{
		offset: 1, subject: esc, key: esc, headers: []nameValue{{esc, esc}}, value: esc,
	}))
	require.NotContains(t, got, "\x1b")
	require.Equal(t, `#1 1970-01-01T00:00:00.000000Z subject "a\x1b[31mb" key "a\x1b[31mb" "a\x1b[31mb"="a\x1b[31mb"`+
		"\n"+`"a\x1b[31mb"`+"\n", got)
}
