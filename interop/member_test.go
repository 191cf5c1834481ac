package interop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// How a node may reach others.
type pathKind string

const (
	direct  pathKind = "direct"
	relayed pathKind = "relayed"
)

// A member is a node of either make that belongs to a mesh.
type member struct {
	t    *testing.T
	name string // the host name that it started with
	ip4  netip.Addr
	ip6  netip.Addr
	steered
}

// steered is what a test does with a node in the way of its make.
type steered interface {
	// statusJSON returns what "status --json" prints.
	statusJSON() ([]byte, error)
	// ping sends one discovery ping and returns by which path the answer came.
	ping(ip netip.Addr) (pathKind, error)
	// dial connects to an address in the mesh.
	dial(ctx context.Context, addr string) (net.Conn, error)
}

// A netView is what tests look at of a node's status, which both makes print in
// the same form.
type netView struct {
	BackendState string
	AuthURL      string
	Self         *peerView
	Peer         map[string]*peerView
	User         map[string]struct{ LoginName string }
}

type peerView struct {
	ID           string
	PublicKey    string
	DNSName      string
	UserID       int64
	TailscaleIPs []netip.Addr
	Online       bool
	Expired      bool
}

// label returns the first label of the node's name.
func (p *peerView) label() string {
	label, _, _ := strings.Cut(p.DNSName, ".")
	return label
}

func (m *member) status() (*netView, error) {
	text, err := m.statusJSON()
	if err != nil {
		return nil, err
	}
	st := new(netView)
	if err := json.Unmarshal(text, st); err != nil {
		return nil, fmt.Errorf("status of %s: %w", m.name, err)
	}
	return st, nil
}

// takeAddresses stores the addresses that the node has.
func (m *member) takeAddresses() {
	m.t.Helper()
	st, err := m.status()
	if err != nil {
		m.t.Fatal(err)
	}
	m.ip4, m.ip6 = netip.Addr{}, netip.Addr{}
	for _, ip := range st.Self.TailscaleIPs {
		if ip.Is4() {
			m.ip4 = ip
		} else {
			m.ip6 = ip
		}
	}
	if !m.ip4.IsValid() {
		m.t.Fatalf("%s is up without an address: %v", m.name, st.Self.TailscaleIPs)
	}
}

// peer returns what the node knows of another.
func (m *member) peer(other *member) (*peerView, error) {
	st, err := m.status()
	if err != nil {
		return nil, err
	}
	for _, p := range st.Peer {
		if slices.Contains(p.TailscaleIPs, other.ip4) {
			return p, nil
		}
	}
	return nil, fmt.Errorf("%s knows no peer %v", m.name, other.ip4)
}

// waitState waits until the node is in the state.
func (m *member) waitState(want string) {
	m.t.Helper()
	eventually(m.t, m.name+" is "+want, func() error {
		st, err := m.status()
		if err == nil && st.BackendState != want {
			err = fmt.Errorf("it is %s", st.BackendState)
		}
		return err
	})
}

// waitPeer waits until the node knows the other and what it knows suits.
func (m *member) waitPeer(other *member, what string, suits func(*peerView) bool) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s sees %s %s", m.name, other.name, what), func() error {
		p, err := m.peer(other)
		if err == nil && !suits(p) {
			err = fmt.Errorf("it sees %+v", *p)
		}
		return err
	})
}

// waitOnline waits until the node sees the other come or go.
func (m *member) waitOnline(other *member, want bool) {
	m.t.Helper()
	m.waitPeer(other, fmt.Sprintf("with online %v", want), func(p *peerView) bool { return p.Online == want })
}

// waitForgets waits until the node does not know the other any more.
func (m *member) waitForgets(other *member) {
	m.t.Helper()
	eventually(m.t, m.name+" forgets "+other.name, func() error {
		if st, err := m.status(); err != nil {
			return err
		} else if st.BackendState != "Running" {
			return fmt.Errorf("it is %s", st.BackendState)
		}
		if _, err := m.peer(other); err == nil {
			return errors.New("it is still there")
		}
		return nil
	})
}

// waitPing pings until the answer comes by the kind of path that is wanted.
func (m *member) waitPing(other *member, want pathKind) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("%s pings %s, %s", m.name, other.name, want), func() error {
		kind, err := m.ping(other.ip4)
		if err == nil && kind != want {
			err = fmt.Errorf("the answer came %s", kind)
		}
		return err
	})
}

// echo moves bytes to the other's echo service and back.
func (m *member) echo(ip netip.Addr) {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(m.t.Context(), patience)
	defer cancel()
	conn, err := m.dial(ctx, netip.AddrPortFrom(ip, echoPort).String())
	if err != nil {
		m.t.Fatalf("%s dials %v: %v", m.name, ip, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	checkEcho(m.t, conn)
}

// meet checks that two nodes see, ping and talk to each other, each way.
func meet(t *testing.T, a, b *member, kind pathKind) {
	t.Helper()
	for _, way := range [][2]*member{{a, b}, {b, a}} {
		from, to := way[0], way[1]
		from.waitPeer(to, "at all", func(*peerView) bool { return true })
		from.waitPing(to, kind)
		from.echo(to.ip4)
		if from.ip6.IsValid() && to.ip6.IsValid() {
			from.echo(to.ip6)
		}
	}
}
