package report

import (
	"fmt"
	"slices"
	"time"
)

// A Report is everything that a comparison found out.
type Report struct {
	Name     string            `json:"name"`
	Date     time.Time         `json:"date"`
	Took     string            `json:"took"`
	Machine  Machine           `json:"machine"`
	Versions map[string]string `json:"versions"`
	Settings []Setting         `json:"settings"`
	Rounds   int               `json:"rounds"`
	Cases    []*Case           `json:"cases"`
	Failures []string          `json:"failures,omitempty"`
}

// A Setting is a parameter of the runs, in words.
type Setting struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// A Case is one kind of work, done by several participants.
type Case struct {
	ID      string    `json:"id"`
	Title   string    `json:"title"`
	Series  []*Series `json:"series"`
	Targets []Target  `json:"-"`
	// Verdicts are made by Judge.
	Verdicts []Verdict `json:"verdicts,omitempty"`
}

// A Series is one figure of one participant, a value a round.
type Series struct {
	Participant string    `json:"participant"`
	Metric      string    `json:"metric"`
	Unit        string    `json:"unit"`
	Values      []float64 `json:"values"`
	Median      float64   `json:"median"`
	Min         float64   `json:"min"`
	Max         float64   `json:"max"`
}

// A Target is what the subject of the comparison is to reach: its metric, as a
// multiple of a figure of another participant.
type Target struct {
	Subject       string
	Metric        string
	Against       string
	AgainstMetric string // "" means Metric
	Ratio         float64
	AtMost        bool // the ratio is an upper bound
}

// A Verdict is a Target with figures. Without a figure of the subject it says
// what is to be reached.
type Verdict struct {
	Text        string    `json:"text"`
	Bound       float64   `json:"bound"` // the figure to reach
	Unit        string    `json:"unit"`
	Got         *float64  `json:"got,omitempty"`
	Ratio       *float64  `json:"ratio,omitempty"` // of medians
	ByRound     []float64 `json:"ratio_by_round,omitempty"`
	Met         *bool     `json:"met,omitempty"`
	RatioWanted float64   `json:"ratio_wanted"`
}

// Add notes one value of one round.
func (c *Case) Add(participant, metric, unit string, value float64) {
	s := c.find(participant, metric)
	if s == nil {
		s = &Series{Participant: participant, Metric: metric, Unit: unit}
		c.Series = append(c.Series, s)
	}
	s.Values = append(s.Values, value)
	s.Median, s.Min, s.Max = Median(s.Values), slices.Min(s.Values), slices.Max(s.Values)
}

func (c *Case) find(participant, metric string) *Series {
	for _, s := range c.Series {
		if s.Participant == participant && s.Metric == metric {
			return s
		}
	}
	return nil
}

// Judge makes the verdicts out of targets and series. A target against a
// participant that was not measured has none.
func (c *Case) Judge() {
	c.Verdicts = nil
	for _, t := range c.Targets {
		if v, ok := c.judge(t); ok {
			c.Verdicts = append(c.Verdicts, v)
		}
	}
}

func (c *Case) judge(t Target) (Verdict, bool) {
	other := t.AgainstMetric
	if other == "" {
		other = t.Metric
	}
	base := c.find(t.Against, other)
	if base == nil {
		return Verdict{}, false
	}
	sign := "≥"
	if t.AtMost {
		sign = "≤"
	}
	v := Verdict{
		Text:  fmt.Sprintf("%s %s %s %g × %s %s", t.Subject, t.Metric, sign, t.Ratio, t.Against, other),
		Bound: base.Median * t.Ratio, Unit: base.Unit, RatioWanted: t.Ratio,
	}
	got := c.find(t.Subject, t.Metric)
	if got == nil {
		return v, true
	}
	ratio := got.Median / base.Median
	met := ratio >= t.Ratio
	if t.AtMost {
		met = ratio <= t.Ratio
	}
	v.Got, v.Ratio, v.Met = &got.Median, &ratio, &met
	for i := range min(len(got.Values), len(base.Values)) {
		v.ByRound = append(v.ByRound, got.Values[i]/base.Values[i])
	}
	return v, true
}

// Median of values; of an even number, the mean of the middle two. 0 of none.
func Median(values []float64) float64 {
	s := slices.Sorted(slices.Values(values))
	switch n := len(s); {
	case n == 0:
		return 0
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}
