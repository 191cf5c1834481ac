// Package report is what the benchmarks have in common when they present their
// figures: medians, tables, JSON, and whether a bar was met. It measures
// nothing.
package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Median returns the middle value, or the mean of the two in the middle. It panics
// without values.
func Median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Quantile returns the value below which the given part of the values, such as
// 0.99, lies. It panics without values.
func Quantile[T cmp.Ordered](values []T, part float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(part*float64(len(sorted))), len(sorted)-1)]
}

// A Bar is a figure with the limit that it is held against.
type Bar struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Limit float64 `json:"limit"`
	// AtLeast says that the limit is the least good value; otherwise it is
	// the greatest.
	AtLeast bool `json:"at_least,omitempty"`
	Met     bool `json:"met"`
}

// AtMost returns a bar that is met by values up to the limit.
func AtMost(name string, value, limit float64) Bar {
	return Bar{Name: name, Value: value, Limit: limit, Met: value <= limit}
}

// AtLeast returns a bar that is met by values from the limit on.
func AtLeast(name string, value, limit float64) Bar {
	return Bar{Name: name, Value: value, Limit: limit, AtLeast: true, Met: value >= limit}
}

// String says how the value stands to the limit.
func (b Bar) String() string {
	sign, verdict := "<=", "met"
	if b.AtLeast {
		sign = ">="
	}
	if !b.Met {
		verdict = "NOT MET"
	}
	return fmt.Sprintf("%s: %.4g (bar %s %.4g): %s", b.Name, b.Value, sign, b.Limit, verdict)
}

// Check returns an error that names the bars that were not met.
func Check(bars []Bar) error {
	var missed []string
	for _, b := range bars {
		if !b.Met {
			missed = append(missed, b.String())
		}
	}
	if len(missed) == 0 {
		return nil
	}
	return fmt.Errorf("not met: %s", strings.Join(missed, "; "))
}

// Table prints rows in aligned columns, the first row being the head.
func Table(w io.Writer, rows [][]string) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range rows {
		fmt.Fprintln(tw, strings.Join(row, "\t")+"\t")
	}
	tw.Flush()
}

// JSON prints v in one line.
func JSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }

// Millis returns a duration in milliseconds, for JSON.
func Millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
