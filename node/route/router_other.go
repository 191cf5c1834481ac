//go:build !linux

package route

import (
	"errors"
	"log/slog"
)

var errUnsupported = errors.New("routing: not available on this system; use userspace mode (--tun=userspace-networking)")

// Options are the surroundings of a Router.
type Options struct {
	JournalPath string
	Logger      *slog.Logger
}

// Router cannot be made on this system.
type Router struct{}

// New fails: there is no Router for this system.
func New(Options) (*Router, error) { return nil, errUnsupported }

// Apply fails.
func (*Router) Apply(Config) error { return errUnsupported }

// Close does nothing.
func (*Router) Close() error { return nil }

// Cleanup does nothing, since nothing was changed.
func Cleanup(journalPath string, logger *slog.Logger) error { return nil }
