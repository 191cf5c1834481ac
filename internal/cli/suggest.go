package cli

import "strings"

// Suggest returns the candidate that the user most probably meant by word, or the
// empty string when none is near.
func Suggest(word string, candidates []string) string {
	if len(word) < 2 {
		return "" // anything would be near
	}
	word = strings.ToLower(word)
	best, bestDistance := "", max(1, len(word)/3)+1
	for _, c := range candidates {
		lower := strings.ToLower(c)
		d := distance(word, lower)
		if len(word) >= 3 && strings.HasPrefix(lower, word) {
			d = 0 // nothing typed is wrong
		}
		if d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance returns how many letters must be put in, left out, replaced or swapped
// with their neighbour to make b of a (the optimal string alignment distance).
func distance(a, b string) int {
	from, to := []rune(a), []rune(b)
	before, prev, row := make([]int, len(to)+1), make([]int, len(to)+1), make([]int, len(to)+1)
	for j := range row {
		prev[j] = j
	}
	for i := 1; i <= len(from); i++ {
		row[0] = i
		for j := 1; j <= len(to); j++ {
			cost := 1
			if from[i-1] == to[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && from[i-1] == to[j-2] && from[i-2] == to[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev, row = prev, row, before
	}
	return prev[len(to)]
}
