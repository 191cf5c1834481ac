package netcheck

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/relay/stunserver"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/relay"
	"github.com/ginnel/ginnel/wire/stun"
)

// stunNet answers STUN requests in a synctest bubble.
type stunNet struct {
	c       *Client
	latency map[netip.Addr]time.Duration               // absent: no answer
	mapping func(server netip.AddrPort) netip.AddrPort // nil: always the same
	fail    func(server netip.AddrPort) error          // may be nil
	mu      sync.Mutex
	sent    []netip.AddrPort
}

var mapped = netip.MustParseAddrPort("203.0.113.7:41641")

func newStunNet() *stunNet {
	n := &stunNet{latency: map[netip.Addr]time.Duration{}}
	n.c = &Client{Send: n.send, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no TCP here")
	}}
	return n
}

func (n *stunNet) send(pkt []byte, to netip.AddrPort) error {
	n.mu.Lock()
	n.sent = append(n.sent, to)
	n.mu.Unlock()
	if n.fail != nil {
		if err := n.fail(to); err != nil {
			return err
		}
	}
	tx, err := stun.ParseRequest(pkt)
	if err != nil {
		return err
	}
	addr := mapped
	if to.Addr().Is6() {
		addr = netip.MustParseAddrPort("[2001:db8::7]:41641")
	}
	if n.mapping != nil {
		addr = n.mapping(to)
	}
	if d, ok := n.latency[to.Addr()]; ok {
		time.AfterFunc(d, func() { n.c.HandleSTUN(stun.AppendResponse(nil, tx, addr)) })
	}
	return nil
}

// answer makes a region's first node answer after d.
func (n *stunNet) answer(m *control.DERPMap, region int, d time.Duration) {
	node := m.Regions[region].Nodes[0]
	n.latency[netip.MustParseAddr(node.IPv4)] = d
	n.latency[netip.MustParseAddr(node.IPv6)] = d
}

func report(t *testing.T, c *Client, m *control.DERPMap, req Request) *Report {
	t.Helper()
	r, err := c.Report(context.Background(), m, req)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(5)
		for id := range 5 {
			n.answer(m, id+1, time.Duration(10*(id+1))*ms)
		}
		began := time.Now()
		r := report(t, n.c, m, Request{})
		if took := time.Since(began); took > 200*ms {
			t.Errorf("took %v with answers after 10 to 50 ms", took)
		}
		if !r.Full || !r.UDP || !r.IPv4 || !r.IPv6 || r.Home != 1 || r.GlobalV4 != mapped || len(r.RegionLatency) < 3 {
			t.Errorf("report %+v", r)
		}
		if v, ok := r.MappingVariesByDestIP.Get(); !ok || v {
			t.Errorf("mapping varies: %v", r.MappingVariesByDestIP)
		}
		if r.RegionV4Latency[1] != 10*ms || r.RegionV6Latency[1] != 10*ms {
			t.Errorf("latencies %v and %v", r.RegionV4Latency, r.RegionV6Latency)
		}
		info := r.NetInfo()
		if info.PreferredDERP != 1 || info.DERPLatency["1-v4"] != 0.01 || !info.WorkingUDP.OrElse(false) {
			t.Errorf("net info %+v", info)
		}
		time.Sleep(time.Minute)
		n.sent = nil
		if r = report(t, n.c, m, Request{Home: 1}); r.Full || r.Home != 1 {
			t.Errorf("second report %+v", r)
		}
		if len(n.sent) > 6 {
			t.Errorf("%d requests in an incremental report", len(n.sent))
		}
		time.Sleep(5 * time.Minute)
		if r = report(t, n.c, m, Request{Home: 1}); !r.Full {
			t.Error("not full after five minutes")
		}
	})
}

// TestNamesAreResolvedOnceAndTogether has servers without addresses in the map, each of
// which takes several requests.
func TestNamesAreResolvedOnceAndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(4)
		var mu sync.Mutex
		asked := map[string]int{}
		addrs := map[string][]netip.Addr{}
		for id := range 4 {
			node := m.Regions[id+1].Nodes[0]
			node.HostName = fmt.Sprintf("r%d.test", id)
			addrs[node.HostName] = []netip.Addr{netip.MustParseAddr(node.IPv4), netip.MustParseAddr(node.IPv6)}
			node.IPv4, node.IPv6 = "", ""
			m.Regions[id+1].Nodes = m.Regions[id+1].Nodes[:1]
		}
		n.c.Lookup = func(_ context.Context, host string) ([]netip.Addr, error) {
			mu.Lock()
			asked[host]++
			mu.Unlock()
			time.Sleep(time.Second)
			return addrs[host], nil
		}
		n.c.HasIPv6 = func() bool { return false }
		began := time.Now()
		r := report(t, n.c, m, Request{STUNOnly: true}) // nobody answers
		if took := time.Since(began); took > stunTimeout {
			t.Errorf("took %v", took)
		}
		if len(asked) != 4 {
			t.Errorf("resolved %v, want four names", asked)
		}
		for host, times := range asked {
			if times != 1 {
				t.Errorf("%s was resolved %d times", host, times)
			}
		}
		to := map[netip.Addr]bool{}
		for _, a := range n.sent {
			to[a.Addr()] = true
		}
		if len(to) != 8 || r.OSHasIPv6 {
			t.Errorf("asked %v, IPv6 %v", to, r.OSHasIPv6)
		}
		n.c.HasIPv6 = func() bool { return true } // switched on meanwhile
		if r := report(t, n.c, m, Request{STUNOnly: true}); !r.OSHasIPv6 {
			t.Error("the answer of the first check was kept")
		}
	})
}

// TestOneRegion is fast: nobody waits for regions that do not exist, nor for IPv6 that
// does not answer.
func TestOneRegion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(1)
		n.latency[netip.MustParseAddr("192.0.2.1")] = ms
		began := time.Now()
		r := report(t, n.c, m, Request{})
		if took := time.Since(began); took > 100*ms || r.Home != 1 || r.IPv6 {
			t.Errorf("after %v: %+v", took, r)
		}
	})
}

func TestHardNAT(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(3)
		n.c.Families = func() (bool, bool) { return true, false }
		for id := range 3 {
			n.answer(m, id+1, 10*ms)
		}
		n.mapping = func(server netip.AddrPort) netip.AddrPort {
			return netip.AddrPortFrom(mapped.Addr(), 1000+uint16(server.Addr().As4()[3]))
		}
		r := report(t, n.c, m, Request{})
		if v, _ := r.MappingVariesByDestIP.Get(); !v || len(r.GlobalV4Counters) != 3 {
			t.Errorf("report %+v", r)
		}
	})
}

func TestLostRequestsAreRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(1)
		n.latency[netip.MustParseAddr("198.51.100.1")] = 20 * ms // only the second node answers
		r := report(t, n.c, m, Request{})
		if !r.UDP || r.Home != 1 || r.RegionLatency[1] != 20*ms {
			t.Errorf("report %+v", r)
		}
	})
}

func TestBlockedUDP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(2)
		n.fail = func(to netip.AddrPort) error {
			if to.Addr().Is6() {
				return syscall.ENETUNREACH
			}
			return syscall.EPERM
		}
		r := report(t, n.c, m, Request{})
		if r.UDP || r.Home != 0 || !r.IPv4CanSend || r.IPv6CanSend {
			t.Errorf("report %+v", r)
		}
		if took := r.Time; time.Since(took) > reportTimeout {
			t.Errorf("took %v", time.Since(took))
		}
	})
}

func TestBusyAndCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(1)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		go func() {
			_, err := n.c.Report(ctx, m, Request{})
			done <- err
		}()
		synctest.Wait()
		if _, err := n.c.Report(context.Background(), m, Request{}); !errors.Is(err, ErrBusy) {
			t.Errorf("a second report at the same time: %v", err)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled report: %v", err)
		}
		if _, err := n.c.Report(context.Background(), nil, Request{}); err == nil {
			t.Error("a report without a relay map")
		}
	})
}

func TestForeignAnswersAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, m := newStunNet(), relayMap(1)
		go func() {
			for range 10 {
				time.Sleep(10 * ms)
				n.c.HandleSTUN(stun.AppendResponse(nil, stun.TxID{1}, mapped))
				n.c.HandleSTUN([]byte("garbage"))
			}
		}()
		if r := report(t, n.c, m, Request{}); r.UDP {
			t.Errorf("report %+v", r)
		}
	})
}

// selfSigned makes a certificate for a name or address that is good until the given time.
func selfSigned(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(1000), Subject: pkix.Name{CommonName: name},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until, IPAddresses: []net.IP{net.ParseIP(name)},
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, priv.Public(), priv)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: priv}
}

// TestHTTPS measures a region by HTTPS with a pinned certificate, and not with another.
func TestHTTPS(t *testing.T) {
	paths := make(chan string, 10)
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }))
	defer srv.Close()
	addr := srv.Listener.Addr().(*net.TCPAddr).AddrPort()
	sum := sha256.Sum256(srv.Certificate().Raw)
	old := httptest.NewUnstartedServer(srv.Config.Handler)
	old.TLS = &tls.Config{Certificates: []tls.Certificate{selfSigned(t, "127.0.0.1", time.Now().Add(-time.Hour))}}
	old.StartTLS()
	defer old.Close()
	oldAddr, oldSum := old.Listener.Addr().(*net.TCPAddr).AddrPort(), sha256.Sum256(old.Certificate().Raw)
	for name, c := range map[string]struct {
		cert string
		host string
		addr netip.AddrPort
		want bool
	}{
		"pinned":               {relay.FormatPin(sum), "127.0.0.1", addr, true},
		"pinned, by name":      {relay.FormatPin(sum), "example.com", addr, true}, // which is what it is for
		"pinned, another name": {relay.FormatPin(sum), "other.test", addr, false},
		"pinned, out of date":  {relay.FormatPin(oldSum), "127.0.0.1", oldAddr, false},
		"wrong pin":            {relay.FormatPin([32]byte{}), "127.0.0.1", addr, false},
		"by name":              {"", "127.0.0.1", addr, false}, // no authority we know signed it
		"by other":             {"other.test", "127.0.0.1", addr, false},
	} {
		m := &control.DERPMap{Regions: map[int]*control.DERPRegion{7: {RegionID: 7, Nodes: []*control.DERPNode{
			{Name: "stun", HostName: "127.0.0.1", STUNOnly: true},
			{Name: "a", HostName: c.host, IPv4: "127.0.0.1", IPv6: "none", DERPPort: int(c.addr.Port()), STUNPort: -1, CertName: c.cert},
		}}}}
		r := report(t, &Client{}, m, Request{})
		if _, ok := r.RegionLatency[7]; ok != c.want || r.UDP || (r.Home == 7) != c.want {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if p := <-paths; p != "/derp/latency-check" {
		t.Errorf("asked for %s", p)
	}
}

func TestNodeAddr(t *testing.T) {
	lookup := func(_ context.Context, host string) ([]netip.Addr, error) {
		if host == "down.test" {
			return nil, errors.New("no such host")
		}
		return []netip.Addr{netip.MustParseAddr("2001:db8::9"), netip.MustParseAddr("192.0.2.9")}, nil
	}
	for _, c := range []struct {
		node control.DERPNode
		ipv6 bool
		want string
	}{
		{control.DERPNode{HostName: "h.test", IPv4: "192.0.2.1"}, false, "192.0.2.1"},
		{control.DERPNode{HostName: "h.test"}, false, "192.0.2.9"},
		{control.DERPNode{HostName: "h.test"}, true, "2001:db8::9"},
		{control.DERPNode{HostName: "h.test", IPv6: "none"}, true, ""},
		{control.DERPNode{HostName: "h.test", IPv4: "2001:db8::1"}, false, ""},
		{control.DERPNode{HostName: "h.test", IPv4: "192.0.2.1", STUNTestIP: "127.0.0.1"}, false, "127.0.0.1"},
		{control.DERPNode{HostName: "192.0.2.5"}, false, "192.0.2.5"},
		{control.DERPNode{HostName: "192.0.2.5"}, true, ""},
		{control.DERPNode{HostName: "down.test"}, true, ""},
	} {
		got, err := nodeAddr(context.Background(), &c.node, c.ipv6, lookup)
		if (err == nil) != (c.want != "") || err == nil && got.String() != c.want {
			t.Errorf("%+v ipv6=%v: %v, %v", c.node, c.ipv6, got, err)
		}
	}
}

// TestStandalone checks against a real STUN server.
func TestStandalone(t *testing.T) {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = stunserver.Serve(ctx, pc, slog.New(slog.DiscardHandler), nil)
	}()
	defer func() { cancel(); pc.Close(); <-served }()
	m := &control.DERPMap{Regions: map[int]*control.DERPRegion{7: {RegionID: 7, Nodes: []*control.DERPNode{
		{Name: "a", HostName: "127.0.0.1", IPv4: "127.0.0.1", IPv6: "none", STUNPort: pc.LocalAddr().(*net.UDPAddr).Port}}}}}
	r, err := Standalone(context.Background(), new(Client), m)
	if err != nil || !r.UDP || r.Home != 7 || r.GlobalV4.Addr() != netip.MustParseAddr("127.0.0.1") {
		t.Fatalf("%+v, %v", r, err)
	}
}
