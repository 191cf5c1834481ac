// Command ginnel-relay is a relay on its own: it passes packets between nodes that
// have no direct path, and tells them their addresses by STUN. A coordination
// server has one built in; this is for relays elsewhere, and for regions of several.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/ginnel/ginnel/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "ginnel-relay:", err)
		fmt.Fprintln(os.Stderr, "Run ginnel-relay -help for the flags.")
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "ginnel-relay:", err)
		os.Exit(1)
	}
}

// run is the program: it serves until ctx ends.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg, err := parseFlags(args, stderr)
	if err != nil {
		return err
	}
	if cfg.showVersion {
		fmt.Fprintln(stdout, version.Get().Short)
		return nil
	}
	s, err := newService(ctx, cfg, stderr)
	if err != nil {
		return err
	}
	defer s.close()
	if err := s.printRegion(stdout); err != nil {
		return err
	}
	return s.serve(ctx)
}
