package report

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Write puts the report into dir as DATE-NAME.json and DATE-NAME.md and
// returns the two paths. Files of that name are overwritten.
func (r *Report) Write(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder for results: %w", err)
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the report: %w", err)
	}
	base := filepath.Join(dir, r.Date.Format("2006-01-02")+"-"+r.Name)
	paths := []string{base + ".json", base + ".md"}
	for i, content := range [][]byte{append(b, '\n'), []byte(r.Markdown())} {
		if err := os.WriteFile(paths[i], content, 0o644); err != nil {
			return nil, fmt.Errorf("write the report: %w", err)
		}
	}
	return paths, nil
}

// Markdown is the report for people.
func (r *Report) Markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s, %s\n\n", r.Name, r.Date.Format("2006-01-02 15:04 MST"))
	fmt.Fprintf(&b, "%d rounds in %s, alternating; medians, with the smallest and the largest value. Every run had a fresh server process and data folder.\n\n", r.Rounds, r.Took)
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "**FAILED:** %s\n\n", f)
	}
	r.writeVerdicts(&b)
	b.WriteString("## Machine\n\n| | |\n|---|---|\n")
	for _, s := range r.Machine.rows() {
		fmt.Fprintf(&b, "| %s | %s |\n", s.Name, s.Value)
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "| %s | %s |\n", name, r.Versions[name])
	}
	b.WriteString("\n## Settings\n\n| | |\n|---|---|\n")
	for _, s := range r.Settings {
		fmt.Fprintf(&b, "| %s | %s |\n", s.Name, s.Value)
	}
	for _, c := range r.Cases {
		writeCase(&b, c)
	}
	return b.String()
}

func (r *Report) writeVerdicts(b *strings.Builder) {
	b.WriteString("## Targets\n\n| case | target | to reach | measured | ratio (by round) | |\n|---|---|---|---|---|---|\n")
	for _, c := range r.Cases {
		for _, v := range c.Verdicts {
			got, ratio, met := "not measured", "", ""
			if v.Got != nil {
				got = Figure(*v.Got) + " " + v.Unit
				ratio = fmt.Sprintf("%.2f (%.2f to %.2f)", *v.Ratio, slices.Min(v.ByRound), slices.Max(v.ByRound))
				met = "missed"
				if *v.Met {
					met = "met"
				}
			}
			fmt.Fprintf(b, "| %s: %s | %s | %s %s | %s | %s | %s |\n", c.ID, c.Title, v.Text, Figure(v.Bound), v.Unit, got, ratio, met)
		}
	}
	b.WriteString("\n")
}

func writeCase(b *strings.Builder, c *Case) {
	fmt.Fprintf(b, "\n## %s: %s\n\n| participant | figure | median | min | max | unit |\n|---|---|---|---|---|---|\n", c.ID, c.Title)
	for _, s := range c.Series {
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n",
			s.Participant, s.Metric, Figure(s.Median), Figure(s.Min), Figure(s.Max), s.Unit)
	}
}

// Figure is a number for people: three digits or more, thousands apart.
func Figure(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return thousands(strconv.FormatInt(int64(math.Round(v)), 10))
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	default:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
}

func thousands(digits string) string {
	sign := ""
	if strings.HasPrefix(digits, "-") {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}
