// Package testns runs tests that need root in a network namespace of their own,
// so that they can change addresses, routes and rules without touching the
// machine, and leave nothing behind however they end. It is for tests only.
package testns

import (
	"os"
	"strings"
	"testing"
)

const marker = "GINNEL_TEST_NETNS"

// unavailable ends a test for which the machine lacks something: as a failure
// in continuous integration, where the machine must have it, else as a skip.
func unavailable(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// RequireRoot ends the test unless it runs as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		unavailable(t, "needs root")
	}
}

// passed reports whether the verbose output of a test run says that the test
// itself, not only its process, ended well.
func passed(output, name string) bool {
	return strings.Contains(output, "--- PASS: "+name+" ")
}
