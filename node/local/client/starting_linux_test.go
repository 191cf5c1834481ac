package client

import "testing"

func TestParseStat(t *testing.T) {
	const rest = " 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20 21"
	for text, want := range map[string]struct {
		pid   int
		start uint64
		ok    bool
	}{
		"42 (ginneld) S" + rest:     {42, 777, true},
		"42 (ginneld) Z" + rest:     {},
		"42 (ginnel) S" + rest:      {},
		"42 (x) (ginneld) S" + rest: {},
		"42 (ginneld) S 1 2":        {},
		"42 (ginneld":               {},
		"":                          {},
		") (":                       {},
		"x (ginneld) S" + rest:      {},
	} {
		pid, start, ok := parseStat([]byte(text))
		if ok != want.ok || ok && (pid != want.pid || start != want.start) {
			t.Errorf("%q: %d, %d, %v", text, pid, start, ok)
		}
	}
}
