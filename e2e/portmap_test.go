//go:build linux

package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/netlab"
	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/node/portmap"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/natpmp"
)

// home is a machine behind a router with a NAT that gives each flow a random port, an IPv6
// firewall, and miniupnpd; and a server on the other side.
type home struct {
	*testing.T
	router, pc, server *netlab.Host
	pcDev              string
	daemon             *netlab.Process
	conf               string
	log                string // file with what the daemon printed
	rules              netlab.Rules
}

const (
	homePort  = 41641
	homeOuter = "11.0.0.1"
	homePC6   = "2001:db8:2::10"
)

// mapRules are the tables that miniupnpd works in, and the NAT and firewall around them.
const mapRules = `
	chain forward {
		type filter hook forward priority filter; policy drop;
		ct state { established, related } accept
		iifname "INSIDE" accept
		jump miniupnpd
	}
	chain miniupnpd { }
	chain prerouting { type nat hook prerouting priority dstnat; jump prerouting_miniupnpd; }
	chain postrouting {
		type nat hook postrouting priority srcnat;
		jump postrouting_miniupnpd
		meta nfproto ipv4 oifname "OUTSIDE" masquerade random,fully-random
	}
	chain prerouting_miniupnpd { }
	chain postrouting_miniupnpd { }`

func newHome(t *testing.T) *home {
	t.Helper()
	missing := netlab.Missing()
	if _, err := exec.LookPath("miniupnpd"); err != nil && missing == nil {
		missing = err
	}
	if missing != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	l, err := netlab.New()
	h := &home{T: t}
	h.must(err)
	t.Cleanup(func() { h.must(l.Close()) })
	host := func(name string) *netlab.Host {
		x, err := l.Host(name)
		h.must(err)
		return x
	}
	plug := func(x *netlab.Host, s *netlab.Switch, addrs ...string) string {
		dev, err := x.Plug(s, addrs...)
		h.must(err)
		return dev
	}
	internet, err := l.Switch("internet")
	h.must(err)
	lan, err := l.Switch("lan")
	h.must(err)
	h.server, h.router, h.pc = host("server"), host("router"), host("pc")
	plug(h.server, internet, "11.0.0.9/24", "2001:db8:1::9/64")
	outside := plug(h.router, internet, homeOuter+"/24", "2001:db8:1::1/64")
	inside := plug(h.router, lan, "192.168.1.1/24", "2001:db8:2::1/64")
	h.pcDev = plug(h.pc, lan, "192.168.1.10/24", homePC6+"/64")
	h.must(h.router.Forward())
	h.must(h.pc.DefaultRoute("192.168.1.1"))
	h.must(h.pc.DefaultRoute("2001:db8:2::1"))
	h.must(h.server.DefaultRoute("2001:db8:1::1"))
	h.rules = netlab.Rules{Name: "filter", Body: strings.NewReplacer("INSIDE", inside, "OUTSIDE", outside).Replace(mapRules)}
	h.must(h.router.Apply(h.rules))
	dir := t.TempDir()
	h.conf, h.log = filepath.Join(dir, "conf"), filepath.Join(dir, "log")
	h.must(os.WriteFile(h.conf, fmt.Appendf(nil, `ext_ifname=%s
listening_ip=%s
http_port=0
enable_natpmp=yes
enable_upnp=yes
secure_mode=yes
system_uptime=no
notify_interval=60
ext_ifname6=%s
uuid=d641d207-5898-43fa-87aa-3eecf9db671f
upnp_forward_chain=miniupnpd
upnp_nat_chain=prerouting_miniupnpd
upnp_nat_postrouting_chain=postrouting_miniupnpd
allow 1024-65535 192.168.1.0/24 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
`, outside, inside, outside), 0o600))
	h.startDaemon()
	return h
}

func (h *home) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

// startDaemon starts miniupnpd and waits until it answers.
func (h *home) startDaemon() {
	h.Helper()
	out, err := os.OpenFile(h.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	h.must(err)
	defer out.Close()
	cmd := exec.Command("miniupnpd", "-d", "-f", h.conf, "-P", filepath.Join(filepath.Dir(h.conf), "pid"))
	cmd.Stdout, cmd.Stderr = out, out
	h.daemon, err = h.router.StartCmd(cmd)
	h.must(err)
	h.within(10*time.Second, "miniupnpd answers", func() bool { return h.age() >= 0 })
}

// age returns how many seconds the daemon has kept mappings, by its own account, -1 if it
// does not answer.
func (h *home) age() int {
	h.Helper()
	c := h.listen(h.pc, "udp4", netip.MustParseAddr("192.168.1.10"), 0)
	defer c.Close()
	_, err := c.WriteTo(natpmp.Request{Op: natpmp.OpExternal}.Append(nil), &net.UDPAddr{IP: net.IPv4(192, 168, 1, 1), Port: natpmp.Port})
	h.must(err)
	_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	b := make([]byte, 100)
	n, _, err := c.ReadFrom(b)
	if err != nil {
		return -1
	}
	r, err := natpmp.ParseResponse(b[:n])
	h.must(err)
	return int(r.Epoch)
}

// reboot has the router lose all its state.
func (h *home) reboot() {
	h.Helper()
	h.daemon.Kill()
	h.must(h.router.Apply(h.rules))
	h.startDaemon()
}

func (h *home) within(d time.Duration, what string, ok func() bool) {
	h.Helper()
	for end := time.Now().Add(d); !ok(); {
		if time.Now().After(end) {
			log, _ := os.ReadFile(h.log)
			h.Fatalf("not within %v: %s\nminiupnpd:\n%s", d, what, log[max(0, len(log)-6000):])
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (h *home) listen(x *netlab.Host, network string, ip netip.Addr, port uint16) (c net.PacketConn) {
	h.Helper()
	h.must(x.Do(func() (err error) {
		c, err = net.ListenPacket(network, netip.AddrPortFrom(ip, port).String())
		return err
	}))
	return c
}

// only lets through what is sent in one protocol.
type only struct {
	net.PacketConn
	via portmap.Protocol
}

func (o only) WriteTo(b []byte, to net.Addr) (int, error) {
	via := portmap.UPnP
	if to.(*net.UDPAddr).Port == natpmp.Port {
		via = map[byte]portmap.Protocol{0: portmap.PMP, 2: portmap.PCP}[b[0]]
	}
	if o.via != "" && via != o.via {
		return len(b), nil
	}
	return o.PacketConn.WriteTo(b, to)
}

// mapper starts a Mapper on the machine that speaks one protocol, or all.
func (h *home) mapper(via portmap.Protocol) *portmap.Mapper {
	h.Helper()
	var mu sync.Mutex
	log := &strings.Builder{}
	m := portmap.New(portmap.Options{
		Logger: slog.New(slog.NewTextHandler(locked{&mu, log}, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Gateways: func() (g netmon.Gateways, err error) {
			err = h.pc.Do(func() error { g, err = netmon.SystemGateways(""); return err })
			return g, err
		},
		ListenPacket: func(network string, ip netip.Addr) (c net.PacketConn, err error) {
			err = h.pc.Do(func() error {
				c, err = net.ListenPacket(network, netip.AddrPortFrom(ip, 0).String())
				return err
			})
			return only{c, via}, err
		},
		ListenAnnouncements: func(ifname string) (c net.PacketConn, err error) {
			err = h.pc.Do(func() error {
				ifi, err := net.InterfaceByName(ifname)
				if err != nil {
					return err
				}
				c, err = net.ListenMulticastUDP("udp4", ifi, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 1), Port: natpmp.AnnouncePort})
				return err
			})
			return c, err
		},
		Dial: h.pc.Dial,
	})
	h.Cleanup(func() {
		m.Close()
		if h.Failed() {
			mu.Lock()
			defer mu.Unlock()
			h.Log(log.String())
		}
	})
	return m
}

// locked is a writer for several goroutines.
type locked struct {
	mu *sync.Mutex
	w  *strings.Builder
}

func (l locked) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(b)
}

// reaches reports whether what the server sends to an address arrives at the socket.
func (h *home) reaches(network string, to netip.AddrPort, at net.PacketConn) bool {
	h.Helper()
	c := h.listen(h.server, network, map[string]netip.Addr{"udp4": netip.IPv4Unspecified(), "udp6": netip.IPv6Unspecified()}[network], 0)
	defer c.Close()
	token := []byte(c.LocalAddr().String())
	for range 3 {
		_, err := c.WriteTo(token, net.UDPAddrFromAddrPort(to))
		h.must(err)
		_ = at.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		b := make([]byte, 100)
		if n, from, err := at.ReadFrom(b); err == nil && string(b[:n]) == string(token) {
			_, err = at.WriteTo(token, from)
			h.must(err)
			_ = c.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
			if n, back, err := c.ReadFrom(b); err == nil && string(b[:n]) == string(token) && back.String() == to.String() {
				return true
			}
		}
	}
	return false
}

// TestPortMapping opens a port on a router with miniupnpd, in each protocol, keeps it open
// over a restart of the router, and closes it.
func TestPortMapping(t *testing.T) {
	for _, via := range []portmap.Protocol{portmap.PMP, portmap.PCP, portmap.UPnP, ""} {
		name := string(via)
		if name == "" {
			name = "all"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHome(t)
			sock := h.listen(h.pc, "udp4", netip.IPv4Unspecified(), homePort)
			defer sock.Close()
			m := h.mapper(via)
			m.Set(portmap.Want{Port4: homePort})
			mapped := func() bool { return m.State().External.IsValid() }
			h.within(10*time.Second, "a port is mapped", mapped)
			s := m.State()
			if s.External.Addr().String() != homeOuter || s.DoubleNAT || via != "" && s.Via != via {
				t.Errorf("state %+v", s)
			}
			if !h.reaches("udp4", s.External, sock) {
				t.Errorf("%v does not lead to the machine", s.External)
			}
			if via == "" {
				if got := m.Probe(context.Background()); got != (portmap.Services{PMP: control.True, PCP: control.True, UPnP: control.True}) {
					t.Errorf("services %+v", got)
				}
			}

			// The protocols allow for clocks that differ by 2 s, and some.
			h.within(20*time.Second, "the router is old enough for a restart to show", func() bool { return h.age() > 4 })
			h.reboot()
			if via == portmap.UPnP {
				m.LinkChanged() // UPnP does not tell of restarts in a way that is heard
			}
			h.within(20*time.Second, "the port is open after a restart of the router", func() bool {
				return mapped() && h.reaches("udp4", m.State().External, sock)
			})

			last := m.State().External
			m.Close()
			if h.reaches("udp4", last, sock) {
				t.Errorf("%v is open after Close", last)
			}
		})
	}
}

// TestPinhole opens the IPv6 firewall of a router with miniupnpd.
func TestPinhole(t *testing.T) {
	h := newHome(t)
	sock := h.listen(h.pc, "udp6", netip.MustParseAddr(homePC6), homePort)
	defer sock.Close()
	to := netip.AddrPortFrom(netip.MustParseAddr(homePC6), homePort)
	if h.reaches("udp6", to, sock) {
		t.Fatal("the firewall is open by itself")
	}
	m := h.mapper("")
	m.Set(portmap.Want{Port6: homePort})
	h.within(10*time.Second, "there is a pinhole", func() bool { return m.State().Pinhole == to })
	if !h.reaches("udp6", to, sock) {
		t.Error("it does not lead to the machine")
	}
	m.Close()
	if h.reaches("udp6", to, sock) {
		t.Error("it is open after Close")
	}
}
