//go:build linux

package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
)

// TestServerKilledDuringJoins kills the server again and again while nodes
// join. What it acknowledged before must be there after, once.
func TestServerKilledDuringJoins(t *testing.T) {
	n := newLAN(t)
	const joins, kills = 8, 4
	var nodes []*node
	var keys []string
	for i := range joins {
		name := fmt.Sprintf("n%d", i)
		nodes = append(nodes, startNode(t, n.lab, n.host(name, fmt.Sprint(20+i))))
		keys = append(keys, n.server.authKey()) // each good for one node
	}
	var wg sync.WaitGroup
	errs := make([]error, joins)
	for i, nd := range nodes {
		wg.Go(func() { errs[i] = nd.tryUp(n.server, keys[i]) })
	}
	for range kills {
		n.server.proc.Kill()
		n.server.start()
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
	if t.Failed() {
		return
	}
	seen := map[string]bool{}
	for _, nd := range nodes {
		nd.learnAddrs()
		seen[nd.ip4.String()] = true
	}
	if len(seen) != joins {
		t.Errorf("%d nodes share %d addresses", joins, len(seen))
	}
	if list := n.server.nodes(); len(list) != joins {
		t.Errorf("the server lists %d nodes, %d joined: %v", len(list), joins, list)
	}
	nodes[0].waitReach(nodes[joins-1])

	// A used one-off key stays used, also after a kill.
	n.server.proc.Kill()
	n.server.start()
	late := startNode(t, n.lab, n.host("late", "99"))
	if err := late.tryUp(n.server, keys[0]); err == nil {
		t.Error("a one-off key was accepted a second time")
	}
}

func TestNodeKilledAndRestarted(t *testing.T) {
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
