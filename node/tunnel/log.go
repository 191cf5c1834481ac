package tunnel

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"golang.zx2c4.com/wireguard/device"
)

// wgLogger passes WireGuard's messages on: its chatter and its failures to send, which
// the path layer deals with, for debugging only, other errors as warnings.
func wgLogger(log *slog.Logger) *device.Logger {
	write := func(level slog.Level, format string, args []any) {
		if log.Enabled(context.Background(), level) {
			log.Log(context.Background(), level, "wireguard: "+fmt.Sprintf(format, args...))
		}
	}
	return &device.Logger{
		Verbosef: func(format string, args ...any) { write(slog.LevelDebug, format, args) },
		Errorf: func(format string, args ...any) {
			level := slog.LevelWarn
			if strings.Contains(format, "Failed to send") {
				level = slog.LevelDebug
			}
			write(level, format, args)
		},
	}
}
