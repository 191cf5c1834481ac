// Command ginneld is the node daemon: it connects this machine to a mesh and
// serves the local API by which the command ginnel steers it.
//
// Flags, environment and defaults are those of the wire document node, section
// 1.1, as far as this version has what they are about.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"syscall"

	"github.com/ginnel/ginnel/internal/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	code := run(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole program: it returns the exit status.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, err := parseFlags(args, getenv, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintln(stderr, "ginneld:", err)
		return 2
	case o.showVersion:
		fmt.Fprintf(stdout, "%s\n  long version: %s\n  go version: %s\n", version.Short(), version.Long(), runtime.Version())
		return 0
	}
	if o.cleanup {
		err = cleanUp(o, stderr)
	} else {
		err = serve(ctx, o, getenv, stderr)
	}
	if err != nil {
		fmt.Fprintln(stderr, "ginneld:", err)
		return 1
	}
	return 0
}
