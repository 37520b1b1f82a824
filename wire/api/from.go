package api

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"leat.dev/leat/partition"
	"leat.dev/leat/segment/record"
)

// From says where a replay begins: an offset (a number, or digits in a string),
// "first", "last", "new", a time (RFC 3339, or a date), or a duration back from
// now ("-1h"). The zero value is "first".
type From struct{ text string }

// ParseFrom checks the text and returns the place it names.
func ParseFrom(text string) (From, error) {
	f := From{text: text}
	_, err := f.resolve(time.Time{}, nil) // only the text counts
	return f, err
}

// String is the text again.
func (f From) String() string {
	if f.text == "" {
		return "first"
	}
	return f.text
}

// MarshalJSON gives the text as a string.
func (f From) MarshalJSON() ([]byte, error) { return json.Marshal(f.String()) }

// UnmarshalJSON takes a string or a number.
func (f *From) UnmarshalJSON(b []byte) error {
	var text string
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && b[0] == '"' {
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
	} else {
		text = string(b)
	}
	parsed, err := ParseFrom(text)
	*f = parsed
	return err
}

// resolve returns the first offset to deliver. Without a channel it only checks
// the text.
func (f From) resolve(now time.Time, c *partition.Channel) (record.Offset, error) {
	text := strings.TrimSpace(f.text)
	switch strings.ToLower(text) {
	case "", "first":
		if c == nil {
			return 1, nil
		}
		return c.First(), nil
	case "last":
		if c == nil {
			return 1, nil
		}
		return max(c.Last(), c.First()), nil
	case "new":
		if c == nil {
			return 1, nil
		}
		return c.Last() + 1, nil
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		if c == nil {
			return record.Offset(n), nil
		}
		return max(record.Offset(n), c.First()), nil
	}
	at, err := parseTime(text, now)
	if err != nil || c == nil {
		return 1, err
	}
	switch { // nanoseconds since 1970 go from 1678 to 2262
	case at.Before(time.Unix(0, math.MinInt64)):
		return c.First(), nil
	case at.After(time.Unix(0, math.MaxInt64)):
		return c.Last() + 1, nil
	}
	return c.OffsetAt(at.UnixNano())
}

func parseTime(text string, now time.Time) (time.Time, error) {
	if back, ok := strings.CutPrefix(text, "-"); ok {
		if d, err := time.ParseDuration(back); err == nil && d >= 0 {
			return now.Add(-d), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: from %q: want first, last, new, an offset, a time as 2006-01-02T15:04:05Z, or -1h",
		errBadRequest, text)
}
