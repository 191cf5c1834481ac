//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
)

// TestServerKilledDuringJoins kills the server again and again while nodes
// join. What it acknowledged before must be there after, once.
func TestServerKilledDuringJoins(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	const joins, kills = 50, 6
	host := n.host("crowd", "11")
	nodes := make([]*node, joins)
	keys := make([]string, joins)
	for i := range nodes {
		nodes[i] = startUserspaceNode(t, n.lab, host, fmt.Sprintf("n%d", i))
		keys[i] = n.server.authKey() // each good for one node
	}
	var wg sync.WaitGroup
	errs := make([]error, joins)
	for i, nd := range nodes {
		wg.Go(func() { errs[i] = nd.tryUpAs(n.server, keys[i], fmt.Sprintf("n%d", i)) })
	}
	for k := range kills {
		lab.Eventually(t, patience, "some have joined", func() error {
			if got := len(n.server.nodes()); got < k*joins/kills {
				return fmt.Errorf("%d nodes", got)
			}
			return nil
		})
		n.server.proc.Kill()
		n.server.start()
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
	}
	checkJoined(t, n.server, nodes)

	// A used one-off key stays used, also after a kill.
	n.server.proc.Kill()
	n.server.start()
	checkJoined(t, n.server, nodes)
	late := startNode(t, n.lab, n.host("late", "99"))
	if err := late.tryUp(n.server, keys[0]); err == nil {
		t.Error("a one-off key was accepted a second time")
	}
}

// startUserspaceNode runs a daemon without a device, one of many on its host.
func startUserspaceNode(t testing.TB, l *lab.Lab, host *lab.Host, name string) *node {
	t.Helper()
	n := &node{t: t, host: host, dir: filepath.Join(l.Dir(), name)}
	n.socket = filepath.Join(n.dir, "sock")
	n.args = []string{program("ginneld"), "--statedir", n.dir, "--socket", n.socket, "--tun", "userspace-networking"}
	n.start()
	return n
}

// checkJoined expects that the server lists exactly the nodes, with what they
// were told, and that no two have the same address or name.
func checkJoined(t *testing.T, s *server, nodes []*node) {
	t.Helper()
	listed := map[string]listedNode{}
	names, addrs := map[string]bool{}, map[netip.Addr]bool{}
	list := s.nodes()
	for _, l := range list {
		listed[l.NodeKey] = l
		names[l.Name] = true
		for _, a := range l.Addresses {
			addrs[a] = true
		}
	}
	if len(list) != len(nodes) || len(names) != len(nodes) || len(addrs) != 2*len(nodes) {
		t.Errorf("%d nodes joined; the server lists %d, with %d names and %d addresses", len(nodes), len(list), len(names), len(addrs))
	}
	for _, n := range nodes {
		st := n.status()
		l, ok := listed[st.Self.PublicKey.String()]
		if !ok {
			t.Errorf("the server does not list %s", st.Self.HostName)
			continue
		}
		got, want := slices.Clone(l.Addresses), slices.Clone(st.TailscaleIPs)
		slices.SortFunc(got, netip.Addr.Compare)
		slices.SortFunc(want, netip.Addr.Compare)
		if !slices.Equal(got, want) || !hasLabel(st.Self.DNSName, l.Name) {
			t.Errorf("the node is %s with %v, the server says %s with %v", st.Self.DNSName, want, l.Name, got)
		}
	}
}

// TestKilledDuringUp kills the daemon at every moment of its start and its way
// into the network, and expects that --cleanup undoes whatever it had done.
func TestKilledDuringUp(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	host := n.host("a", "11")
	machine := systemState(host)
	a := startNode(t, n.lab, host)
	began := time.Now()
	a.up(n.server, n.key)
	whole := time.Since(began) // what a join takes here
	a.mustCLI("logout")
	const kills = 30
	changed := 0
	for i := range kills {
		if i > 0 {
			a.start()
		}
		up := host.Start(nil, program("ginnel"), "--socket", a.socket, "up", "--login-server", n.server.url,
			"--auth-key", n.key, "--hostname", "a", "--force-reauth", "--timeout", "10s")
		time.Sleep(whole * time.Duration(i) * 3 / 2 / kills)
		a.proc.Kill()
		up.Kill()
		if systemState(host) != machine {
			changed++
		}
		host.Must(program("ginneld"), "--cleanup", "--statedir", a.dir, "--tun", "ginnel0")
		if got := systemState(host); got != machine {
			t.Fatalf("kill %d of %d: after --cleanup the machine differs.\nbefore:\n%s\nafter:\n%s", i+1, kills, machine, got)
		}
	}
	if changed == 0 {
		t.Error("no kill left anything to clean up: this test sees nothing")
	}
	// It is still one node, and works.
	a.start()
	a.up(n.server, n.key)
	if list := n.server.nodes(); len(list) != 1 {
		t.Errorf("the server lists %d nodes: %+v", len(list), list)
	}
	join(t, n.lab, n.server, n.host("b", "12"), n.key).waitReach(a)
}
