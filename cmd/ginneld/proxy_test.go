package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/proxy"
)

// freeAddr returns a loopback address that nobody listens on.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestProxies fetches a page through each of the daemon's proxies: one outside the mesh,
// which is reached directly, and one in the mesh, which is not as long as the node is
// logged out.
func TestProxies(t *testing.T) {
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer web.Close()
	secure := httptest.NewTLSServer(web.Config.Handler)
	defer secure.Close()
	socks, web2, both := freeAddr(t), freeAddr(t), freeAddr(t)
	start(t, filepath.Join(t.TempDir(), "two"), nil, "--socks5-server", socks, "--outbound-http-proxy-listen", web2).ready(t)
	start(t, filepath.Join(t.TempDir(), "one"), nil, "--socks5-server", both, "--outbound-http-proxy-listen", both).ready(t)

	overSOCKS := func(addr string) *http.Transport {
		d, err := proxy.SOCKS5("tcp", addr, nil, proxy.Direct)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Transport{DialContext: func(ctx context.Context, network, to string) (net.Conn, error) {
			return d.(proxy.ContextDialer).DialContext(ctx, network, to)
		}}
	}
	overHTTP := func(addr string) *http.Transport {
		return &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: addr})}
	}
	for name, transport := range map[string]*http.Transport{
		"SOCKS5": overSOCKS(socks), "HTTP": overHTTP(web2),
		"SOCKS5 on one port": overSOCKS(both), "HTTP on one port": overHTTP(both),
	} {
		transport.TLSClientConfig = secure.Client().Transport.(*http.Transport).TLSClientConfig
		client := &http.Client{Transport: transport}
		for _, target := range []string{web.URL, secure.URL} { // over HTTP the second is a CONNECT
			resp, err := client.Get(target)
			if err != nil {
				t.Errorf("%s, %s: %v", name, target, err)
				continue
			}
			body, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || string(body) != "hello" {
				t.Errorf("%s, %s: %q, %v", name, target, body, err)
			}
		}
		resp, err := client.Get("http://100.64.0.1:80/")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode < 500 || !strings.HasPrefix(name, "HTTP") {
				t.Errorf("%s: %s from an address in a mesh that the node is not in", name, resp.Status)
			}
		}
		transport.CloseIdleConnections()
	}
}
