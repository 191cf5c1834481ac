package portmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/netmon"
	"github.com/ginnel/ginnel/wire/natpmp"
	"github.com/ginnel/ginnel/wire/pcp"
	"github.com/ginnel/ginnel/wire/upnp"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestJudgeAddr(t *testing.T) {
	for _, c := range []struct {
		external, self string
		usable, public bool
	}{
		{"203.0.113.5", "192.168.1.10", true, true},
		{"1.1.1.1", "100.70.1.2", true, true},
		{"0.0.0.0", "192.168.1.10", false, false},
		{"0.1.2.3", "192.168.1.10", false, false},
		{"127.0.0.1", "192.168.1.10", false, false},
		{"169.254.1.1", "192.168.1.10", false, false},
		{"224.0.0.251", "192.168.1.10", false, false},
		{"255.255.255.255", "192.168.1.10", false, false},
		{"240.0.0.1", "192.168.1.10", false, false},
		{"192.168.1.10", "192.168.1.10", false, false}, // ourselves
		{"192.168.1.1", "192.168.1.10", false, false},  // the gateway's inside
		{"192.168.2.2", "192.168.1.10", true, false},
		{"10.0.0.1", "192.168.1.10", true, false},
		{"172.31.255.255", "192.168.1.10", true, false},
		{"172.32.0.1", "192.168.1.10", true, true},
		{"100.64.0.1", "192.168.1.10", true, false},
		{"100.127.255.255", "192.168.1.10", true, false},
		{"100.128.0.1", "192.168.1.10", true, true},
		{"192.0.0.2", "192.168.1.10", true, false}, // DS-Lite
		{"2001:db8::1", "192.168.1.10", false, false},
		{"203.0.113.5", "2001:db8::1", false, false},
		{"2001:db8::1", "2001:db8::1", true, true},
		{"fd00::1", "2001:db8::1", false, false},
		{"fe80::1", "2001:db8::1", false, false},
		{"::", "2001:db8::1", false, false},
		{"::1", "2001:db8::1", false, false},
		{"ff02::1", "2001:db8::1", false, false},
	} {
		usable, public := judgeAddr(addr(c.external), addr(c.self), addr("192.168.1.1"))
		if usable != c.usable || public != c.public {
			t.Errorf("%s for %s: usable %v, public %v", c.external, c.self, usable, public)
		}
	}
	if usable, _ := judgeAddr(netip.Addr{}, addr("192.168.1.10"), addr("192.168.1.1")); usable {
		t.Error("no address is usable")
	}
}

func TestRepoint(t *testing.T) {
	d := &device{gateway: addr("192.168.1.1")}
	for from, want := range map[string]string{
		"http://192.168.1.1:5000/rootDesc.xml":    "http://192.168.1.1:5000/rootDesc.xml",
		"http://10.0.0.138/x?y=z":                 "http://192.168.1.1:80/x?y=z",
		"http://evil.example:22/":                 "http://192.168.1.1:22/",
		"http://user:pw@router.lan:80/a%20b":      "http://192.168.1.1:80/a%20b",
		"http://[fe80::1]:5000/d.xml":             "http://192.168.1.1:5000/d.xml",
		"https://192.168.1.1/":                    "",
		"file:///etc/passwd":                      "",
		"http://192.168.1.1:0/":                   "",
		"http:192.168.1.1":                        "",
		"/rootDesc.xml":                           "",
		"gopher://192.168.1.1:70/1":               "",
		"http:///x":                               "",
		"http://192.168.1.1:5000/../../etc#frag":  "http://192.168.1.1:5000/../../etc",
		"http://192.168.1.1:5000/%2e%2e/rootDesc": "http://192.168.1.1:5000/%2e%2e/rootDesc",
	} {
		u, err := url.Parse(from)
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.repoint(u)
		if (err != nil) != (want == "") || err == nil && got.String() != want {
			t.Errorf("%s became %v, %v", from, got, err)
		}
	}
}

// nobody is a socket to which nothing comes.
type nobody struct{ net.PacketConn }

func (nobody) WriteTo(b []byte, _ net.Addr) (int, error)       { return len(b), nil }
func (nobody) ReadFrom([]byte) (int, net.Addr, error)          { return 0, nil, net.ErrClosed }
func (nobody) Close() error                                    { return nil }
func (nobody) SetReadDeadline(time.Time) error                 { return nil }
func nowhere(string, netip.Addr) (net.PacketConn, error)       { return nobody{}, nil }
func nothing(string) (net.PacketConn, error)                   { return nil, errors.New("deaf") }
func noDial(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") }

// idle returns a session whose loop does not run: the test is the loop.
func idle(t testing.TB) *session {
	m := &Mapper{log: slog.New(slog.DiscardHandler), releasing: map[releaseKey]int{}, news: make(chan struct{}, 1)}
	m.opts = Options{
		Secret: []byte("secret"), ListenPacket: nowhere, ListenAnnouncements: nothing, Dial: noDial,
		Gateways: func() (netmon.Gateways, error) { return netmon.Gateways{}, nil },
	}
	m.opts.fill()
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.cancel() // so that jobs end at once
	m.state.Store(&State{})
	m.four = m.newSession(sessionKey{addr("192.168.1.1"), addr("192.168.1.10"), "eth0", 41641}, nil)
	t.Cleanup(m.jobs.Wait)
	return m.four
}

var fromGateway = netip.MustParseAddrPort("192.168.1.1:5351")

// TestSpoofed ignores grants that are perfect but for their sender.
func TestSpoofed(t *testing.T) {
	s := idle(t)
	s.begin(race, time.Now())
	address := natpmp.Response{Op: natpmp.OpExternal, Address: addr("203.0.113.5"), Epoch: 9}.Append(nil)
	mapped := natpmp.Response{Op: natpmp.OpMapUDP, Internal: 41641, External: 5000, Lifetime: 7200, Epoch: 9}.Append(nil)
	grant := pcp.Response{Op: pcp.OpMap, Lifetime: 7200, Epoch: 9, Map: pcp.Map{
		Nonce: s.nonce, Protocol: pcp.UDP, Internal: 41641, External: netip.MustParseAddrPort("203.0.113.5:5000"),
	}}.Append(nil)
	for _, from := range []string{"192.168.1.66:5351", "192.168.1.1:5350", "203.0.113.1:5351"} {
		for _, b := range [][]byte{address, mapped, grant} {
			s.packet(netip.MustParseAddrPort(from), b)
			s.announced(netip.MustParseAddrPort(from), b)
		}
	}
	if s.held != nil || len(s.seen) != 0 {
		t.Fatalf("believed %+v, seen %v", s.held, s.seen)
	}
	s.packet(fromGateway, grant)
	if s.held == nil || s.held.external != netip.MustParseAddrPort("203.0.113.5:5000") || s.held.via != PCP {
		t.Errorf("the gateway is not believed: %+v", s.held)
	}
}

// race begins one and lets NAT-PMP answer.
func (s *session) raceByPMP(external string, port uint16) {
	s.begin(race, time.Now())
	s.packet(fromGateway, natpmp.Response{Op: natpmp.OpExternal, Address: addr(external)}.Append(nil))
	s.packet(fromGateway, natpmp.Response{Op: natpmp.OpMapUDP, Internal: 41641, External: port, Lifetime: 7200}.Append(nil))
}

func (s *session) grantByPCP(external string) {
	s.packet(fromGateway, pcp.Response{Op: pcp.OpMap, Lifetime: 7200, Map: pcp.Map{
		Nonce: s.nonce, Protocol: pcp.UDP, Internal: 41641, External: netip.MustParseAddrPort(external),
	}}.Append(nil))
}

// TestLosers takes back what came second, unless it is the first by another name.
func TestLosers(t *testing.T) {
	for _, c := range []struct {
		second   string
		released int
	}{{"203.0.113.5:5000", 0}, {"203.0.113.5:5001", 1}} {
		s := idle(t)
		s.raceByPMP("203.0.113.5", 5000)
		first := s.held
		if first == nil || first.via != PMP {
			t.Fatalf("held %+v", first)
		}
		renewAt := s.renewAt
		s.grantByPCP(c.second)
		if s.held != first || s.m.releasing[s.releaseKey()] != c.released {
			t.Errorf("%s: held %+v, %d released", c.second, s.held, s.m.releasing[s.releaseKey()])
		}
		// Taking back may have taken the other away as well.
		if (s.renewAt != renewAt) != (c.released > 0) || time.Until(s.renewAt) > time.Minute && c.released > 0 {
			t.Errorf("%s: next renewal in %v", c.second, time.Until(s.renewAt))
		}
	}
}

// TestSpare keeps a mapping behind another NAT only until there is a better one.
func TestSpare(t *testing.T) {
	s := idle(t)
	s.raceByPMP("10.0.0.7", 5000)
	if s.held != nil || s.round == nil || s.round.spare == nil {
		t.Fatalf("held %+v, round %+v", s.held, s.round)
	}
	s.grantByPCP("203.0.113.5:5001")
	if s.held == nil || s.held.via != PCP || s.held.doubleNAT || s.m.releasing[s.releaseKey()] != 1 {
		t.Errorf("held %+v, %v released", s.held, s.m.releasing)
	}
	s = idle(t)
	s.raceByPMP("10.0.0.7", 5000)
	s.tick(time.Now().Add(searchTime))
	if s.held == nil || !s.held.doubleNAT || s.held.external.String() != "10.0.0.7:5000" || len(s.m.releasing) != 0 {
		t.Errorf("held %+v, %v released", s.held, s.m.releasing)
	}
}

// TestMovedAddress notices that the gateway has another external address.
func TestMovedAddress(t *testing.T) {
	s := idle(t)
	s.raceByPMP("203.0.113.5", 5000)
	s.announced(fromGateway, natpmp.Response{Op: natpmp.OpExternal, Address: addr("203.0.113.6")}.Append(nil))
	if time.Until(s.renewAt) > renewSpacing {
		t.Errorf("next renewal in %v", time.Until(s.renewAt))
	}
}

// TestNonces differ with what they are for, and repeat.
func TestNonces(t *testing.T) {
	s := idle(t)
	again := s.m.newSession(s.key, nil)
	if s.nonce == (pcp.Nonce{}) || again.nonce != s.nonce {
		t.Errorf("nonces %x and %x", s.nonce, again.nonce)
	}
	for _, k := range []sessionKey{
		{addr("192.168.1.2"), s.key.self, "eth0", s.key.port}, {s.key.gateway, addr("192.168.1.11"), "eth0", s.key.port}, {s.key.gateway, s.key.self, "eth0", 1},
	} {
		if s.m.newSession(k, nil).nonce == s.nonce {
			t.Errorf("%+v has the same nonce", k)
		}
	}
}

// TestFlood does not even look at more answers to a search than there can be.
func TestFlood(t *testing.T) {
	s := idle(t)
	s.begin(race, time.Now())
	for i := range 2 * maxSearchMsgs {
		a := upnp.Answer{Location: fmt.Sprintf("http://192.168.1.1:%d/", 1000+i), Target: upnp.SearchGateway}
		s.packet(netip.MustParseAddrPort("192.168.1.66:1900"), a.Append(nil))
	}
	own := upnp.Answer{Location: "http://192.168.1.1:5000/", Target: upnp.SearchGateway}.Append(nil)
	if n := len(s.round.candidates); n != maxCandidates/2 {
		t.Errorf("%d devices are remembered", n)
	}
	if n := testing.AllocsPerRun(100, func() { s.packet(netip.MustParseAddrPort("192.168.1.1:1900"), own) }); n != 0 {
		t.Errorf("%v allocations for an answer that is one too many", n)
	}
	s.end()
}

// FuzzAnswers has the gateway send anything at any time. What is held in the end makes
// sense, and there is not more of anything than there may be.
func FuzzAnswers(f *testing.F) {
	s := idle(f)
	address := natpmp.Response{Op: natpmp.OpExternal, Address: addr("203.0.113.5"), Epoch: 9}.Append(nil)
	mapped := natpmp.Response{Op: natpmp.OpMapUDP, Internal: 41641, External: 5000, Lifetime: 7200, Epoch: 9}.Append(nil)
	grant := pcp.Response{Op: pcp.OpMap, Lifetime: 7200, Map: pcp.Map{
		Nonce: s.nonce, Protocol: pcp.UDP, Internal: 41641, External: netip.MustParseAddrPort("203.0.113.5:5000"),
	}}.Append(nil)
	search := upnp.Answer{Location: "http://192.168.1.1:5000/x", Target: upnp.SearchGateway}.Append(nil)
	f.Add(address, mapped, uint16(0))
	f.Add(grant, address, uint16(3))
	f.Add(search, search, uint16(0x14))
	f.Add(pcp.Response{Op: pcp.OpAnnounce}.Append(nil), natpmp.AppendRefusal(nil, mapped, natpmp.UnsupportedVersion, 1), uint16(0))
	f.Fuzz(func(t *testing.T, a, b []byte, how uint16) {
		s := idle(t)
		now := time.Now()
		s.begin(race, now)
		for i, x := range [][]byte{a, b, a, b} {
			from := fromGateway
			if how>>(2*i)&1 != 0 {
				from = netip.MustParseAddrPort("192.168.1.1:1900")
			}
			s.packet(from, x)
			if how>>(2*i)&2 != 0 {
				s.announced(from, x)
				s.tick(now.Add(time.Duration(i) * time.Hour))
			}
		}
		if h := s.held; h != nil {
			usable, public := judgeAddr(h.external.Addr(), s.key.self, s.key.gateway)
			if !usable || public == h.doubleNAT || h.internal != s.internal() || h.external.Port() == 0 || h.expires.Before(h.renewAt) {
				t.Fatalf("holds %+v", h)
			}
		}
		if r := s.round; r != nil && len(r.candidates) > maxCandidates {
			t.Fatalf("%d devices", len(r.candidates))
		}
		s.close(true)
	})
}
