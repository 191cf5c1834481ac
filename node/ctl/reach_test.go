package ctl

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/relay"
)

// names is a network in which names resolve, or not.
type names struct {
	broken atomic.Bool // no name resolves

	mu    sync.Mutex
	hosts map[string]string // name:port to address
	asked []string
}

func (n *names) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	n.mu.Lock()
	n.asked = append(n.asked, addr)
	to, known := n.hosts[addr]
	n.mu.Unlock()
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	if _, err := netip.ParseAddr(host); err == nil {
		to, known = addr, true
	} else if n.broken.Load() {
		known = false
	}
	if !known {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}}
	}
	return (&net.Dialer{}).DialContext(ctx, network, to)
}

// forget forgets what was asked.
func (n *names) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = nil
}

// wasAsked reports whether a connection to addr was wanted.
func (n *names) wasAsked(addr string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, a := range n.asked {
		if a == addr {
			return true
		}
	}
	return false
}

// named returns a network in which the server has the name control.test.
func named(t *testing.T, f *ctltest.Server) (*names, string) {
	t.Helper()
	u, err := url.Parse(f.URL())
	if err != nil {
		t.Fatal(err)
	}
	addr := net.JoinHostPort("control.test", u.Port())
	return &names{hosts: map[string]string{addr: u.Host}}, "http://" + addr
}

func TestDialPlanIsFollowed(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		w.SendFull(r.NodeKey)
		w.Send(&control.MapResponse{KeepAlive: true, ControlDialPlan: &control.ControlDialPlan{Candidates: []control.ControlIPCandidate{
			{IP: netip.MustParseAddr("127.0.0.9")}, // without a timeout: of no use
			{IP: netip.MustParseAddr("127.0.0.1"), DialStartDelaySec: 0.01, DialTimeoutSec: 10},
		}}})
		w.Send(&control.MapResponse{Domain: "renamed"})
		w.Hold()
	}
	network, serverURL := named(t, f)
	c, events := startClient(t, serverURL, func(o *Options) { o.DialContext = network.dial })
	c.Login(LoginOptions{AuthKey: "k"})
	for want[MapUpdate](events).Map.Domain != "renamed" {
	}
	network.broken.Store(true)
	network.forget()
	f.Drop()
	if m := want[MapUpdate](events); !m.Changes.First {
		t.Error("no new stream")
	}
	if network.wasAsked(strings.TrimPrefix(serverURL, "http://")) || network.wasAsked("127.0.0.9:80") {
		t.Errorf("connections to %q", network.asked)
	}
	if err := c.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if c.transport.dialer.plan.Load() != nil {
		t.Error("the plan outlived the logout")
	}
}

// TestDialPlanThatDoesNotHelp has a plan with a wrong address.
func TestDialPlanThatDoesNotHelp(t *testing.T) {
	f := ctltest.New(t)
	network, serverURL := named(t, f)
	c, events := startClient(t, serverURL, func(o *Options) { o.DialContext = network.dial })
	c.transport.dialer.setPlan(&control.ControlDialPlan{Candidates: []control.ControlIPCandidate{
		{IP: netip.MustParseAddr("127.0.0.77"), DialTimeoutSec: 1e9},
		{ACEHost: "nowhere.test", DialTimeoutSec: 10},
	}})
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	c.Login(LoginOptions{AuthKey: "k"})
	want[MapUpdate](events)
	if !network.wasAsked("nowhere.test:443") {
		t.Error("the proxy of the plan was not tried")
	}
	c.transport.dialer.setPlan(&control.ControlDialPlan{})
	if tries := c.transport.dialer.planned(c.transport.serverKey); len(tries) != 0 {
		t.Errorf("an empty plan leaves %d tries", len(tries))
	}
}

// TestDialPlanProxy connects through the HTTPS proxy that a plan names.
func TestDialPlanProxy(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	var target atomic.Pointer[string]
	proxy := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target.Store(&r.Host)
		server, err := net.Dial("tcp", strings.TrimPrefix(f.URL(), "http://"))
		if r.Method != http.MethodConnect || err != nil {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(server, conn)
		io.Copy(conn, server)
		conn.Close()
		server.Close()
	}))
	defer proxy.Close()
	network, serverURL := named(t, f)
	network.hosts["example.com:443"] = proxy.Listener.Addr().String()
	c, events := startClient(t, serverURL, func(o *Options) {
		o.DialContext, o.TLS = network.dial, proxy.Client().Transport.(*http.Transport).TLSClientConfig
	})
	c.transport.dialer.setPlan(&control.ControlDialPlan{Candidates: []control.ControlIPCandidate{{ACEHost: "example.com", DialTimeoutSec: 10}}})
	c.Login(LoginOptions{AuthKey: "k"})
	want[MapUpdate](events)
	if got := target.Load(); got == nil || "http://"+*got != serverURL {
		t.Errorf("the proxy was asked for %v, want %s", got, serverURL)
	}
}

// TestSilenceIsToldApart has a server whose packets are dropped, and one that accepts
// connections without a word.
func TestSilenceIsToldApart(t *testing.T) {
	dropped := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	mute := func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		return near, nil
	}
	for _, c := range []struct {
		name, url, want string
		dial            func(context.Context, string, string) (net.Conn, error)
	}{
		{"dropped address", "http://192.0.2.1:8080", "no answer from 192.0.2.1:8080 within 10s, not even a refusal", dropped},
		{"dropped name", "https://control.test", "no answer from control.test:443 within 10s, or none from DNS", dropped},
		{"mute", "http://192.0.2.1:8080", "it accepted the connection but did not answer within 10s", mute},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u, err := parseServerURL(c.url)
				if err != nil {
					t.Fatal(err)
				}
				d := &dialer{server: u, dial: c.dial}
				_, err = d.serverKey(t.Context())
				var unreachable *UnreachableError
				if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), c.want) {
					t.Errorf("error %v, want %q", err, c.want)
				}
				synctest.Wait()
			})
		})
	}
}

// TestServerOfAnotherProtocol asks something that greets as an SSH server does.
func TestServerOfAnotherProtocol(t *testing.T) {
	ssh := func(context.Context, string, string) (net.Conn, error) {
		near, far := net.Pipe()
		go io.Copy(io.Discard, far)
		go far.Write([]byte("SSH-2.0-x\r\n\r\n"))
		return near, nil
	}
	u, err := parseServerURL("http://192.0.2.1:22")
	if err != nil {
		t.Fatal(err)
	}
	_, err = (&dialer{server: u, dial: ssh}).serverKey(t.Context())
	var not *NotServerError
	if !errors.As(err, &not) || !strings.Contains(err.Error(), "does not speak HTTP") {
		t.Errorf("error %v", err)
	}
}

// TestRaceTimes looks at when attempts begin.
func TestRaceTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at [3]time.Duration
		failing := func(i int, after time.Duration) func(context.Context) (*noiseconn.Conn, error) {
			return func(ctx context.Context) (*noiseconn.Conn, error) {
				at[i] = time.Since(begin)
				sleep(ctx, after, nil)
				return nil, fmt.Errorf("try %d", i)
			}
		}
		_, errs := race(t.Context(), []try{
			{run: failing(0, 3*time.Second)},
			{delay: time.Second, limit: time.Second, run: failing(1, time.Hour)}, // ends at 2 s
			{delay: time.Minute, run: failing(2, 0)},                             // begins when both have failed
		})
		if at != [3]time.Duration{0, time.Second, 3 * time.Second} {
			t.Errorf("begun at %v", at)
		}
		for i, err := range errs {
			if err == nil || err.Error() != fmt.Sprintf("try %d", i) {
				t.Errorf("error %d is %v", i, err)
			}
		}
	})
}

// bootstrapRelay is a relay that knows the address of control.test.
func bootstrapRelay(t *testing.T, answer string) *control.DERPMap {
	t.Helper()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/bootstrap-dns" || r.FormValue("q") != "control.test" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	addr := srv.Listener.Addr().(*net.TCPAddr).AddrPort()
	return &control.DERPMap{Regions: map[int]*control.DERPRegion{1: {RegionID: 1, Nodes: []*control.DERPNode{
		nil,
		{Name: "stun", STUNOnly: true, IPv4: "127.0.0.1"},
		{Name: "a", HostName: "example.com", IPv4: "127.0.0.1", DERPPort: int(addr.Port()), CertName: relay.FormatPin(sha256.Sum256(srv.Certificate().Raw))},
	}}, 2: nil}}
}

func TestRelaysAreAskedWhenTheNameDoesNotResolve(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	network, serverURL := named(t, f)
	network.broken.Store(true)
	relays := bootstrapRelay(t, `{"other.test":["192.0.2.1"],"control.test":["127.0.0.1"]}`)
	c, events := startClient(t, serverURL, func(o *Options) {
		o.DialContext, o.Relays = network.dial, func() *control.DERPMap { return relays }
	})
	c.Login(LoginOptions{AuthKey: "k"})
	want[MapUpdate](events)
}

// TestRelaysThatDoNotKnow keeps the error about the name.
func TestRelaysThatDoNotKnow(t *testing.T) {
	for _, answer := range []string{"{}", `{"control.test":[]}`, `{"control.test":["x"]}`, "<html>", `{"control.test":null}`} {
		network := &names{}
		relays := bootstrapRelay(t, answer)
		d := &dialer{dial: network.dial, relays: func() *control.DERPMap { return relays }}
		_, err := d.open(t.Context(), "tcp", "control.test:80")
		var dns *net.DNSError
		if !errors.As(err, &dns) {
			t.Errorf("%s: %v", answer, err)
		}
	}
	relays := bootstrapRelay(t, `{"control.test":["127.0.0.1"]}`)
	relays.Regions[1].Nodes[2].CertName = relay.FormatPin([32]byte{1})
	d := &dialer{dial: (&names{}).dial, relays: func() *control.DERPMap { return relays }}
	if _, err := d.open(t.Context(), "tcp", "control.test:80"); err == nil {
		t.Error("a relay with another certificate was believed")
	}
}

func TestBootstrapRelays(t *testing.T) {
	m := &control.DERPMap{Regions: map[int]*control.DERPRegion{}}
	for i := range 20 {
		m.Regions[i] = &control.DERPRegion{Nodes: []*control.DERPNode{
			{Name: "both", IPv4: fmt.Sprintf("192.0.2.%d", i), IPv6: fmt.Sprintf("2001:db8::%d", i)}, {Name: "name", HostName: "a.test"},
			{Name: "anybody", IPv4: "192.0.2.99", InsecureForTests: true},
		}}
	}
	d := &dialer{relays: func() *control.DERPMap { return m }}
	list := d.bootstrapRelays("control.test")
	if len(list) != bootstrapRelays {
		t.Fatalf("%d relays", len(list))
	}
	for i, n := range list {
		if v4 := i%2 == 0; n.Name != "both" || v4 == (n.IPv4 == "none") || v4 != (n.IPv6 == "none") {
			t.Errorf("relay %d is %+v", i, n)
		}
	}
	for _, host := range []string{"192.0.2.1", "::1", "localhost"} {
		if list := d.bootstrapRelays(host); list != nil {
			t.Errorf("relays for %s", host)
		}
	}
}

func FuzzBootstrap(f *testing.F) {
	f.Add(`{"control.test":["127.0.0.1","::1%x"]}`)
	f.Add(`{"control.test":null}`)
	f.Add(`[`)
	f.Fuzz(func(t *testing.T, answer string) {
		ips, err := parseBootstrap(bufio.NewReader(strings.NewReader(answer)), "control.test")
		if err != nil && ips != nil || len(ips) > maxPlanned {
			t.Errorf("%v, %v", ips, err)
		}
		for _, ip := range ips {
			if !ip.IsValid() || ip.Zone() != "" {
				t.Errorf("address %v", ip)
			}
		}
	})
}

// TestLinkChangeEndsDialling has the network change while a connection is being made over
// one that swallows all.
func TestLinkChangeEndsDialling(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	dialling, ended := make(chan struct{}), make(chan error, 1)
	var dials atomic.Int32
	c, events := startClient(t, f.URL(), func(o *Options) {
		o.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials.Add(1) == 2 { // the first one is for the server's key
				close(dialling)
				<-ctx.Done()
				ended <- ctx.Err()
				return nil, ctx.Err()
			}
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	})
	c.Login(LoginOptions{AuthKey: "k"})
	<-dialling
	c.LinkChanged()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the dialling ended with %v", err)
	}
	want[MapUpdate](events)
}

func TestServerMessagesHaveSafeLinks(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		action := func(url string) *control.DisplayMessage {
			return &control.DisplayMessage{Title: "x", PrimaryAction: &control.DisplayMessageAction{URL: url, Label: "Open"}}
		}
		w.Send(&control.MapResponse{Node: ctltest.Self(r.NodeKey), DisplayMessages: map[control.DisplayMessageID]*control.DisplayMessage{
			"good": action("https://x.example/"), "bad": action("file:///etc/passwd"),
		}})
		w.Hold()
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	m := want[MapUpdate](events).Map.DisplayMessages
	if m["good"].PrimaryAction == nil || m["bad"] == nil || m["bad"].PrimaryAction != nil {
		t.Errorf("messages %+v, %+v", m["good"], m["bad"])
	}
}
