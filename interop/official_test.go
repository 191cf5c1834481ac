package interop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"tailscale.com/envknob"
	"tailscale.com/ipn/ipnstate"
	"tailscale.com/tailcfg"
	"tailscale.com/tsnet"

	"github.com/ginnel/ginnel/server/tailnet"
)

const echoPort = 7007

// An official node runs in the process, with TCP/IP in userspace.
type official struct {
	t    *testing.T
	name string
	node *tsnet.Server
	ip4  netip.Addr
	ip6  netip.Addr
}

// How a node may reach others.
type pathKind string

const (
	direct  pathKind = "direct"
	relayed pathKind = "relayed"
)

// joinOfficial starts an official node and waits until it is up. A relayed one
// has no UDP. It serves echoes on echoPort.
func joinOfficial(t *testing.T, url, key, name string, kind pathKind) *official {
	t.Helper()
	l := newLog(t, "official node "+name)
	dir, err := os.MkdirTemp("", "official-")
	if err != nil {
		t.Fatal(err)
	}
	o := &official{t: t, name: name, node: &tsnet.Server{
		Dir: dir, Hostname: name, ControlURL: url, AuthKey: key, Logf: l.Logf, UserLogf: l.Logf,
	}}
	if kind == relayed {
		envknob.Setenv("TS_DEBUG_ALWAYS_USE_DERP", "true")
		defer envknob.Setenv("TS_DEBUG_ALWAYS_USE_DERP", "")
	}
	t.Cleanup(func() {
		o.node.Close()
		os.RemoveAll(dir)
	})
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := o.node.Up(ctx); err != nil {
		t.Fatalf("official node %s: %v", name, err)
	}
	o.ip4, o.ip6 = o.node.TailscaleIPs()
	ln, err := o.node.Listen("tcp", fmt.Sprint(":", echoPort))
	if err != nil {
		t.Fatal(err)
	}
	go serveEcho(ln)
	return o
}

// serveEcho returns to each client what it sends.
func serveEcho(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}

func (o *official) status() (*ipnstate.Status, error) {
	lc, err := o.node.LocalClient()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(o.t.Context(), 10*time.Second)
	defer cancel()
	return lc.Status(ctx)
}

// peer returns what the node knows of the peer with the address.
func (o *official) peer(ip netip.Addr) (*ipnstate.PeerStatus, error) {
	st, err := o.status()
	if err != nil {
		return nil, err
	}
	for _, p := range st.Peer {
		for _, have := range p.TailscaleIPs {
			if have == ip {
				return p, nil
			}
		}
	}
	return nil, fmt.Errorf("%s knows no peer %v", o.name, ip)
}

// waitPing pings until the answer comes by the kind of path that is wanted.
func (o *official) waitPing(ip netip.Addr, kind pathKind) {
	o.t.Helper()
	lc, err := o.node.LocalClient()
	if err != nil {
		o.t.Fatal(err)
	}
	eventually(o.t, fmt.Sprintf("%s pings %v, %s", o.name, ip, kind), func() error {
		ctx, cancel := context.WithTimeout(o.t.Context(), 5*time.Second)
		defer cancel()
		res, err := lc.Ping(ctx, ip, tailcfg.PingDisco)
		switch {
		case err != nil:
			return err
		case res.Err != "":
			return errors.New(res.Err)
		case kind == direct && res.Endpoint == "":
			return fmt.Errorf("answered through relay region %d", res.DERPRegionID)
		case kind == relayed && res.DERPRegionID == 0:
			return fmt.Errorf("answered from %s", res.Endpoint)
		}
		return nil
	})
}

// echo moves bytes to the echo service at the address and back.
func (o *official) echo(ip netip.Addr) {
	o.t.Helper()
	ctx, cancel := context.WithTimeout(o.t.Context(), patience)
	defer cancel()
	conn, err := o.node.Dial(ctx, "tcp", netip.AddrPortFrom(ip, echoPort).String())
	if err != nil {
		o.t.Fatalf("%s dials %v: %v", o.name, ip, err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	checkEcho(o.t, conn)
}

// TestOfficialNodes lets two official nodes meet on our server, through our
// relay and directly.
func TestOfficialNodes(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) {
			s := startServer(t)
			a := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "a", kind)
			b := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{Ephemeral: true}), "b", kind)
			for _, dir := range [][2]*official{{a, b}, {b, a}} {
				eventually(t, dir[0].name+" sees the other", func() error { _, err := dir[0].peer(dir[1].ip4); return err })
				dir[0].waitPing(dir[1].ip4, kind)
				dir[0].echo(dir[1].ip4)
				dir[0].echo(dir[1].ip6)
			}
		})
	}
}

// TestOfficialPresence watches official nodes come, go and be removed.
func TestOfficialPresence(t *testing.T) {
	s := startServer(t)
	a := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "a", direct)
	b := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "b", direct)
	online := func(want bool) func() error {
		return func() error {
			p, err := a.peer(b.ip4)
			if err == nil && p.Online != want {
				err = fmt.Errorf("online is %v", p.Online)
			}
			return err
		}
	}
	eventually(t, "a sees b online", online(true))
	b.node.Close()
	eventually(t, "a sees b offline", online(false))
	if err := s.Tailnet().DeleteNode(t.Context(), admin, nodeNamed(t, s, "b").ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a forgets b", func() error {
		if _, err := a.peer(b.ip4); err == nil {
			return errors.New("a still knows b")
		}
		return nil
	})
}

// TestOfficialBadKey gives an official node keys that must not let it in.
func TestOfficialBadKey(t *testing.T) {
	s := startServer(t)
	used := authKey(t, s, tailnet.AuthKeyParams{})
	joinOfficial(t, s.URL(), used, "first", direct)
	for name, key := range map[string]string{"used": used, "wrong": "gkey-auth-1-nothing"} {
		t.Run(name, func(t *testing.T) {
			n := &tsnet.Server{Dir: t.TempDir(), Hostname: "second", ControlURL: s.URL(), AuthKey: key,
				Logf: newLog(t, "official node").Logf, UserLogf: newLog(t, "official node").Logf}
			defer n.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			if _, err := n.Up(ctx); err == nil {
				t.Errorf("a node joined with a key that is %s", name)
			}
		})
	}
	if got := s.Tailnet().Snapshot().NodeCount(); got != 1 {
		t.Errorf("the server has %d nodes, want 1", got)
	}
}
