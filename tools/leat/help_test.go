package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// dumpLine gives the position and the number of bytes that a line of a dump is
// about.
func dumpLine(t *testing.T, l string) (at, n int64) {
	t.Helper()
	at, err := strconv.ParseInt(l[:8], 16, 64)
	require.NoError(t, err, l)
	if m := regexp.MustCompile(`^.{10}([0-9,]+) bytes of 00|^.{10}the same ([0-9,]+) bytes again`).FindStringSubmatch(l); m != nil {
		n, err = strconv.ParseInt(strings.ReplaceAll(m[1]+m[2], ",", ""), 10, 64)
		require.NoError(t, err, l)
		return at, n
	}
	end := min(len(l), 10+47)
	return at, int64(len(strings.Fields(l[10:end])))
}

func everyCommand(c *cobra.Command, visit func(*cobra.Command)) {
	visit(c)
	for _, sub := range c.Commands() {
		everyCommand(sub, visit)
	}
}

// Aim: help that helps. Method: each command has a description and examples,
// and each example names a command and flags that exist.
func TestHelp(t *testing.T) {
	everyCommand(newRoot(), func(c *cobra.Command) {
		t.Run(c.CommandPath(), func(t *testing.T) {
			require.NotEmpty(t, c.Short)
			require.Greater(t, len(c.Long), len(c.Short))
			require.NotEmpty(t, c.Example)
			for l := range strings.SplitSeq(c.Example, "\n") {
				require.True(t, strings.HasPrefix(l, "  "), "indented: %q", l)
				if i := strings.LastIndex(l, "| "); i >= 0 {
					l = l[i+2:]
				}
				words := strings.Fields(strings.ReplaceAll(l, "'", ""))
				require.Equal(t, "leat", words[0])
				sub, rest, err := newRoot().Find(words[1:])
				require.NoError(t, err)
				require.NotEqual(t, "leat", sub.Name(), l)
				require.NoError(t, sub.ParseFlags(rest), l)
				require.NoError(t, sub.ValidateArgs(sub.Flags().Args()), l)
			}
			for l := range strings.SplitSeq(c.Long, "\n") {
				require.LessOrEqual(t, len([]rune(l)), 90, "fits a terminal: %q", l)
			}
		})
	})
}

// Aim: --help and --version work and write to standard output. Method: run them.
func TestHelpRuns(t *testing.T) {
	everyCommand(newRoot(), func(c *cobra.Command) {
		r := leat(t, nil, append(strings.Fields(c.CommandPath())[1:], "--help")...)
		require.Equal(t, 0, r.code)
		require.Contains(t, r.out, "Examples:")
	})
	require.Contains(t, leat(t, nil, "--version").out, "leat version")
	require.Equal(t, 1, leat(t, nil, "nonsense").code)
}

// Aim: who asks wrongly learns what to write. Method: too few and too many
// arguments, an unknown flag, of commands at each depth.
func TestUsage(t *testing.T) {
	for line, want := range map[string]string{
		"publish":                             "want: leat publish CHANNEL [FILE], got 0 arguments (leat publish --help has examples)",
		"channels show a b":                   "want: leat channels show CHANNEL, got 2 arguments",
		"channels list a":                     "want: leat channels list, got 1 arguments",
		"serve here":                          "want: leat serve, got 1 arguments",
		"bench publish x":                     "want: leat bench publish, got 1 arguments",
		"replay a --nonsense":                 "unknown flag: --nonsense (leat replay --help has examples)",
		"inspect a --nonsense":                "unknown flag: --nonsense (leat inspect --help has examples)",
		"bench engine --size 0":               "--size 0: want more than 0",
		"bench core --subscribers 0 --serve":  "--subscribers 0: want more than 0",
		"bench latency --duration 0s --serve": "--duration 0s: want more than 0",
		"channels nonsense":                   `unknown command "nonsense" for "leat channels"`,
		"channels list --output":              "flag needs an argument: --output (leat channels list --help has examples)",
	} {
		r := leat(t, nil, strings.Fields(line)...)
		require.NotZero(t, r.code, line)
		require.Contains(t, r.err, want)
	}
}

// Aim: numbers for people. Method: examples.
func TestNumbers(t *testing.T) {
	for n, want := range map[uint64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		require.Equal(t, want, grouped(n))
	}
	for n, want := range map[float64]string{0: "0 B", 999: "999 B", 1500: "1.50 kB", 2.5e9: "2.50 GB"} {
		require.Equal(t, want, bytesText(n), fmt.Sprint(n))
	}
}

// Aim: keys come from where --key says, or not at all. Method: examples, good
// and bad.
func TestKeyField(t *testing.T) {
	for _, c := range []struct {
		path, record, key string
		ok                bool
		err               error
	}{
		{"id", `{"id":"a"}`, "a", true, nil},
		{"id", `{"id": 12.50 }`, "12.50", true, nil},
		{"a.b.c", `{"a":{"b":{"c":"x y"}}}`, "x y", true, nil},
		{"a.b", `{"a":{"b":null}}`, "", false, nil},
		{"a.b", `{"a":{}}`, "", false, errNoField},
		{"id", `{"id":"a\nb"}`, "", false, errKeyValue},
		{"id", `{"id":" a"}`, "", false, errKeyValue},
	} {
		k, err := parseKeyField(c.path)
		require.NoError(t, err)
		key, ok, err := k.of([]byte(c.record))
		require.ErrorIs(t, err, c.err, c.record)
		require.Equal(t, c.key, key, c.record)
		require.Equal(t, c.ok, ok, c.record)
	}
	_, _, err := keyField{"a"}.of([]byte("no json"))
	require.Error(t, err)
	_, err = parseKeyField("a..b")
	require.Error(t, err)
}
