package main

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStopIsBounded(t *testing.T) {
	for _, c := range []struct {
		name  string
		takes time.Duration // of stopping
		want  int           // exit status, -1 for none
	}{
		{"quick", stopLimit - time.Second, -1},
		{"hanging", stopLimit + time.Second, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				status := -1
				ctx, cancel := context.WithCancel(t.Context())
				stopped := boundStop(ctx, stopLimit, slog.New(slog.NewTextHandler(&log, nil)), func(code int) { status = code })
				time.Sleep(time.Hour) // a daemon that runs is left alone
				synctest.Wait()
				if status != -1 {
					t.Fatal("exit while the daemon was to run")
				}
				cancel()
				time.Sleep(c.takes)
				stopped()
				synctest.Wait()
				if status != c.want {
					t.Errorf("exit status %d, want %d", status, c.want)
				}
				dumped := strings.Contains(log.String(), "level=ERROR") && strings.Contains(log.String(), "TestStopIsBounded")
				if dumped != (c.want == 1) {
					t.Errorf("log %q", log.String())
				}
			})
		})
	}
}
