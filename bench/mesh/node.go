//go:build linux

package mesh

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/ginnel/ginnel/bench/rig"
)

// A Kind is which make of node runs.
type Kind struct {
	daemon, cli string
	device      string // name of the tunnel interface
	daemonFlags []string
	upFlags     []string
}

// The kinds of nodes.
var (
	// Ginnel is ginneld.
	Ginnel = Kind{daemon: "ginneld", cli: "ginnel", device: "ginnel0"}
	// GinnelUserspace is ginneld without a tunnel interface.
	GinnelUserspace = Kind{daemon: "ginneld", cli: "ginnel", device: "userspace-networking"}
	// Official is tailscaled. It uploads no logs and leaves the machine's
	// resolver and firewall alone.
	Official = Kind{
		daemon: "tailscaled", cli: "tailscale", device: "tailscale0",
		daemonFlags: []string{"--no-logs-no-support"},
		upFlags:     []string{"--accept-dns=false", "--netfilter-mode=off"},
	}
)

// A Node is a running daemon.
type Node struct {
	// Process is the daemon.
	*rig.Process
	// Host is where it runs.
	Host *rig.Host
	// Addr is its IPv4 address in the mesh, once it is up.
	Addr netip.Addr

	kind   Kind
	bin    Programs
	name   string
	socket string
}

// StartNode runs a daemon that has joined nothing yet, and waits until it
// answers.
func StartNode(ctx context.Context, kind Kind, bin Programs, r *rig.Rig, host *rig.Host, name string) (*Node, error) {
	dir := filepath.Join(r.Dir(), name)
	n := &Node{Host: host, kind: kind, bin: bin, name: name, socket: filepath.Join(dir, "sock")}
	args := append([]string{bin.path(kind.daemon), "--statedir", dir, "--socket", n.socket, "--tun", kind.device}, kind.daemonFlags...)
	var err error
	if n.Process, err = host.Start(name, nil, args...); err != nil {
		return nil, err
	}
	return n, n.Until(ctx, "the daemon answers", func() error {
		_, err := n.status(ctx)
		return err
	})
}

// CLI runs a command of the node's command line.
func (n *Node) CLI(ctx context.Context, args ...string) (string, error) {
	return n.Host.Output(ctx, append([]string{n.bin.path(n.kind.cli), "--socket", n.socket}, args...)...)
}

// Up joins the server under the node's name and returns when the node is up.
func (n *Node) Up(ctx context.Context, s *Server, authKey string) error {
	args := append([]string{"up", "--login-server", s.url, "--auth-key", authKey, "--hostname", n.name, "--timeout", "30s"}, n.kind.upFlags...)
	_, err := n.CLI(ctx, args...)
	return err
}

// LearnAddr fills in Addr.
func (n *Node) LearnAddr(ctx context.Context) error {
	st, err := n.status(ctx)
	if err != nil {
		return err
	}
	for _, ip := range st.TailscaleIPs {
		if ip.Is4() {
			n.Addr = ip
			return nil
		}
	}
	return fmt.Errorf("%s has no address", n.name)
}

// status is the part of the status that is needed, in the common JSON of both
// kinds.
type status struct {
	TailscaleIPs []netip.Addr
}

func (n *Node) status(ctx context.Context) (*status, error) {
	out, err := n.CLI(ctx, "status", "--json")
	if err != nil {
		return nil, err
	}
	st := new(status)
	if err := json.Unmarshal([]byte(out), st); err != nil {
		return nil, fmt.Errorf("%s: status: %w", n.name, err)
	}
	return st, nil
}

// pathPings is how many times CheckPath tries: a single ping may be lost.
const pathPings = 5

// CheckPath fails unless a ping to the peer is answered, and the wanted way.
func (n *Node) CheckPath(ctx context.Context, peer *Node, relayed bool) error {
	var last error
	for range pathPings {
		out, err := n.CLI(ctx, "ping", "-c", "1", "--until-direct=false", "--timeout", "3s", peer.Addr.String())
		switch {
		case !strings.Contains(out, "pong from"):
			last = err
			continue
		case strings.Contains(out, "via DERP(") != relayed:
			return fmt.Errorf("%s reaches %s by the wrong path: %s", n.name, peer.name, strings.TrimSpace(out))
		}
		return nil
	}
	return fmt.Errorf("%s does not reach %s: %w", n.name, peer.name, last)
}

// A Pair is two nodes that reach each other.
type Pair struct {
	Nodes   [2]*Node
	Relayed bool
}

// pairTimeout bounds how long two nodes may take to reach each other as wanted.
const pairTimeout = 60 * time.Second

// StartPair runs a node on each host, joins both, and waits until they reach
// each other by the wanted kind of path.
func StartPair(ctx context.Context, kind Kind, bin Programs, r *rig.Rig, s *Server, hosts [2]*rig.Host, relayed bool) (*Pair, error) {
	ctx, cancel := context.WithTimeout(ctx, pairTimeout)
	defer cancel()
	key, err := s.AuthKey(ctx)
	if err != nil {
		return nil, err
	}
	p := &Pair{Relayed: relayed}
	for i, h := range hosts {
		n, err := StartNode(ctx, kind, bin, r, h, kind.daemon+"-"+h.Name)
		if err != nil {
			return nil, err
		}
		if err := n.Up(ctx, s, key); err != nil {
			return nil, err
		}
		if err := n.LearnAddr(ctx); err != nil {
			return nil, err
		}
		p.Nodes[i] = n
	}
	return p, p.Nodes[0].Until(ctx, "the nodes reach each other", func() error { return p.Check(ctx) })
}

// Check fails unless both nodes reach each other by the wanted kind of path.
func (p *Pair) Check(ctx context.Context) error {
	if err := p.Nodes[0].CheckPath(ctx, p.Nodes[1], p.Relayed); err != nil {
		return err
	}
	return p.Nodes[1].CheckPath(ctx, p.Nodes[0], p.Relayed)
}
