//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
)

func TestNodeKilledAndRestarted(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	before := a.status().Self
	a.proc.Kill()
	lab.Eventually(t, patience, "b sees that a is gone", func() error {
		p, err := b.peer(a)
		if err == nil && p.Online {
			err = fmt.Errorf("a is still online")
		}
		return err
	})
	a.start()
	a.waitState("Running")
	after := a.status().Self
	if after.PublicKey != before.PublicKey || after.ID != before.ID || after.TailscaleIPs[0] != before.TailscaleIPs[0] {
		t.Errorf("another identity after the restart: %v %v %v, was %v %v %v",
			after.PublicKey, after.ID, after.TailscaleIPs, before.PublicKey, before.ID, before.TailscaleIPs)
	}
	a.waitReach(b)
	b.waitReach(a)
	if list := n.server.nodes(); len(list) != 2 {
		t.Errorf("the server lists %d nodes after a restart, want 2", len(list))
	}
}

// TestRestartWhileServerIsAway kills both nodes, as a power cut does, with the
// server and so the only relay dead: they come up from what they stored.
func TestRestartWhileServerIsAway(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	a.waitRemembers(b)
	b.waitRemembers(a)
	n.server.proc.Kill()
	for _, nd := range []*node{a, b} {
		nd.proc.Kill()
	}
	for _, nd := range []*node{a, b} {
		nd.start()
	}
	a.waitReach(b)
	n.server.start()
	lab.Eventually(t, patience, "the server sees both", func() error {
		for _, l := range n.server.nodes() {
			if !l.Online {
				return fmt.Errorf("%s is offline", l.Name)
			}
		}
		return nil
	})
}

// systemState is what a node changes on its machine.
func systemState(h *lab.Host) string {
	var out strings.Builder
	for _, args := range [][]string{
		{"ip", "-4", "rule"}, {"ip", "-6", "rule"},
		{"ip", "-4", "route", "show", "table", "all"}, {"ip", "-6", "route", "show", "table", "all"},
		{"ip", "-o", "addr"}, {"nft", "list", "ruleset"},
	} {
		text, _ := h.Output(args...)
		out.WriteString("# " + strings.Join(args, " ") + "\n" + text)
	}
	return out.String()
}

func TestMachineIsLeftAsItWas(t *testing.T) {
	n := newLAN(t)
	host := n.host("a", "11")
	before := systemState(host)
	a := join(t, n.lab, n.server, host, n.key)
	if systemState(host) == before {
		t.Fatal("a node that is up changed nothing: this test sees nothing")
	}
	a.proc.Stop()
	if got := systemState(host); got != before {
		t.Errorf("after a stop the machine differs.\nbefore:\n%s\nafter:\n%s", before, got)
	}
	a.start()
	a.waitState("Running")
	a.proc.Kill()
	host.Must(program("ginneld"), "--cleanup", "--statedir", a.dir, "--tun", "ginnel0")
	if got := systemState(host); got != before {
		t.Errorf("after a kill and --cleanup the machine differs.\nbefore:\n%s\nafter:\n%s", before, got)
	}
}

func TestDownAndUp(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	a.mustCLI("down")
	a.waitState("Stopped")
	if err := a.host.Ping(b.ip4); err == nil {
		t.Error("a node that is down reaches its peer")
	}
	a.mustCLI("up")
	a.waitState("Running")
	a.waitReach(b)
	a.mustCLI("logout")
	a.waitState("NeedsLogin")
	lab.Eventually(t, patience, "b sees that a is gone", func() error {
		if p, err := b.peer(a); err == nil && p.Online {
			return fmt.Errorf("a is still online after its logout")
		}
		return nil
	})
}

// TestBackupAndRestore takes a backup from the running server, loses the
// server's data, and goes on from the backup.
func TestBackupAndRestore(t *testing.T) {
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	file := filepath.Join(n.lab.Dir(), "backup")
	n.server.mustAdmin("backup", file)
	n.server.proc.Kill()
	n.server.host.Must("rm", "-r", n.server.dir)
	n.server.host.Must(program("ginnel-server"), "restore", file, "--data-dir", n.server.dir)
	n.server.start()
	lab.Eventually(t, patience, "both nodes are back", func() error {
		for _, name := range []string{"a", "b"} {
			l, err := n.server.node(name)
			if err == nil && !l.Online {
				err = fmt.Errorf("%s is offline", name)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	c := join(t, n.lab, n.server, n.host("c", "13"), n.server.authKey())
	c.waitReach(a)
}
