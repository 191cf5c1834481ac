package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
)

// proxyFor returns the HTTP proxy to use for t, or nil.
func proxyFor(o *Options, t *target) (*url.URL, error) {
	req := &http.Request{URL: &url.URL{Scheme: t.scheme(), Host: t.hostPort(), Path: "/"}}
	u, err := o.Proxy(req)
	if err != nil {
		return nil, fmt.Errorf("proxy settings: %w", err)
	}
	if u == nil || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, nil // SOCKS is left to DialContext
	}
	return u, nil
}

// dialProxy opens a connection to hostPort by an HTTP proxy's CONNECT.
func dialProxy(ctx context.Context, o *Options, proxy *url.URL, hostPort string) (net.Conn, error) {
	port := proxy.Port()
	if port == "" {
		port = "80"
		if proxy.Scheme == "https" {
			port = "443"
		}
	}
	nc, err := o.DialContext(ctx, "tcp", net.JoinHostPort(proxy.Hostname(), port))
	if err != nil {
		return nil, fmt.Errorf("proxy %s: %w", proxy.Host, err)
	}
	stop := context.AfterFunc(ctx, func() { nc.Close() })
	defer stop()
	if proxy.Scheme == "https" {
		nc = tls.Client(nc, &tls.Config{ServerName: proxy.Hostname()})
	}
	if err := connectThrough(nc, proxy, hostPort); err != nil {
		nc.Close()
		return nil, fmt.Errorf("proxy %s: CONNECT %s: %w", proxy.Host, hostPort, err)
	}
	return nc, nil
}

// connectThrough asks the proxy at the other end of nc for hostPort.
func connectThrough(nc net.Conn, proxy *url.URL, hostPort string) error {
	head := "CONNECT " + hostPort + " HTTP/1.1\r\nHost: " + hostPort + "\r\n"
	if u := proxy.User; u != nil {
		password, _ := u.Password()
		login := base64.StdEncoding.EncodeToString([]byte(u.Username() + ":" + password))
		head += "Proxy-Authorization: Basic " + login + "\r\n"
	}
	if _, err := nc.Write([]byte(head + "\r\n")); err != nil {
		return err
	}
	// The relay speaks only after TLS has started, so nothing can follow the
	// response here and be lost in the reader.
	res, err := http.ReadResponse(bufio.NewReader(nc), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %s", res.Status)
	}
	return nil
}
