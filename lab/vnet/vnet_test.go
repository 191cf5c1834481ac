package vnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func addr(s string) netip.Addr         { return netip.MustParseAddr(s) }
func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
func prefix(s string) netip.Prefix     { return netip.MustParsePrefix(s) }

// world is a small internet: a server with two addresses, and homes made by home.
type world struct {
	*testing.T
	*Network
	core   *Segment
	server *Host
	count  int
}

var line = Link{Latency: 10 * time.Millisecond}

// in runs a test in a bubble with a world.
func in(t *testing.T, seed uint64, f func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, Network: New(seed)}
		defer w.Close()
		w.core = w.Internet("internet")
		w.server = w.Host("server")
		w.server.Plug(w.core, line, prefix("198.51.100.1/24"), prefix("198.51.100.2/24"), prefix("2001:db8:1::1/64"))
		f(w)
	})
}

// home returns a router with the given NAT and a host behind it.
func (w *world) home(kind NAT) (*Router, *Host) {
	w.count++
	r := w.Router(fmt.Sprintf("home%d", w.count))
	lan := w.LAN(fmt.Sprintf("lan%d", w.count))
	r.Outside(w.core, line, netip.PrefixFrom(netip.AddrFrom4([4]byte{203, 0, 113, byte(w.count)}), 24))
	r.Inside(lan, prefix("192.168.1.1/24"))
	r.Translate(kind)
	return r, w.inside(lan, fmt.Sprintf("pc%d", w.count), "192.168.1.10")
}

// inside returns a host on a home's LAN.
func (w *world) inside(lan *Segment, name, ip string) *Host {
	h := w.Host(name)
	h.Plug(lan, Link{}, prefix(ip+"/24")).Via(addr("192.168.1.1"))
	return h
}

// udp opens a socket.
func (w *world) udp(h *Host, ip string, port uint16) *UDPConn {
	w.Helper()
	a := netip.Addr{}
	if ip != "" {
		a = addr(ip)
	}
	c, err := h.ListenUDP("udp", a, port)
	if a.IsValid() && a.Is4() || !a.IsValid() {
		if err == nil {
			return c
		}
	}
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// send sends a text.
func (w *world) send(c *UDPConn, to netip.AddrPort, text string) {
	w.Helper()
	if _, err := c.WriteToUDPAddrPort([]byte(text), to); err != nil {
		w.Fatal(err)
	}
}

// recv waits up to a second for a datagram; it returns "" if none came.
func (w *world) recv(c *UDPConn) (string, netip.AddrPort) {
	w.Helper()
	_ = c.SetReadDeadline(time.Now().Add(time.Second))
	buf := make([]byte, 2000)
	n, from, err := c.ReadFromUDPAddrPort(buf)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "", from
	}
	if err != nil {
		w.Fatal(err)
	}
	return string(buf[:n]), from
}

// seen returns the outer address of what c sends to a server's socket.
func (w *world) seen(c, at *UDPConn, to netip.AddrPort) netip.AddrPort {
	w.Helper()
	w.send(c, to, "who am I")
	text, from := w.recv(at)
	if text == "" {
		w.Fatalf("nothing came from %v to %v\n%s", c.LocalAddr(), to, w.Last(20))
	}
	return from
}

func TestLatencyIsExact(t *testing.T) {
	in(t, 1, func(w *world) {
		_, pc := w.home(FullCone)
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		start := time.Now()
		from := w.seen(c, s, addrPort("198.51.100.1:1000"))
		if d := time.Since(start); d < 20*time.Millisecond || d > 21*time.Millisecond {
			w.Errorf("one way took %v", d)
		}
		if want := addrPort("203.0.113.1:2000"); from != want {
			w.Errorf("seen as %v, want %v", from, want)
		}
		w.send(s, from, "pong")
		if text, _ := w.recv(c); text != "pong" {
			w.Errorf("got %q", text)
		}
		if rtt, err := pc.Ping(context.Background(), addr("198.51.100.1")); err != nil || rtt < 40*time.Millisecond || rtt > 41*time.Millisecond {
			w.Errorf("ICMP echo: %v, %v", rtt, err)
		}
	})
}

// TestNATKinds looks at every combination from both sides.
func TestNATKinds(t *testing.T) {
	kinds := []Dependence{EndpointIndependent, AddressDependent, AddressAndPortDependent}
	for _, m := range kinds {
		for _, f := range kinds {
			t.Run(fmt.Sprintf("mapping%d filtering%d", m, f), func(t *testing.T) {
				in(t, 7, func(w *world) {
					_, pc := w.home(NAT{Mapping: m, Filtering: f, Ports: Random})
					a, b := w.udp(w.server, "198.51.100.1", 1000), w.udp(w.server, "198.51.100.1", 1001)
					o := w.udp(w.server, "198.51.100.2", 1000)
					c := w.udp(pc, "", 2000)
					first := w.seen(c, a, addrPort("198.51.100.1:1000"))
					// Who may answer that mapping?
					for _, probe := range []struct {
						from *UDPConn
						ok   bool
					}{{a, true}, {b, f != AddressAndPortDependent}, {o, f == EndpointIndependent}} {
						w.send(probe.from, first, "x")
						if text, _ := w.recv(c); (text != "") != probe.ok {
							w.Errorf("packet from %v came in: %v", probe.from.LocalAddr(), text != "")
						}
					}
					// Is it the same towards others?
					if same := w.seen(c, b, addrPort("198.51.100.1:1001")) == first; same != (m != AddressAndPortDependent) {
						w.Errorf("same mapping for another port: %v", same)
					}
					if same := w.seen(c, o, addrPort("198.51.100.2:1000")) == first; same != (m == EndpointIndependent) {
						w.Errorf("same mapping for another address: %v", same)
					}
				})
			})
		}
	}
}

func TestPortAllocation(t *testing.T) {
	sequence := func(w *world, kind NAT, n int) (ports []int) {
		_, pc := w.home(kind)
		c := w.udp(pc, "", 2000)
		for i := range n {
			s := w.udp(w.server, "198.51.100.1", uint16(3000+i))
			ports = append(ports, int(w.seen(c, s, netip.AddrPortFrom(addr("198.51.100.1"), uint16(3000+i))).Port()))
			s.Close()
		}
		return ports
	}
	hard := NAT{Mapping: AddressAndPortDependent, Filtering: AddressAndPortDependent}
	in(t, 3, func(w *world) {
		kind := hard
		kind.Ports, kind.Step = Sequential, 2
		p := sequence(w, kind, 5)
		for i := 1; i < len(p); i++ {
			if p[i]-p[i-1] != 2 {
				w.Errorf("ports %v, want steps of 2", p)
			}
		}
		kind.Ports, kind.Block = Random, 64
		p = sequence(w, kind, 40)
		lo, hi := p[0], p[0]
		for _, x := range p {
			lo, hi = min(lo, x), max(hi, x)
		}
		if hi-lo >= 64 {
			w.Errorf("ports from %d to %d, want a block of 64", lo, hi)
		}
		kind.Block = 0
		if p = sequence(w, kind, 20); p[1]-p[0] == p[2]-p[1] && p[2]-p[1] == p[3]-p[2] {
			w.Errorf("ports %v are not random", p)
		}
		for _, x := range sequence(w, Linux, 3) {
			if x != 2000 {
				w.Errorf("Linux gave port %d", x)
			}
		}
		kind.Block = 8
		r, pc := w.home(kind)
		c := w.udp(pc, "", 2000)
		for i := range 10 {
			w.send(c, netip.AddrPortFrom(addr("198.51.100.1"), uint16(5000+i)), "x")
		}
		time.Sleep(time.Second)
		if n, none := r.Mappings(); n != 8 || none != 2 {
			w.Errorf("%d mappings and %d packets without a port, want 8 and 2", n, none)
		}
	})
}

func TestMappingsExpire(t *testing.T) {
	in(t, 1, func(w *world) {
		kind := PortRestrictedCone
		kind.Timeout, kind.Unreplied = 60*time.Second, 30*time.Second
		_, pc := w.home(kind)
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		reach := func(want bool) {
			w.Helper()
			w.send(s, addrPort("203.0.113.1:2000"), "x")
			if text, _ := w.recv(c); (text != "") != want {
				w.Errorf("reached from outside: %v", text != "")
			}
		}
		w.seen(c, s, addrPort("198.51.100.1:1000"))
		time.Sleep(31 * time.Second)
		reach(false)
		w.seen(c, s, addrPort("198.51.100.1:1000"))
		time.Sleep(20 * time.Second)
		reach(true)
		time.Sleep(50 * time.Second)
		reach(true)
		time.Sleep(61 * time.Second)
		reach(false)
	})
}

func TestHairpinAndMapPort(t *testing.T) {
	in(t, 1, func(w *world) {
		for _, hairpin := range []bool{false, true} {
			kind := Symmetric
			kind.Hairpin = hairpin
			r, a := w.home(kind)
			b := w.inside(r.inner[0].seg, "other", "192.168.1.11")
			ca, cb := w.udp(a, "", 2000), w.udp(b, "", 2000)
			outer := r.MapPort(UDP, addrPort("192.168.1.10:2000"), 7777, time.Hour)
			if want := netip.AddrPortFrom(r.outer.Addr(true), 7777); outer != want {
				w.Fatalf("mapped to %v, want %v", outer, want)
			}
			s := w.udp(w.server, "", 0)
			w.send(s, outer, "in")
			text, from := w.recv(ca)
			if text != "in" {
				w.Fatalf("through the mapped port came %q\n%s", text, w.Last(10))
			}
			w.send(ca, from, "back")
			if text, from := w.recv(s); text != "back" || from != outer {
				w.Errorf("answer %q came from %v, want %v", text, from, outer)
			}
			w.send(cb, outer, "hairpin")
			if text, _ := w.recv(ca); (text != "") != hairpin {
				w.Errorf("hairpin %v, but came in: %v", hairpin, text != "")
			}
			r.UnmapPort(UDP, addrPort("192.168.1.10:2000"))
			w.send(s, outer, "in")
			if text, _ := w.recv(ca); text != "" {
				w.Error("port is open after it was given back")
			}
			s.Close()
		}
	})
}

func TestCarrierNAT(t *testing.T) {
	in(t, 1, func(w *world) {
		isp := w.Router("isp")
		inner := w.LAN("carrier")
		isp.Outside(w.core, line, prefix("203.0.113.200/24"))
		isp.Inside(inner, prefix("100.64.0.1/24"))
		isp.Translate(Symmetric)
		home := w.Router("home")
		lan := w.LAN("lan")
		home.Outside(inner, Link{Latency: time.Millisecond}, prefix("100.64.0.2/24")).Via(addr("100.64.0.1"))
		home.Inside(lan, prefix("192.168.1.1/24"))
		home.Translate(PortRestrictedCone)
		c := w.udp(w.inside(lan, "pc", "192.168.1.10"), "", 2000)
		a, b := w.udp(w.server, "198.51.100.1", 1), w.udp(w.server, "198.51.100.2", 1)
		x, y := w.seen(c, a, addrPort("198.51.100.1:1")), w.seen(c, b, addrPort("198.51.100.2:1"))
		if x.Addr() != addr("203.0.113.200") || x == y {
			w.Errorf("seen as %v and %v, want two ports of the carrier", x, y)
		}
		w.send(a, x, "down")
		if text, _ := w.recv(c); text != "down" {
			w.Errorf("got %q", text)
		}
	})
}

func TestFirewallAndIPv6(t *testing.T) {
	in(t, 1, func(w *world) {
		r := w.Router("home")
		lan := w.LAN("lan")
		out := r.Outside(w.core, line, prefix("2001:db8:2::1/64"))
		r.Inside(lan, prefix("2001:db8:22::1/64"))
		w.core.Route(prefix("2001:db8:22::/64"), out)
		r.Firewall6(AddressAndPortDependent, 0)
		pc := w.Host("pc")
		pc.Plug(lan, Link{}, prefix("2001:db8:22::10/64")).Via(addr("2001:db8:22::1"))
		c, err := pc.ListenUDP("udp6", netip.Addr{}, 2000)
		if err != nil {
			w.Fatal(err)
		}
		s := w.udp(w.server, "2001:db8:1::1", 1000)
		w.send(s, addrPort("[2001:db8:22::10]:2000"), "uninvited")
		if text, _ := w.recv(c); text != "" {
			w.Errorf("the firewall let %q in", text)
		}
		if from := w.seen(c, s, addrPort("[2001:db8:1::1]:1000")); from != addrPort("[2001:db8:22::10]:2000") {
			w.Errorf("seen as %v", from)
		}
		w.send(s, addrPort("[2001:db8:22::10]:2000"), "answer")
		if text, _ := w.recv(c); text != "answer" {
			w.Errorf("got %q", text)
		}
		if _, err := c.WriteToUDPAddrPort([]byte("x"), addrPort("198.51.100.1:1")); !errors.Is(err, syscall.EAFNOSUPPORT) {
			w.Errorf("IPv4 from an IPv6 socket: %v", err)
		}
	})
}

func TestNAT64(t *testing.T) {
	in(t, 1, func(w *world) {
		pool := prefix("64:ff9b::/96")
		r := w.Router("mobile")
		lan := w.LAN("lan")
		r.Outside(w.core, line, prefix("203.0.113.9/24"), prefix("2001:db8:2::1/64"))
		r.Inside(lan, prefix("2001:db8:22::1/64"))
		r.NAT64(pool, PortRestrictedCone)
		if err := r.ServeNames(pool); err != nil {
			w.Fatal(err)
		}
		w.Name("v4only.test", addr("198.51.100.1"))
		pc := w.Host("pc")
		pc.Plug(lan, Link{}, prefix("2001:db8:22::10/64")).Via(addr("2001:db8:22::1"))
		pc.Resolver(addr("2001:db8:22::1"))
		l, err := w.server.ListenTCP("tcp", netip.Addr{}, 80)
		if err != nil {
			w.Fatal(err)
		}
		go func() {
			_ = http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, r.RemoteAddr) }))
		}()
		hc := &http.Client{Transport: &http.Transport{DialContext: pc.Dial, DisableKeepAlives: true}}
		resp, err := hc.Get("http://v4only.test/")
		if err != nil {
			w.Fatalf("%v\n%s", err, w.Last(30))
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if from, err := netip.ParseAddrPort(string(body)); err != nil || from.Addr() != addr("203.0.113.9") {
			w.Errorf("the server saw %q", body)
		}
		l.Close()
		if _, err := pc.Lookup(context.Background(), "nobody.test"); err == nil {
			w.Error("found a name that does not exist")
		}
	})
}

func TestCaptivePortalAndBlocks(t *testing.T) {
	in(t, 1, func(w *world) {
		r, pc := w.home(FullCone)
		serve := func(h *Host, text string, port uint16) {
			l, err := h.ListenTCP("tcp4", netip.Addr{}, port)
			if err != nil {
				w.Fatal(err)
			}
			w.Cleanup(func() { l.Close() })
			go func() {
				_ = http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { io.WriteString(rw, text) }))
			}()
		}
		serve(w.server, "the world", 80)
		serve(r.Host, "please log in", 8080)
		hc := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DialContext: pc.Dial, DisableKeepAlives: true}}
		get := func() string {
			resp, err := hc.Get("http://198.51.100.1/")
			if err != nil {
				return "error"
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			return string(body)
		}
		r.Portal(8080)
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		if got := get(); got != "please log in" {
			w.Errorf("behind the portal: %q\n%s", got, w.Last(20))
		}
		w.send(c, addrPort("198.51.100.1:1000"), "x")
		if text, _ := w.recv(s); text != "" {
			w.Error("UDP passed the portal")
		}
		r.Release()
		if got := get(); got != "the world" {
			w.Errorf("after the portal: %q", got)
		}
		r.Block(false, IsUDP)
		w.send(c, addrPort("198.51.100.1:1000"), "x")
		if text, _ := w.recv(s); text != "" {
			w.Error("UDP passed the block")
		}
		r.Block(true, NotWeb)
		if _, err := pc.Dial(context.Background(), "tcp", "198.51.100.1:22"); !errors.Is(err, syscall.EACCES) {
			w.Errorf("blocked port: %v", err)
		}
		if got := get(); got != "the world" {
			w.Errorf("the web: %q", got)
		}
	})
}

// TestTCPThroughAnything moves data both ways over bad lines.
func TestTCPThroughAnything(t *testing.T) {
	lines := map[string]Link{
		"good":    {Latency: 10 * time.Millisecond},
		"lossy":   {Latency: 10 * time.Millisecond, Loss: 0.05, Jitter: 5 * time.Millisecond, Reorder: 0.05, Duplicate: 0.02},
		"thin":    {Latency: 30 * time.Millisecond, Bandwidth: 2_000_000, Queue: 32 << 10},
		"narrow":  {Latency: 10 * time.Millisecond, MTU: 900},
		"instant": {},
	}
	for name, l := range lines {
		t.Run(name, func(t *testing.T) {
			in(t, 5, func(w *world) {
				r, pc := w.home(Symmetric)
				r.outer.SetLink(func(x *Link) { *x = l })
				ln, err := w.server.ListenTCP("tcp", netip.Addr{}, 443)
				if err != nil {
					w.Fatal(err)
				}
				data := bytes.Repeat([]byte("ginnel "), 60_000)
				go func() {
					c, err := ln.Accept()
					if err != nil {
						return
					}
					b, _ := io.ReadAll(c)
					_, _ = c.Write(b)
					c.Close()
				}()
				c, err := pc.DialTCP(context.Background(), addrPort("198.51.100.1:443"))
				if err != nil {
					w.Fatal(err)
				}
				go func() {
					_, _ = c.Write(data)
					_ = c.CloseWrite()
				}()
				back, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(back, data) {
					w.Errorf("%d bytes came back of %d: %v\n%s", len(back), len(data), err, w.Last(30))
				}
				c.Close()
				ln.Close()
				time.Sleep(time.Minute)
				w.mu.Lock()
				defer w.mu.Unlock()
				if n, m := len(pc.tcp), len(w.server.tcp); n+m != 0 {
					w.Errorf("%d and %d connections are left", n, m)
				}
			})
		})
	}
}

func TestTCPErrors(t *testing.T) {
	in(t, 1, func(w *world) {
		r, pc := w.home(PortRestrictedCone)
		ctx := context.Background()
		if _, err := pc.DialTCP(ctx, addrPort("198.51.100.1:9")); !errors.Is(err, syscall.ECONNREFUSED) {
			w.Errorf("nobody listens: %v", err)
		}
		short, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		if _, err := pc.DialTCP(short, addrPort("198.51.100.77:9")); !errors.Is(err, syscall.ETIMEDOUT) {
			w.Errorf("nobody there: %v", err)
		}
		ln, err := w.server.ListenTCP("tcp", netip.Addr{}, 443)
		if err != nil {
			w.Fatal(err)
		}
		if _, err := w.server.ListenTCP("tcp", netip.Addr{}, 443); !errors.Is(err, syscall.EADDRINUSE) {
			w.Errorf("port in use: %v", err)
		}
		c, err := pc.DialTCP(ctx, addrPort("198.51.100.1:443"))
		if err != nil {
			w.Fatal(err)
		}
		s, err := ln.Accept()
		if err != nil {
			w.Fatal(err)
		}
		if err := c.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			w.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			w.Errorf("deadline: %v", err)
		}
		_ = c.SetReadDeadline(time.Time{})
		// A NAT that has forgotten the flow makes the next segment a stranger, who is reset
		// when the server answers nothing known; here the server's segments vanish instead.
		r.Reboot()
		start := time.Now()
		if _, err := s.Write([]byte("into the void")); err != nil {
			w.Fatal(err)
		}
		_, err = s.Read(make([]byte, 1))
		if !errors.Is(err, syscall.ETIMEDOUT) || time.Since(start) < 5*time.Minute {
			w.Errorf("write into the void ended after %v by %v", time.Since(start), err)
		}
		// The client's next word reaches a server that has forgotten, and is told so.
		if _, err := c.Write([]byte("hello?")); err != nil {
			w.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			w.Errorf("after the other side is gone: %v", err)
		}
		c.Close()
		ln.Close()
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			w.Errorf("closed listener: %v", err)
		}
	})
}

// TestSameSeedSameNetwork runs a busy exchange twice.
func TestSameSeedSameNetwork(t *testing.T) {
	run := func(seed uint64) (sum uint64) {
		in(t, seed, func(w *world) {
			w.server.ports[0].SetLink(func(l *Link) { l.Loss, l.Jitter, l.Duplicate = 0.1, 5*time.Millisecond, 0.05 })
			s := w.udp(w.server, "", 1000)
			for i := range 8 {
				_, pc := w.home(Symmetric)
				c := w.udp(pc, "", uint16(2000+i))
				go func() {
					for k := range 50 {
						_, _ = c.WriteToUDPAddrPort(make([]byte, 100+k), addrPort("198.51.100.1:1000"))
						time.Sleep(time.Duration(i+1) * time.Millisecond)
					}
				}()
			}
			for {
				text, from := w.recv(s)
				if text == "" {
					break
				}
				w.send(s, from, text)
			}
			_, sum = w.Packets()
		})
		return sum
	}
	a, b, c := run(1), run(1), run(2)
	if a != b {
		t.Errorf("one seed gave %x and %x", a, b)
	}
	if a == c {
		t.Error("two seeds gave the same")
	}
}

func TestRoaming(t *testing.T) {
	in(t, 1, func(w *world) {
		home, pc := w.home(PortRestrictedCone)
		cafe, _ := w.home(Symmetric)
		changed := make(chan struct{}, 10)
		stop := pc.Watch(func() { changed <- struct{}{} })
		s, c := w.udp(w.server, "", 1000), w.udp(pc, "", 2000)
		at := addrPort("198.51.100.1:1000")
		if from := w.seen(c, s, at); from.Addr() != home.outer.Addr(true) {
			w.Errorf("at home seen as %v", from)
		}
		pc.ports[0].Move(cafe.inner[0].seg, []netip.Prefix{prefix("192.168.1.77/24")}, addr("192.168.1.1"))
		<-changed
		if from := w.seen(c, s, at); from.Addr() != cafe.outer.Addr(true) {
			w.Errorf("at the cafe seen as %v", from)
		}
		pc.ports[0].SetUp(false)
		<-changed
		if _, err := c.WriteToUDPAddrPort([]byte("x"), at); !errors.Is(err, syscall.ENETUNREACH) {
			w.Errorf("without a network: %v", err)
		}
		stop()
		pc.ports[0].SetUp(true)
		synctest.Wait()
		if len(changed) != 0 {
			w.Error("told after it asked not to be")
		}
	})
}
