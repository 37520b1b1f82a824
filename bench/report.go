package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
)

// Metric is one figure.
type Metric struct {
	Name  string  `json:"name"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
}

// Parameter is one setting that a figure depends on.
type Parameter struct {
	Name  string
	Value any
}

// Report is what a workload measured.
type Report struct {
	Workload   string
	Parameters []Parameter
	Metrics    []Metric
}

func (r *Report) add(name, unit string, value float64) {
	r.Metrics = append(r.Metrics, Metric{name, unit, value})
}

// Metric looks a figure up by name.
func (r *Report) Metric(name string) (Metric, bool) {
	for _, m := range r.Metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

// WriteJSON writes the report as one line.
func (r *Report) WriteJSON(w io.Writer) error {
	parameters := make(map[string]any, len(r.Parameters))
	for _, p := range r.Parameters {
		parameters[p.Name] = p.Value
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(struct {
		Workload   string         `json:"workload"`
		Parameters map[string]any `json:"parameters"`
		Metrics    []Metric       `json:"metrics"`
	}{r.Workload, parameters, r.Metrics})
}

// WriteCSV writes a line for each figure, under a line of names.
func (r *Report) WriteCSV(w io.Writer) error {
	c := csv.NewWriter(w)
	rows := [][]string{{"workload", "name", "unit", "value"}}
	for _, m := range r.Metrics {
		rows = append(rows, []string{r.Workload, m.Name, m.Unit, strconv.FormatFloat(m.Value, 'f', -1, 64)})
	}
	return c.WriteAll(rows)
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s", r.Workload)
	for i, p := range r.Parameters {
		sep := ", "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(w, "%s%s %v", sep, p.Name, p.Value)
	}
	fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, m := range r.Metrics {
		fmt.Fprintf(t, "  %s\t%s %s\n", m.Name, significant(m.Value), m.Unit)
	}
	return t.Flush()
}

// significant writes a number with at most three digits behind the point, fewer
// the larger it is.
func significant(v float64) string {
	digits := 0
	switch {
	case v < 10:
		digits = 3
	case v < 100:
		digits = 2
	case v < 1000:
		digits = 1
	}
	s := strconv.FormatFloat(v, 'f', digits, 64)
	end := len(s)
	if digits > 0 {
		end -= digits + 1
	}
	for i := end - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
