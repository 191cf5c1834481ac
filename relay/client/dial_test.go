package client

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// tried dials with everything refused, after wait, and returns the attempts and the
// error.
func tried(t *testing.T, o Options, wait time.Duration) ([]string, error) {
	t.Helper()
	f := newFakeNet()
	f.refuse = func(ctx context.Context, network, addr string) error {
		select {
		case <-time.After(wait):
			return errRefused
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	o.PrivateKey, o.DialContext, o.Proxy = key.NewNode(), f.dial, noProxy
	_, err := Dial(context.Background(), o)
	if err == nil {
		t.Fatal("Dial succeeded with everything refused")
	}
	close(f.dialed)
	var got []string
	for s := range f.dialed {
		got = append(got, s)
	}
	return got, err
}

func TestRegionWalk(t *testing.T) {
	r := region("a.example", "stun.example", "b.example", "203.0.113.1", "2001:db8::1")
	r.Nodes[1].STUNOnly = true
	r.Nodes[2].DERPPort = 8443
	r.Nodes = append(r.Nodes, nil)
	got, err := tried(t, Options{Region: r}, 0)
	if !errors.Is(err, errRefused) || !strings.Contains(err.Error(), "node 900a (a.example:443)") {
		t.Errorf("error %q does not name the first node", err)
	}
	slices.Sort(got[:2])
	slices.Sort(got[2:4])
	want := []string{"tcp4 a.example:443", "tcp6 a.example:443", "tcp4 b.example:8443", "tcp6 b.example:8443",
		"tcp4 203.0.113.1:443", "tcp6 [2001:db8::1]:443"}
	if !slices.Equal(got, want) {
		t.Errorf("tried %q, want %q", got, want)
	}
	if _, err := tried(t, Options{Region: &control.DERPRegion{RegionID: 7, Nodes: r.Nodes[1:2]}}, 0); !strings.Contains(err.Error(), "region 7 has no usable node") {
		t.Errorf("STUN-only region: %v", err)
	}
}

func TestFamilies(t *testing.T) {
	for _, c := range []struct {
		host, ipv4, ipv6 string
		want             []string
	}{
		{"a.example", "", "", []string{"tcp4 a.example:443", "tcp6 a.example:443"}},
		{"a.example", "203.0.113.9", "none", []string{"tcp4 203.0.113.9:443"}},
		{"a.example", "none", "2001:db8::9", []string{"tcp6 [2001:db8::9]:443"}},
		{"a.example", "2001:db8::9", "203.0.113.9", nil},
		{"a.example", "none", "none", nil},
		{"203.0.113.1", "", "", []string{"tcp4 203.0.113.1:443"}},
		{"203.0.113.1", "none", "", nil},
		{"203.0.113.1", "", "2001:db8::9", []string{"tcp4 203.0.113.1:443", "tcp6 [2001:db8::9]:443"}},
	} {
		r := region(c.host)
		r.Nodes[0].IPv4, r.Nodes[0].IPv6 = c.ipv4, c.ipv6
		got, _ := tried(t, Options{Region: r}, 0)
		slices.Sort(got)
		if !slices.Equal(got, c.want) {
			t.Errorf("%+v: tried %q", c, got)
		}
	}
}

func TestDialTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		tried(t, Options{Region: region("203.0.113.1")}, time.Hour)
		if d := time.Since(start); d != nodeTimeout {
			t.Errorf("a silent node took %v, want %v", d, nodeTimeout)
		}
		start = time.Now()
		hosts := slices.Repeat([]string{"203.0.113.1"}, 20)
		got, err := tried(t, Options{Region: region(hosts...)}, time.Hour)
		if d := time.Since(start); d != dialTimeout || len(got) != 7 || err == nil {
			t.Errorf("silent nodes took %v and %d attempts (%v), want %v and 7", d, len(got), err, dialTimeout)
		}
	})
}

func TestPreferIPv6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var at4, at6 time.Duration
		f := newFakeNet()
		f.refuse = func(_ context.Context, network, _ string) error {
			if network == "tcp4" {
				at4 = time.Since(start)
			} else {
				at6 = time.Since(start)
			}
			return errRefused
		}
		Dial(context.Background(), Options{PrivateKey: key.NewNode(), Region: region("a.example"), DialContext: f.dial,
			Proxy: noProxy, PreferIPv6: func() bool { return true }})
		if at6 != 0 || at4 != ipv4Delay {
			t.Errorf("IPv6 after %v, IPv4 after %v", at6, at4)
		}
	})
}

// TestHandshakeTimeout reaches something that accepts and never speaks.
func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, u := range []string{"http://relay.example", "https://relay.example"} {
			f := newFakeNet()
			start := time.Now()
			_, err := Dial(context.Background(), Options{PrivateKey: key.NewNode(), URL: u, DialContext: f.dial, Proxy: noProxy})
			if d := time.Since(start); !errors.Is(err, context.DeadlineExceeded) || d != dialTimeout {
				t.Errorf("%s: %v after %v", u, err, d)
			}
		}
	})
}

func TestBadOptions(t *testing.T) {
	k := key.NewNode()
	for name, o := range map[string]Options{
		"no key":            {URL: "https://a.example"},
		"nowhere":           {PrivateKey: k},
		"both":              {PrivateKey: k, URL: "https://a.example", Region: region("a.example")},
		"scheme":            {PrivateKey: k, URL: "ftp://a.example"},
		"no host":           {PrivateKey: k, URL: "https://"},
		"port":              {PrivateKey: k, URL: "https://a.example:99999"},
		"watch without key": {PrivateKey: k, URL: "https://a.example", WatchConns: true},
	} {
		o.Proxy = noProxy
		if _, err := Dial(context.Background(), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNotARelay(t *testing.T) {
	for answer, want := range map[string]string{
		"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n":                            "404",
		"SSH-2.0-OpenSSH\r\n\r\n":                                                        "HTTP upgrade",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n\x06\x00\x00\x00\x00":                   "KeepAlive",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x00\x00\x00\x00":                   "ServerKey",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n\x01\x7f\x00\x00\x00":                   "limit",
		"HTTP/1.1 101 Switching Protocols\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n": "HTTP upgrade",
	} {
		f := newFakeNet()
		go func() {
			nc := <-f.accept
			r, err := http.ReadRequest(newReader(nc))
			if err == nil && r.URL.Path == "/derp" {
				nc.Write([]byte(answer))
			}
			nc.Close()
		}()
		_, err := Dial(context.Background(), Options{PrivateKey: key.NewNode(), URL: "http://a.example", DialContext: f.dial, Proxy: noProxy})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("answer %.40q: error %v, want one about %q", answer, err, want)
		}
	}
}

func TestProxy(t *testing.T) {
	f := newFakeNet()
	proxy := func(r *http.Request) (*url.URL, error) {
		if r.URL.String() != "http://relay.example:3340/" {
			t.Errorf("asked for the proxy of %v", r.URL)
		}
		return url.Parse("http://me:secret@proxy.example")
	}
	got := make(chan *Conn, 1)
	go func() {
		defer close(got)
		c, err := Dial(context.Background(), Options{PrivateKey: key.NewNode(), URL: "http://relay.example:3340", DialContext: f.dial, Proxy: proxy})
		if err != nil {
			t.Error(err)
			return
		}
		got <- c
	}()
	if a := <-f.dialed; a != "tcp proxy.example:80" {
		t.Errorf("dialled %s", a)
	}
	nc := <-f.accept
	br := newReader(nc)
	req, err := http.ReadRequest(br)
	if err != nil {
		t.Fatal(err)
	}
	if req.Method != "CONNECT" || req.Host != "relay.example:3340" || req.Header.Get("Proxy-Authorization") != "Basic bWU6c2VjcmV0" {
		t.Errorf("proxy asked %s %s, %v", req.Method, req.Host, req.Header)
	}
	nc.Write([]byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.accept <- nc
	r := f.serve(t, key.NewNode(), nil)
	r.greet()
	r.readInfo()
	if c := <-got; c != nil {
		c.Close()
	}
	// A proxy that says no.
	go func() {
		nc := <-f.accept
		http.ReadRequest(newReader(nc))
		nc.Write([]byte("HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n"))
	}()
	_, err = Dial(context.Background(), Options{PrivateKey: key.NewNode(), URL: "http://relay.example:3340", DialContext: f.dial, Proxy: proxy})
	if err == nil || !strings.Contains(err.Error(), "407") || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}
