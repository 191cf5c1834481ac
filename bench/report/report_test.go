package report

import (
	"strings"
	"testing"
)

func TestQuantile(t *testing.T) {
	values := []int{9, 1, 8, 2, 7, 3, 6, 4, 5, 10}
	for part, want := range map[float64]int{0: 1, 0.5: 6, 0.99: 10, 1: 10} {
		if got := Quantile(values, part); got != want {
			t.Errorf("Quantile(%v) = %d, want %d", part, got, want)
		}
	}
	if values[0] != 9 {
		t.Error("the values were changed")
	}
}

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{[]float64{7}, 7}, {[]float64{3, 1}, 2}, {[]float64{9, 1, 4}, 4}, {[]float64{4, 1, 2, 100}, 3}} {
		if got := Median(tt.values); got != tt.want {
			t.Errorf("Median(%v) = %v, want %v", tt.values, got, tt.want)
		}
	}
}

func TestBars(t *testing.T) {
	bars := []Bar{AtMost("cost", 1.1, 1.15), AtLeast("speed", 5, 5), AtMost("size", 31, 30), AtLeast("gain", 4.9, 5)}
	for i, met := range []bool{true, true, false, false} {
		if bars[i].Met != met || strings.Contains(bars[i].String(), "NOT MET") == met {
			t.Errorf("%v: met should be %v", bars[i], met)
		}
	}
	if err := Check(bars[:2]); err != nil {
		t.Error(err)
	}
	err := Check(bars)
	if err == nil || !strings.Contains(err.Error(), "size: 31 (bar <= 30)") || !strings.Contains(err.Error(), "gain: 4.9 (bar >= 5)") {
		t.Errorf("Check says %v", err)
	}
}

func TestTable(t *testing.T) {
	var b strings.Builder
	Table(&b, [][]string{{"name", "Gbit/s"}, {"a", "1.25"}})
	if want := "  name  Gbit/s\n     a    1.25\n"; b.String() != want {
		t.Errorf("got\n%q, want\n%q", b.String(), want)
	}
}
