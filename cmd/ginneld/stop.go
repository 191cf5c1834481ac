package main

import (
	"context"
	"log/slog"
	"runtime"
	"time"
)

// stopLimit is how long stopping may take.
const stopLimit = 10 * time.Second

// maxDump bounds the dump of goroutines, in bytes.
const maxDump = 1 << 20

// boundStop calls exit with status 1 if the daemon still runs limit after ctx ended, and
// logs what it waits for: a service manager, and whoever looks into it, are not to wait
// for ever. What is left undone is undone at the next start. The returned function says
// that the daemon has stopped.
func boundStop(ctx context.Context, limit time.Duration, logger *slog.Logger, exit func(status int)) (stopped func()) {
	watched, done := context.WithCancel(context.Background())
	context.AfterFunc(ctx, func() {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		select {
		case <-watched.Done():
			return
		case <-timer.C:
		}
		dump := make([]byte, maxDump)
		dump = dump[:runtime.Stack(dump, true)]
		logger.Error("stopping hangs; giving up", "after", limit, "goroutines", string(dump))
		exit(1)
	})
	return done
}
