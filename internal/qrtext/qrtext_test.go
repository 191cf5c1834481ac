package qrtext

import (
	"bytes"
	"encoding/base64"
	"image/png"
	"strings"
	"testing"
)

// modules reads a drawing back: light is true.
func modules(t *testing.T, f Format, text string) [][]bool {
	t.Helper()
	var out [][]bool
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		var upper, lower []bool
		for i, r := range []rune(line) {
			if f != Small && i%2 == 1 {
				continue
			}
			upper = append(upper, r == '█' || r == '▀' || r == '#')
			lower = append(lower, r == '█' || r == '▄')
		}
		out = append(out, upper)
		if f == Small {
			out = append(out, lower)
		}
	}
	return out
}

func TestFormatsDrawTheSameCode(t *testing.T) {
	c, err := Encode("https://example.com/login/0123456789abcdef")
	if err != nil {
		t.Fatal(err)
	}
	size := c.code.Size + 2*quiet
	for _, f := range []Format{Small, Large, ASCII} {
		grid := modules(t, f, c.Text(f, false))
		if len(grid) < size || len(grid[0]) != size {
			t.Fatalf("%s: %d lines of %d modules, want %d", f, len(grid), len(grid[0]), size)
		}
		for y := range size {
			for x := range size {
				if grid[y][x] == c.code.Black(x-quiet, y-quiet) {
					t.Fatalf("%s: module %d,%d is wrong", f, x, y)
				}
			}
		}
	}
	for line := range strings.Lines(c.Text(Small, true)) {
		if !strings.HasPrefix(line, "\x1b[97;40m") || !strings.HasSuffix(line, "\x1b[0m\n") {
			t.Fatalf("line without colours: %q", line)
		}
	}
}

func TestDataURL(t *testing.T) {
	c, err := Encode("x")
	if err != nil {
		t.Fatal(err)
	}
	data, ok := strings.CutPrefix(c.DataURL(), "data:image/png;base64,")
	raw, err := base64.StdEncoding.DecodeString(data)
	if !ok || err != nil {
		t.Fatalf("not a data URL: %v", err)
	}
	if _, err := png.Decode(bytes.NewReader(raw)); err != nil {
		t.Error(err)
	}
}

func TestTooLong(t *testing.T) {
	if _, err := Encode(strings.Repeat("x", 10000)); err == nil {
		t.Error("a text of 10000 bytes was encoded")
	}
}
