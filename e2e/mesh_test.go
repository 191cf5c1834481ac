//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
)

func TestTwentyNodesPingEachOther(t *testing.T) {
	n := newLAN(t)
	const count = 20
	nodes := make([]*node, count)
	var wg sync.WaitGroup
	for i := range nodes {
		nodes[i] = startNode(t, n.lab, n.host(fmt.Sprintf("n%d", i), fmt.Sprint(20+i)))
	}
	errs := make([]error, count)
	for i, nd := range nodes {
		wg.Go(func() { errs[i] = nd.tryUp(n.server, n.key) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	for _, nd := range nodes {
		nd.learnAddrs()
	}
	for i, from := range nodes {
		wg.Go(func() { errs[i] = from.pingAll(nodes) })
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// pingAll pings every other node until it answers, with a bounded number of
// tries: 380 tunnels are being set up on a small machine at the same time.
func (n *node) pingAll(nodes []*node) error {
	for _, to := range nodes {
		if to == n {
			continue
		}
		var err error
		for range 30 {
			if err = n.host.Ping(to.ip4); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// TestRoaming moves a node to another address while a stream is open.
func TestRoaming(t *testing.T) {
	t.Parallel()
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	a.waitPath(b, "10.9.0.12:", "[fd09::12]:")
	st := openStream(t, a, b.ip4)
	st.beat()
	a.host.DelAddr("eth0", "10.9.0.11/24")
	a.host.DelAddr("eth0", "fd09::11/64")
	a.host.AddAddr("eth0", "10.9.0.111/24")
	a.host.AddAddr("eth0", "fd09::111/64")
	a.host.DefaultRoute("10.9.0.1")
	st.beat()
	st.bulk(1 << 20)
	b.waitPath(a, "10.9.0.111:", "[fd09::111]:")
	st.beat()
}

func TestEphemeralNodeLeaves(t *testing.T) {
	n := newLAN(t)
	stay := join(t, n.lab, n.server, n.host("stay", "11"), n.key)
	eph := join(t, n.lab, n.server, n.host("eph", "12"), n.server.authKey("--ephemeral"))
	stay.waitReach(eph)
	if l, err := n.server.node("eph"); err != nil || !l.Ephemeral {
		t.Fatalf("the server lists %+v, %v; want an ephemeral node", l, err)
	}
	eph.mustCLI("logout")
	waitForgotten(t, n, stay, eph)
}

// TestEphemeralNodeDies kills the node: nobody says good-bye, and the server
// must notice by itself.
func TestEphemeralNodeDies(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	sw := l.Switch("lan")
	host := l.Host("server")
	host.Plug(sw, "10.9.0.1/24")
	s := startServer(t, l, host, "10.9.0.1", "--ephemeral-timeout", "65s")
	n := &lan{lab: l, sw: sw, server: s, key: s.authKey("--reusable")}
	stay := join(t, l, s, n.host("stay", "11"), n.key)
	eph := join(t, l, s, n.host("eph", "12"), s.authKey("--ephemeral"))
	stay.waitReach(eph)
	eph.proc.Kill()
	waitForgotten(t, n, stay, eph)
	if _, err := s.node("stay"); err != nil {
		t.Error("a node that is not ephemeral was removed:", err)
	}
}

func waitForgotten(t *testing.T, n *lan, stay, gone *node) {
	t.Helper()
	lab.Eventually(t, 4*patience, "the ephemeral node is removed", func() error {
		if _, err := n.server.node(gone.host.Name); err == nil {
			return errors.New("the server still lists it")
		}
		if _, err := stay.peer(gone); err == nil {
			return errors.New("its peer still knows it")
		}
		return nil
	})
}

// TestRenameAndDelete changes nodes on the server and watches their peers.
func TestRenameAndDelete(t *testing.T) {
	n := newLAN(t)
	a, b := n.pair(t)
	a.waitReach(b)
	l, err := n.server.node("b")
	if err != nil {
		t.Fatal(err)
	}
	id := fmt.Sprint(l.ID)
	n.server.mustAdmin("nodes", "rename", id, "renamed")
	lab.Eventually(t, patience, "a sees the new name", func() error {
		p, err := a.peer(b)
		if err == nil && !hasLabel(p.DNSName, "renamed") {
			err = fmt.Errorf("b is called %s", p.DNSName)
		}
		return err
	})
	n.server.mustAdmin("nodes", "delete", id)
	lab.Eventually(t, patience, "a forgets b", func() error {
		if _, err := a.peer(b); err == nil {
			return errors.New("a still knows b")
		}
		return nil
	})
	if err := a.host.Ping(b.ip4); err == nil {
		t.Error("a deleted node still answers")
	}
}

// hasLabel reports whether a DNS name begins with the label.
func hasLabel(name, label string) bool {
	return name == label || len(name) > len(label) && name[:len(label)+1] == label+"."
}
