//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// A node is a running ginneld with a TUN device.
type node struct {
	t      testing.TB
	host   *lab.Host
	dir    string
	socket string
	args   []string
	proc   *lab.Process
	ip4    netip.Addr
	ip6    netip.Addr
}

// startNode runs a daemon on the host, not yet joined to anything.
func startNode(t testing.TB, l *lab.Lab, host *lab.Host, flags ...string) *node {
	t.Helper()
	n := &node{t: t, host: host, dir: filepath.Join(l.Dir(), host.Name)}
	n.socket = filepath.Join(n.dir, "sock")
	n.args = append([]string{program("ginneld"), "--statedir", n.dir, "--socket", n.socket, "--tun", "ginnel0"}, flags...)
	n.start()
	return n
}

// start starts the daemon, again after a kill, and waits until it answers.
func (n *node) start() {
	n.t.Helper()
	os.Remove(n.socket)
	n.proc = n.host.Start([]string{"GOTRACEBACK=all"}, n.args...)
	lab.Eventually(n.t, patience, "daemon answers", func() error {
		select {
		case <-n.proc.Done():
			n.t.Fatalf("the daemon ended with code %d", n.proc.ExitCode())
		default:
		}
		_, err := n.tryStatus()
		return err
	})
}

// cli runs the command line against the daemon.
func (n *node) cli(args ...string) (string, error) {
	return n.host.Output(append([]string{program("ginnel"), "--socket", n.socket}, args...)...)
}

func (n *node) mustCLI(args ...string) string {
	n.t.Helper()
	out, err := n.cli(args...)
	if err != nil {
		n.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// tryUp joins the server with the key under the host's name.
func (n *node) tryUp(s *server, key string) error { return n.tryUpAs(s, key, n.host.Name) }

func (n *node) tryUpAs(s *server, key, name string) error {
	out, err := n.cli("up", "--login-server", s.url, "--auth-key", key, "--hostname", name, "--timeout", patience.String())
	if err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

func (n *node) up(s *server, key string) {
	n.t.Helper()
	if err := n.tryUp(s, key); err != nil {
		n.t.Fatal(err)
	}
	n.learnAddrs()
}

// learnAddrs takes the node's mesh addresses from its status.
func (n *node) learnAddrs() {
	n.t.Helper()
	for _, ip := range n.status().TailscaleIPs {
		if ip.Is4() {
			n.ip4 = ip
		} else {
			n.ip6 = ip
		}
	}
	if !n.ip4.IsValid() || !n.ip6.IsValid() {
		n.t.Fatalf("%s is up with addresses %v, %v", n.host.Name, n.ip4, n.ip6)
	}
}

// join starts a daemon on the host and brings it up.
func join(t testing.TB, l *lab.Lab, s *server, host *lab.Host, key string) *node {
	t.Helper()
	n := startNode(t, l, host)
	n.up(s, key)
	return n
}

func (n *node) tryStatus() (*api.Status, error) {
	out, err := n.host.Stdout(program("ginnel"), "--socket", n.socket, "status", "--json")
	if err != nil {
		return nil, err
	}
	st := new(api.Status)
	if err := json.Unmarshal(out, st); err != nil {
		return nil, fmt.Errorf("%s: status: %w: %s", n.host.Name, err, out)
	}
	return st, nil
}

func (n *node) status() *api.Status {
	n.t.Helper()
	st, err := n.tryStatus()
	if err != nil {
		n.t.Fatal(err)
	}
	return st
}

// peer returns what the node knows of another.
func (n *node) peer(other *node) (*api.PeerStatus, error) {
	st, err := n.tryStatus()
	if err != nil {
		return nil, err
	}
	for _, p := range st.Peer {
		for _, ip := range p.TailscaleIPs {
			if ip == other.ip4 {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("%s does not know %s", n.host.Name, other.host.Name)
}

// waitRemembers waits until the node has on disk where the other can be reached
// without a relay, as it will need after a power cut.
func (n *node) waitRemembers(other *node) {
	n.t.Helper()
	name := strings.TrimSuffix(other.status().Self.DNSName, ".")
	lab.Eventually(n.t, patience, fmt.Sprintf("%s remembers %s", n.host.Name, other.host.Name), func() error {
		files, _ := filepath.Glob(filepath.Join(n.dir, "profile-data", "*", "netmap.json"))
		if len(files) != 1 {
			return fmt.Errorf("%d maps on disk", len(files))
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			return err
		}
		var stored struct{ Map control.MapResponse }
		if err := json.Unmarshal(data, &stored); err != nil {
			return err
		}
		for _, p := range stored.Map.Peers {
			if strings.TrimSuffix(p.Name, ".") == name && !p.DiscoKey.IsZero() && len(p.Endpoints) > 0 {
				return nil
			}
		}
		return fmt.Errorf("not with its disco key and endpoints")
	})
}

// waitState waits until the daemon says that it is in the state.
func (n *node) waitState(state string) {
	n.t.Helper()
	lab.Eventually(n.t, patience, n.host.Name+" is "+state, func() error {
		st, err := n.tryStatus()
		if err == nil && st.BackendState != state {
			err = fmt.Errorf("it is %s; health: %v", st.BackendState, st.Health)
		}
		return err
	})
}

// waitReach waits until packets from the node's machine reach the other's mesh
// addresses.
func (n *node) waitReach(other *node) {
	n.t.Helper()
	for _, ip := range []netip.Addr{other.ip4, other.ip6} {
		lab.Eventually(n.t, patience, fmt.Sprintf("%s reaches %s", n.host.Name, other.host.Name), func() error {
			return n.host.Ping(ip)
		})
	}
}

// ping sends one disco ping, on whatever path, and returns what is printed.
func (n *node) ping(other *node) (string, error) {
	out, err := n.cli("ping", "-c", "1", "--until-direct=false", "--timeout", "3s", other.ip4.String())
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, out)
	}
	return strings.TrimSpace(out), err
}

// waitPath waits until pings to the other take a path whose printed form
// begins with one of the texts: an address, or "DERP(".
func (n *node) waitPath(other *node, vias ...string) {
	n.t.Helper()
	lab.Eventually(n.t, patience, fmt.Sprintf("%s reaches %s via one of %v", n.host.Name, other.host.Name, vias), func() error {
		out, err := n.ping(other)
		if err != nil {
			return err
		}
		for _, via := range vias {
			if strings.Contains(out, "via "+via) {
				return nil
			}
		}
		return fmt.Errorf("other path: %s", out)
	})
}
