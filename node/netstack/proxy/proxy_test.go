package proxy

import (
	"bufio"
	"bytes"
	"context"
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
	"syscall"
	"testing"
	"time"

	xproxy "golang.org/x/net/proxy"

	"github.com/ginnel/ginnel/node/netstack"
	"github.com/ginnel/ginnel/node/tun"
)

var (
	here  = netip.MustParseAddr("100.64.0.1")
	there = netip.MustParseAddr("100.64.0.2")
)

// carry moves packets from one stack to another.
func carry(from, to *netstack.Stack) {
	bufs, sizes := make([][]byte, from.BatchSize()), make([]int, from.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, 2048)
	}
	for {
		n, err := from.Read(bufs, sizes, tun.Headroom)
		if err != nil {
			return
		}
		var out [][]byte
		for i := range n {
			out = append(out, bufs[i][:tun.Headroom+sizes[i]])
		}
		if _, err := to.Write(out, tun.Headroom); err != nil {
			return
		}
	}
}

// startProxy serves both protocols on one listener, on a node whose one peer has
// a web server at port 80 and nothing else. It returns the listener's address.
func startProxy(t *testing.T) string {
	t.Helper()
	newStack := func(a netip.Addr) *netstack.Stack {
		s, err := netstack.New(netstack.Config{Addrs: []netip.Prefix{netip.PrefixFrom(a, 32)}})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	a, b := newStack(here), newStack(there)
	var wg sync.WaitGroup
	wg.Go(func() { carry(a, b) })
	wg.Go(func() { carry(b, a) })
	web, err := b.Listen(netip.AddrPortFrom(there, 80))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "mesh page %s at %s from %v, body %q, proxy header %q", r.URL.Path, r.Host,
			netip.MustParseAddrPort(r.RemoteAddr).Addr(), body, r.Header.Get("Proxy-Connection"))
	})}
	wg.Go(func() { _ = srv.Serve(web) })

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Mesh:   a.DialContext,
		InMesh: func(ip netip.Addr) bool { return netip.MustParsePrefix("100.64.0.0/10").Contains(ip) },
		Resolve: func(name string) (netip.Addr, bool) {
			return there, strings.EqualFold(name, "web") || name == "web.example.ts.net"
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	wg.Go(func() {
		if err := s.ServeBoth(ctx, l); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		srv.Close()
		a.Close()
		b.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

// clients are HTTP clients that go through the proxy in each way.
func clients(t *testing.T, addr string) map[string]*http.Client {
	t.Helper()
	socks, err := xproxy.SOCKS5("tcp", addr, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	viaSocks := &http.Transport{DialContext: socks.(xproxy.ContextDialer).DialContext}
	viaHTTP := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: addr})}
	viaConnect := &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(c, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", to, to)
		br := bufio.NewReader(c)
		res, err := http.ReadResponse(br, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return nil, err
		}
		if res.StatusCode != 200 {
			return nil, fmt.Errorf("connect: %s: %s", res.Status, res.Header.Get(connectError))
		}
		return c, nil
	}}
	out := map[string]*http.Client{}
	for name, tr := range map[string]*http.Transport{"socks5": viaSocks, "http": viaHTTP, "connect": viaConnect} {
		t.Cleanup(tr.CloseIdleConnections)
		out[name] = &http.Client{Transport: tr}
	}
	return out
}

func TestPagesThroughTheProxy(t *testing.T) {
	addr := startProxy(t)
	outside := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "outside page")
	}))
	defer outside.Close()
	for way, client := range clients(t, addr) {
		for _, u := range []string{"http://web/x", "http://100.64.0.2/x", "http://web.example.ts.net/x"} {
			res, err := client.Post(u, "text/plain", strings.NewReader("hello"))
			if err != nil {
				t.Errorf("%s: %v", way, err)
				continue
			}
			body, err := io.ReadAll(res.Body)
			res.Body.Close()
			host, _ := url.Parse(u)
			want := fmt.Sprintf("mesh page /x at %s from 100.64.0.1, body \"hello\", proxy header \"\"", host.Host)
			if err != nil || string(body) != want {
				t.Errorf("%s: %s gives %q, %v; want %q", way, u, body, err, want)
			}
		}
		res, err := client.Get(outside.URL)
		if err != nil {
			t.Errorf("%s: %v", way, err)
			continue
		}
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(body) != "outside page" {
			t.Errorf("%s: outside gives %q", way, body)
		}
		// A refused port is an error the client can read, not a hang.
		res, err = client.Get("http://web:81/")
		if err == nil {
			if res.StatusCode != http.StatusBadGateway {
				t.Errorf("%s: refused port gives %s", way, res.Status)
			}
			res.Body.Close()
		}
	}
}

// ask sends bytes to the proxy and returns all that it answers.
func ask(t *testing.T, addr, text string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	b, err := io.ReadAll(c)
	if err != nil && !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("%q: %v", text, err)
	}
	return string(b)
}

func TestBadRequests(t *testing.T) {
	addr := startProxy(t)
	for _, c := range []struct{ name, send, want string }{
		{"nothing", "", ""},
		{"socks4", "\x04\x01\x00\x50\x64\x40\x00\x02\x00", "HTTP/1.1 400 Bad Request"},
		{"authentication only", "\x05\x01\x02", "\x05\xff"},
		{"cut greeting", "\x05\x09\x00", ""},
		{"cut request", "\x05\x01\x00\x05\x01\x00\x01\x64", "\x05\x00"},
		{"bind", "\x05\x01\x00\x05\x02\x00\x01\x64\x40\x00\x02\x00\x50", "\x05\x00\x05\x07"},
		{"address type", "\x05\x01\x00\x05\x01\x00\x09\x64\x40\x00\x02\x00\x50", "\x05\x00\x05\x08"},
		{"empty name", "\x05\x01\x00\x05\x01\x00\x03\x00\x00\x50", "\x05\x00\x05\x08"},
		{"refused port", "\x05\x01\x00\x05\x01\x00\x01\x64\x40\x00\x02\x00\x51", "\x05\x00\x05\x05"},
		{"relative URI", "GET / HTTP/1.1\r\nHost: web\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		{"other scheme", "GET ftp://web/ HTTP/1.1\r\nHost: web\r\n\r\n", "HTTP/1.1 400 Bad Request"},
		{"connect without port", "CONNECT web HTTP/1.1\r\nHost: web\r\n\r\n", "HTTP/1.1 500"},
		{"connect refused", "CONNECT web:81 HTTP/1.1\r\nHost: web:81\r\n\r\n", "HTTP/1.1 500"},
		{"garbage", "\x00\xff\xfe garbage\r\n\r\n", "HTTP/1.1 400 Bad Request"},
	} {
		got := ask(t, addr, c.send)
		if !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: answer %q, want %q", c.name, got, c.want)
		}
		if strings.HasPrefix(c.name, "connect") && !strings.Contains(got, connectError+": ") {
			t.Errorf("%s: no reason in %q", c.name, got)
		}
	}
}

func TestSeparateListeners(t *testing.T) {
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "page") }))
	defer page.Close()
	s := &Server{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	serve := func(f func(context.Context, net.Listener) error) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			if err := f(ctx, l); err != nil {
				t.Error(err)
			}
		})
		return l.Addr().String()
	}
	way := map[string]string{"socks5": serve(s.ServeSOCKS5), "http": serve(s.ServeHTTP1)}
	for name, addr := range way {
		res, err := clients(t, addr)[name].Get(page.URL)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if string(b) != "page" {
			t.Errorf("%s: %q", name, b)
		}
	}
}

func TestStopEndsConnections(t *testing.T) {
	s := &Server{System: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.ServeBoth(ctx, l) }()
	for _, hello := range []string{"\x05\x01\x00\x05\x01\x00\x01\x01\x02\x03\x04\x00\x50", "GET http://host/ HTTP/1.1\r\nHost: host\r\n\r\n", ""} {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, hello); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// readWriter reads fixed bytes and forgets what is written.
type readWriter struct{ io.Reader }

func (readWriter) Write(b []byte) (int, error) { return len(b), nil }

func FuzzSOCKSHandshake(f *testing.F) {
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x01\x64\x40\x00\x02\x00\x50"))
	f.Add([]byte("\x05\x01\x00\x05\x01\x00\x03\x03web\x00\x50"))
	f.Add([]byte("\x05\x02\x00\x02\x05\x01\x00\x04aaaabbbbccccdddd\x00\x50"))
	f.Fuzz(func(t *testing.T, b []byte) {
		address, err := socksHandshake(readWriter{bytes.NewReader(b)})
		if (err == nil) != (address != "") {
			t.Fatalf("address %q with error %v", address, err)
		}
		if err == nil {
			if host, _, err := net.SplitHostPort(address); err != nil && !strings.ContainsAny(host+address, "[]:") {
				t.Fatalf("address %q: %v", address, err)
			}
		}
	})
}
