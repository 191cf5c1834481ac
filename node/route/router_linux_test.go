package route

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/testns"
)

const testDevice = "gtun0"

func prefixes(s ...string) (out []netip.Prefix) {
	for _, x := range s {
		out = append(out, netip.MustParsePrefix(x))
	}
	return out
}

func fullConfig() Config {
	return Config{
		Device: testDevice, MTU: 1280,
		Addrs:       prefixes("100.64.0.9/32", "fd7a:115c:a1e0::9/128"),
		Routes:      prefixes("100.64.0.1/32", "100.100.100.100/32", "10.0.0.0/8", "fd7a:115c:a1e0::1/128", "2001:db8::/32", "0.0.0.0/0", "::/0"),
		LocalRoutes: prefixes("10.20.0.0/16", "2001:db8:1::/48"),
	}
}

// noise is what the kernel reports about queues and carriers in its own time.
var noise = regexp.MustCompile(` qdisc \S+| state \S+|NO-CARRIER,| linkdown`)

// dump describes all that the tests watch.
func dump(t testing.TB) string {
	t.Helper()
	var b strings.Builder
	for _, args := range []string{
		"-o link show", "-o addr show", "rule show", "-6 rule show",
		"route show table all", "-6 route show table all",
	} {
		fmt.Fprintf(&b, "# ip %s\n", args)
		out := testns.IP(t, strings.Fields(args)...)
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if strings.Contains(args, "route") {
			slices.Sort(lines) // the order means nothing, and changes
		}
		for _, l := range lines {
			// The first "up" gives an interface a queue for good, and the
			// first IPv6 address a multicast route, as long as it is up.
			l = noise.ReplaceAllString(strings.TrimSpace(l), "")
			if !strings.HasPrefix(l, "multicast ff00::/8 dev "+testDevice) {
				fmt.Fprintln(&b, l)
			}
		}
	}
	return b.String()
}

// setup makes an interface that outlives its users, and things of others that
// must stay.
func setup(t testing.TB) (before string) {
	testns.IP(t, "tuntap", "add", "dev", testDevice, "mode", "tun")
	testns.IP(t, "link", "add", "other0", "type", "veth", "peer", "name", "other1")
	testns.IP(t, "link", "set", "other0", "addrgenmode", "none")
	testns.IP(t, "link", "set", "other0", "up")
	testns.IP(t, "addr", "add", "192.0.2.1/24", "dev", "other0")
	testns.IP(t, "route", "add", "throw", "172.16.0.0/12", "table", "52")
	testns.IP(t, "rule", "add", "pref", "5205", "from", "192.0.2.7", "table", "main")
	testns.IP(t, "rule", "add", "pref", "5210", "from", "192.0.2.8", "table", "main")
	return dump(t)
}

func expectDump(t testing.TB, when, want string) {
	t.Helper()
	if got := dump(t); got != want {
		t.Errorf("%s the state differs\n--- want\n%s\n--- got\n%s", when, want, got)
	}
}

func TestApplyAndClose(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	before := setup(t)
	journal := filepath.Join(t.TempDir(), "journal")
	r, err := New(Options{JournalPath: journal})
	if err != nil {
		t.Fatal(err)
	}
	expectDump(t, "before Apply", before)
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	applied := dump(t)
	for _, want := range []string{
		"mtu 1280", "inet 100.64.0.9/32", "inet6 fd7a:115c:a1e0::9/128",
		"5210:	from all fwmark 0x80000/0xff0000 lookup main",
		"5230:	from all fwmark 0x80000/0xff0000 lookup default",
		"5250:	from all fwmark 0x80000/0xff0000 unreachable",
		"5270:	from all lookup 52",
		"throw 10.20.0.0/16 table 52", "10.0.0.0/8 dev gtun0 table 52", "default dev gtun0 table 52",
		"throw 2001:db8:1::/48", "2001:db8::/32 dev gtun0 table 52",
	} {
		if !strings.Contains(applied, want) {
			t.Errorf("%q is missing in\n%s", want, applied)
		}
	}
	if n := strings.Count(applied, "5270:"); n != 2 {
		t.Errorf("%d rules 5270, want one a family", n)
	}
	// The kernel's own verdicts: throw falls through to the main table.
	if out := testns.IP(t, "route", "get", "10.1.1.1"); !strings.Contains(out, "dev gtun0") {
		t.Errorf("a mesh route is not used: %s", out)
	}
	testns.IP(t, "route", "add", "10.20.0.0/16", "dev", "other0")
	if out := testns.IP(t, "route", "get", "10.20.1.1"); !strings.Contains(out, "dev other0") {
		t.Errorf("a local route does not win: %s", out)
	}
	if out := testns.IP(t, "route", "get", "10.20.1.1", "mark", "0x80000"); !strings.Contains(out, "dev other0") {
		t.Errorf("marked packets: %s", out)
	}
	if out, err := exec.Command("ip", "route", "get", "8.8.8.8", "mark", "0x80000").CombinedOutput(); err == nil {
		t.Errorf("marked packets enter the tunnel: %s", out)
	}
	testns.IP(t, "route", "del", "10.20.0.0/16", "dev", "other0")

	size := func() int64 {
		info, err := os.Stat(journal)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	was := size()
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after the second Apply", applied)
	if size() != was {
		t.Error("an Apply that changes nothing wrote to the journal")
	}
	smaller := fullConfig()
	smaller.Routes, smaller.LocalRoutes, smaller.Addrs = prefixes("100.64.0.1/32", "100.64.0.2/32"), nil, prefixes("100.64.0.10/32")
	if err := r.Apply(smaller); err != nil {
		t.Fatal(err)
	}
	now := dump(t)
	for _, gone := range []string{"10.0.0.0/8", "100.64.0.9", "default dev gtun0", "throw 10.20", "fd7a:115c:a1e0::9", "2001:db8"} {
		if strings.Contains(now, gone) {
			t.Errorf("%q is still there\n%s", gone, now)
		}
	}
	if !strings.Contains(now, "100.64.0.2 dev gtun0 table 52") || !strings.Contains(now, "inet 100.64.0.10/32") {
		t.Errorf("new state is incomplete\n%s", now)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after Close", before)
	if _, err := os.Stat(journal); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("journal after Close: %v", err)
	}
	if err := r.Apply(fullConfig()); err == nil {
		t.Error("Apply after Close succeeded")
	}
}

func TestForeignStateStays(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	setup(t)
	testns.IP(t, "rule", "add", "pref", "5270", "table", "52")
	testns.IP(t, "route", "add", "throw", "10.20.0.0/16", "table", "52")
	testns.IP(t, "link", "set", testDevice, "up", "mtu", "1400")
	testns.IP(t, "route", "add", "10.0.0.0/8", "dev", "other0", "table", "52")
	before := dump(t)
	r, err := New(Options{JournalPath: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(dump(t), "10.0.0.0/8 dev other0 table 52") {
		t.Error("a foreign route was replaced")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after Close", before)
}

func TestNoSuchDevice(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	r, err := New(Options{JournalPath: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	before := dump(t)
	if err := r.Apply(Config{Device: "missing0"}); !errors.Is(err, syscall.ENODEV) || !strings.Contains(err.Error(), "missing0") {
		t.Errorf("missing interface: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after Close", before)
}

func TestWithoutIPv6(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	setup(t)
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/"+testDevice+"/disable_ipv6", []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	before := dump(t)
	r, err := New(Options{JournalPath: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	if now := dump(t); strings.Contains(now, "fd7a:") || strings.Count(now, "5270:") != 1 {
		t.Errorf("IPv6 state on an interface without IPv6\n%s", now)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after Close", before)
}

// eventually waits until the state is as wanted.
func eventually(t testing.TB, when, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); dump(t) != want; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			expectDump(t, when, want)
			t.FailNow()
		}
	}
}

func TestRemovedStateIsRestored(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	before := setup(t)
	r, err := New(Options{JournalPath: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	applied := dump(t)
	for _, cmd := range []string{
		"rule del pref 5270", "-6 rule del pref 5210", "route del 10.0.0.0/8 table 52",
		"addr del 100.64.0.9/32 dev gtun0", "link set gtun0 down",
	} {
		testns.IP(t, strings.Fields(cmd)...)
		eventually(t, "after ip "+cmd, applied)
	}
	// What someone removes that we no longer want stays away.
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after Close", before)
}

func TestStaleAddressesAreRemoved(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	setup(t)
	testns.IP(t, "addr", "add", "100.64.0.77/32", "dev", testDevice)
	testns.IP(t, "addr", "add", "198.51.100.1/32", "dev", testDevice)
	r, err := New(Options{JournalPath: filepath.Join(t.TempDir(), "journal")})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	now := dump(t)
	if strings.Contains(now, "100.64.0.77") || !strings.Contains(now, "198.51.100.1") {
		t.Errorf("addresses\n%s", now)
	}
}

// envKillAt makes TestCrash's child kill itself at that step.
const envKillAt = "GINNEL_TEST_KILL_AT"

// TestCrashChild applies, changes and removes a configuration; it is run by
// TestCrash only, which kills it on the way.
func TestCrashChild(t *testing.T) {
	at, err := strconv.Atoi(os.Getenv(envKillAt))
	if err != nil {
		t.Skip("helper of TestCrash")
	}
	steps := 0
	r, err := newRouter(Options{JournalPath: os.Getenv("GINNEL_TEST_JOURNAL")}, func(string) {
		if steps++; steps == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	c := fullConfig()
	if err := r.Apply(c); err != nil {
		t.Fatal(err)
	}
	c.Routes, c.Addrs = prefixes("100.64.0.3/32"), prefixes("100.64.0.10/32")
	if err := r.Apply(c); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestCrash kills a process at every single step of its changes; Cleanup must
// leave the machine as it was.
func TestCrash(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	before := setup(t)
	journal := filepath.Join(t.TempDir(), "journal")
	for at := 1; ; at++ {
		cmd := exec.Command(os.Args[0], "-test.run=^TestCrashChild$", "-test.v")
		cmd.Env = append(os.Environ(), envKillAt+"="+strconv.Itoa(at), "GINNEL_TEST_JOURNAL="+journal)
		out, err := cmd.CombinedOutput()
		if err == nil {
			if at < 40 || !strings.Contains(string(out), "--- PASS: TestCrashChild") {
				t.Fatalf("child ended by itself at step %d\n%s", at, out)
			}
			t.Logf("killed at %d steps", at-1)
			break
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("child at step %d: %v\n%s", at, err, out)
		}
		var logged bytes.Buffer
		if err := Cleanup(journal, slog.New(slog.NewTextHandler(&logged, nil))); err != nil {
			t.Fatalf("cleanup after a crash at step %d: %v", at, err)
		}
		if lines := strings.Count(logged.String(), "\n"); lines > 1 {
			t.Errorf("cleanup after a crash at step %d wrote %d lines:\n%s", at, lines, &logged)
		}
		expectDump(t, fmt.Sprintf("after a crash at step %d", at), before)
		if _, err := os.Stat(journal); !errors.Is(err, os.ErrNotExist) {
			t.Fatalf("journal after cleanup: %v", err)
		}
		if t.Failed() {
			return
		}
	}
	expectDump(t, "at the end", before)
}

func TestNextRunCleansUp(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	before := setup(t)
	journal := filepath.Join(t.TempDir(), "journal")
	r, err := New(Options{JournalPath: journal})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(fullConfig()); err != nil {
		t.Fatal(err)
	}
	r.stop() // the process dies here
	<-r.watched
	again, err := New(Options{JournalPath: journal})
	if err != nil {
		t.Fatal(err)
	}
	expectDump(t, "after the next start", before)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestJournalOfAnotherPlace(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	setup(t)
	testns.IP(t, "rule", "add", "pref", "5270", "table", "52", "protocol", strconv.Itoa(protocol))
	before := dump(t)
	path := filepath.Join(t.TempDir(), "journal")
	mine, err := here()
	if err != nil {
		t.Fatal(err)
	}
	write := func(h journalHead) {
		j, err := createJournal(path, h, []object{{Kind: kindRule, Priority: 5270, Table: 52}})
		if err != nil {
			t.Fatal(err)
		}
		j.close(false)
	}
	write(journalHead{Version: 1, Boot: "another", NetNS: mine.NetNS})
	if err := Cleanup(path, nil); err != nil {
		t.Errorf("journal of another boot: %v", err)
	}
	expectDump(t, "after cleanup of another boot's journal", before)
	write(journalHead{Version: 1, Boot: mine.Boot, NetNS: "net:[1]"})
	if err := Cleanup(path, nil); !errors.Is(err, ErrOtherNamespace) {
		t.Errorf("journal of another namespace: %v", err)
	}
	expectDump(t, "after cleanup of another namespace's journal", before)
	r, err := New(Options{JournalPath: path}) // must start all the same
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestIPv6Usable(t *testing.T) {
	root := t.TempDir()
	set := func(file, v string) {
		t.Helper()
		p := filepath.Join(root, "conf", file)
		if err := os.MkdirAll(filepath.Dir(p), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(v+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if ipv6Usable(root, "t0") || ipv6Usable(filepath.Join(root, "none"), "t0") {
		t.Error("usable without any setting")
	}
	set("all/disable_ipv6", "0")
	set("t0/disable_ipv6", "0")
	if !ipv6Usable(root, "t0") {
		t.Error("not usable")
	}
	for _, f := range []string{"all/disable_ipv6", "t0/disable_ipv6", "all/disable_policy"} {
		set(f, "1")
		if ipv6Usable(root, "t0") {
			t.Errorf("usable with %s", f)
		}
		set(f, "0")
	}
}
