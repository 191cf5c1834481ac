package interop

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// isolated tells a test process that it is in a network of its own.
const isolated = "GINNEL_INTEROP_ISOLATED"

// TestMain runs the tests in a network namespace with one interface that leads
// nowhere, if it may: the programs under test look for gateways, port mappers
// and captive portals, none of which are these tests' business. Without root
// they run in the network that is there.
func TestMain(m *testing.M) {
	if os.Geteuid() == 0 && os.Getenv(isolated) == "" {
		os.Exit(runIsolated())
	}
	if os.Getenv(isolated) != "" {
		if err := setUpNetwork(); err != nil {
			fmt.Fprintln(os.Stderr, "set up the isolated network:", err)
			os.Exit(1)
		}
	}
	code := m.Run()
	if binDir != "" {
		os.RemoveAll(binDir)
	}
	os.Exit(code)
}

func runIsolated() int {
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1",
		"TS_NO_LOGS_NO_SUPPORT=true", "TS_DISABLE_PORTMAPPER=true")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() > 0:
		return exit.ExitCode()
	default:
		fmt.Fprintln(os.Stderr, "run the tests in a network namespace:", err)
		return 1
	}
}

func setUpNetwork() error {
	// Addresses are there at once: nothing changes on the network while tests run,
	// which would have the nodes in this process open their sockets anew.
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/accept_dad", []byte("0"), 0); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", "eth0", "type", "veth", "peer", "name", "nowhere"},
		{"addr", "add", "10.88.0.1/24", "dev", "eth0"},
		{"link", "set", "nowhere", "up"},
		{"link", "set", "eth0", "up"},
		{"route", "add", "default", "via", "10.88.0.254"},
	} {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %v: %w: %s", args, err, out)
		}
	}
	return nil
}

// changeNetwork gives the machine another address until the test ends. It does so
// only in a network of the tests' own, and reports whether it did.
func changeNetwork(t *testing.T) bool {
	t.Helper()
	if os.Getenv(isolated) == "" {
		return false
	}
	address := func(verb string) {
		if out, err := exec.Command("ip", "addr", verb, "10.89.0.1/24", "dev", "eth0").CombinedOutput(); err != nil {
			t.Errorf("ip addr %s: %v: %s", verb, err, out)
		}
	}
	address("add")
	t.Cleanup(func() { address("del") })
	return true
}

// binDir holds our built programs, once a test needed them.
var binDir string

// program returns the path of one of our programs, built from this source.
func program(t *testing.T, name string) string {
	t.Helper()
	if binDir == "" {
		dir, err := os.MkdirTemp("", "ginnel-interop-")
		if err != nil {
			t.Fatal(err)
		}
		binDir = dir
	}
	path := filepath.Join(binDir, name)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	cmd := exec.Command("go", "build", "-o", path, "./cmd/"+name)
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return path
}
