//go:build linux

// Command ginnel-demo shows a whole mesh on one machine: a coordination server
// with its embedded relay, and two nodes that find each other. It joins them,
// pings across, fetches a web page over the mesh, says how to look around, and
// stays until Ctrl-C. `make demo` builds the programs and runs it.
//
// It is a show and a smoke test, not a way to run Ginnel: all it makes lives
// in one temporary folder and ends with it, also when it is killed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// setupTimeout bounds everything up to the last check.
const setupTimeout = time.Minute

func main() {
	bin := flag.String("bin", "bin", "folder of the built programs")
	tun := flag.Bool("tun", false, "use real TUN devices in network namespaces (root)")
	janitor := flag.String("janitor", "", "internal: wait for standard input to close, then remove this folder")
	flag.Parse()
	if *janitor != "" {
		runJanitor(*janitor)
	}
	once := os.Getenv("DEMO_ONCE") != ""
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, *bin, *tun, once)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "\ndemo failed:", err)
		os.Exit(1)
	}
}

// run makes the mesh, checks it, and waits for ctx to end.
func run(ctx context.Context, bin string, tun, once bool) (err error) {
	d, err := newDemo(bin, tun)
	if err != nil {
		return err
	}
	defer d.close()
	setup, cancel := context.WithTimeoutCause(ctx, setupTimeout, fmt.Errorf("not ready after %v", setupTimeout))
	defer cancel()
	fmt.Println("Ginnel demo: a server with an embedded database and relay, and two nodes.")
	fmt.Println()
	if err := d.build(setup); err != nil {
		if ctx.Err() != nil {
			d.close()
			fmt.Println("\nInterrupted; all is stopped and removed.")
			return nil
		}
		if setup.Err() != nil {
			err = errors.Join(err, context.Cause(setup))
		}
		d.printLogs(os.Stderr)
		return err
	}
	d.printHints()
	if once {
		return nil
	}
	fmt.Println("\nCtrl-C ends it all.")
	select {
	case <-ctx.Done():
		d.close()
		fmt.Println("\nStopped; nothing is left behind.")
		return nil
	case p := <-d.died:
		d.printLogs(os.Stderr)
		return fmt.Errorf("%s ended by itself: %v", p.name, p.ProcessState)
	}
}

// programs checks that all programs are there and returns their folder.
func programs(bin string) (string, error) {
	bin, err := filepath.Abs(bin)
	if err != nil {
		return "", err
	}
	for _, name := range []string{"ginnel", "ginneld", "ginnel-server"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return "", fmt.Errorf("program %s is not built (%w); run `make build`", name, err)
		}
	}
	return bin, nil
}
