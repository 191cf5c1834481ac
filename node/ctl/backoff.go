package ctl

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/internal/jitter"
)

// Limits of the pause between attempts: wire document control, section 4.3.
const (
	backoffStep = 10 * time.Millisecond
	backoffMax  = 30 * time.Second

	maxRetryAfter = time.Hour
)

// backoff spaces out attempts that fail. The zero value is ready.
type backoff struct{ failures int }

// next counts a failure and returns the pause before the next attempt.
func (b *backoff) next() time.Duration {
	b.failures++
	n := time.Duration(min(b.failures, 1000))
	pause := min(n*n*backoffStep, backoffMax)
	return jitter.Around(pause)
}

// reset forgets the failures.
func (b *backoff) reset() { b.failures = 0 }

// sleep waits for d, less when ctx ends or wake becomes readable, and reports
// whether ctx is still alive. Wake may be nil.
func sleep(ctx context.Context, d time.Duration, wake <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-timer.C:
	}
	return ctx.Err() == nil
}

// retryAfter reads a Retry-After header: seconds or a date. What cannot be used
// becomes a random pause of five to ten seconds.
func retryAfter(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	var wait time.Duration
	if seconds, err := strconv.Atoi(value); err == nil && seconds <= int(maxRetryAfter/time.Second) {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	if wait <= 0 || wait > maxRetryAfter {
		wait = 5*time.Second + jitter.Below(5*time.Second)
	}
	return wait
}
