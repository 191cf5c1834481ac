//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// fetchTimeout bounds one fetch of the page.
const fetchTimeout = 20 * time.Second

// checkPage serves a page beside the second node and fetches it from the first.
func (d *demo) checkPage(ctx context.Context) error {
	from, to := d.nodes[0], d.nodes[1]
	port, err := to.place.FreePort()
	if err != nil {
		return err
	}
	ln, err := to.place.Listen(ctx, "tcp", net.JoinHostPort(d.net.pageHost(), port))
	if err != nil {
		return fmt.Errorf("serve the page: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: fetchTimeout, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, page)
	})}
	go srv.Serve(ln)
	d.closers = append(d.closers, func() { srv.Close() })

	target := "http://" + net.JoinHostPort(to.ip, port) + "/"
	d.pageURL = target
	if from.socks == "" {
		return fetch(ctx, &http.Transport{DialContext: from.place.Dial}, target, "over the TUN device")
	}
	for _, proxy := range []string{"socks5://" + from.socks, "http://" + from.http} {
		u, err := url.Parse(proxy)
		if err != nil {
			return err
		}
		if err := fetch(ctx, &http.Transport{Proxy: http.ProxyURL(u)}, target, "through "+proxy); err != nil {
			return err
		}
	}
	return nil
}

func fetch(ctx context.Context, via *http.Transport, target, how string) error {
	defer via.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: via}).Do(req)
	if err != nil {
		return fmt.Errorf("fetch the page %s: %w", how, err)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err = errors.Join(err, resp.Body.Close()); err != nil {
		return fmt.Errorf("fetch the page %s: %w", how, err)
	}
	if resp.StatusCode != http.StatusOK || string(body) != page {
		return fmt.Errorf("fetch the page %s: got %s %q", how, resp.Status, body)
	}
	ok("web page", "%s %s: %s", target, how, strings.TrimSpace(page))
	return nil
}
