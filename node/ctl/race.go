package ctl

import (
	"context"
	"time"

	"github.com/ginnel/ginnel/internal/noiseconn"
)

// try is one of several attempts to connect.
type try struct {
	delay time.Duration // after the start, or at once when all before it have failed
	limit time.Duration // for the attempt, zero for none of its own
	run   func(ctx context.Context) (*noiseconn.Conn, error)
}

// race runs tries, which are in the order of their delays, and returns the first
// connection, or the errors of all of them in order.
func race(ctx context.Context, tries []try) (*noiseconn.Conn, []error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type result struct {
		index int
		conn  *noiseconn.Conn
		err   error
	}
	results := make(chan result, len(tries))
	start := func(i int) {
		go func() {
			ctx := ctx
			if limit := tries[i].limit; limit > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, limit)
				defer cancel()
			}
			conn, err := tries[i].run(ctx)
			results <- result{i, conn, err}
		}()
	}
	started, finished := 0, 0
	errs := make([]error, len(tries))
	begin := time.Now()
	for finished < len(tries) {
		var timer <-chan time.Time
		if started < len(tries) {
			wait := tries[started].delay - time.Since(begin)
			if finished == started || wait <= 0 {
				start(started)
				started++
				continue
			}
			timer = time.After(wait)
		}
		select {
		case <-timer:
		case r := <-results:
			finished++
			if r.err == nil {
				go func() { // close what the losers may still bring
					for range started - finished {
						if late := <-results; late.err == nil {
							late.conn.Close()
						}
					}
				}()
				return r.conn, nil
			}
			errs[r.index] = r.err
		}
	}
	return nil, errs
}
