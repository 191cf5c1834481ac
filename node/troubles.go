package node

import (
	"strings"
	"time"
)

// Limits of troubles.
const (
	troubleReminder = time.Hour // between two entries about one trouble
	maxTroubles     = 16
)

// troubles decides which errors that come again and again are worth an entry in the log.
// The zero value is ready.
type troubles struct {
	told map[string]time.Time // by text
}

// news reports whether to log err: the first time, and rarely after that.
func (t *troubles) news(err error, now time.Time) bool {
	text := withoutNumbers(err.Error())
	if at, ok := t.told[text]; ok && now.Sub(at) < troubleReminder {
		return false
	}
	if t.told == nil || len(t.told) >= maxTroubles {
		t.told = map[string]time.Time{}
	}
	t.told[text] = now
	return true
}

// reset forgets all: the trouble is over.
func (t *troubles) reset() { clear(t.told) }

// withoutNumbers removes what differs between two errors of one kind: ports, times.
func withoutNumbers(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
}
