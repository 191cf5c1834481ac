package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

// printJSON prints v with two spaces of indent.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.stdout)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("print json: %w", err)
	}
	return nil
}

// print prints formatted text to stdout.
func (a *app) print(format string, args ...any) error {
	_, err := fmt.Fprintf(a.stdout, format, args...)
	return err
}

// rest waits between two rounds of a command, at most until the context's end, whose
// error it returns.
func (a *app) rest(ctx context.Context, d time.Duration) error {
	if a.pause != nil {
		return a.pause(ctx, d)
	}
	return sleep(ctx, d)
}

// sleep waits, at most until the context's end, whose error it returns.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
