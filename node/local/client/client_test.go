package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
)

// serve runs handler on a Unix socket and returns a client of it.
func serve(t *testing.T, handler http.HandlerFunc) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "d.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewUnstartedServer(handler)
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	c := New(socket)
	t.Cleanup(func() {
		c.Close()
		srv.Close()
	})
	return c
}

// recorded is a request as the daemon got it.
type recorded struct {
	method, uri, host, cap, body string
}

// TestRequests holds what each method sends and what it makes of the answer.
func TestRequests(t *testing.T) {
	ctx := context.Background()
	tests := []struct {
		name, answer string
		call         func(*Client) (any, error)
		method, uri  string
		body         string
		check        func(any) bool
	}{
		{"status", `{"BackendState":"Running","Peer":{"nodekey:` + strings.Repeat("ab", 32) + `":{"HostName":"p"}}}`,
			func(c *Client) (any, error) { return c.Status(ctx) }, "GET", "/localapi/v0/status", "",
			func(v any) bool { s := v.(*api.Status); return s.BackendState == "Running" && len(s.Peers()) == 1 }},
		{"status without peers", `{"Peer":null}`,
			func(c *Client) (any, error) { return c.StatusWithoutPeers(ctx) }, "GET", "/localapi/v0/status?peers=false", "",
			func(v any) bool { return v.(*api.Status).Peer == nil }},
		{"whois", `{"Node":{"ID":7},"UserProfile":{"LoginName":"a@b"},"CapMap":{"x":null}}`,
			func(c *Client) (any, error) { return c.WhoIsProto(ctx, "tcp", "[fd7a::1]:80") }, "GET",
			"/localapi/v0/whois?addr=%5Bfd7a%3A%3A1%5D%3A80&proto=tcp", "",
			func(v any) bool { w := v.(*api.WhoIsResponse); return w.Node.ID == 7 && w.CapMap.Has("x") }},
		{"prefs", `{"WantRunning":true,"Sync":null}`,
			func(c *Client) (any, error) { return c.Prefs(ctx) }, "GET", "/localapi/v0/prefs", "",
			func(v any) bool { return v.(*api.Prefs).WantRunning }},
		{"edit prefs", `{"Hostname":"h"}`,
			func(c *Client) (any, error) {
				return c.EditPrefs(ctx, &api.MaskedPrefs{Prefs: api.Prefs{Hostname: "h"}, HostnameSet: true})
			}, "PATCH", "/localapi/v0/prefs", `{"Hostname":"h","HostnameSet":true}`,
			func(v any) bool { return v.(*api.Prefs).Hostname == "h" }},
		{"check prefs", `{"Error":""}`,
			func(c *Client) (any, error) { return nil, c.CheckPrefs(ctx, api.NewPrefs()) }, "POST", "/localapi/v0/check-prefs", "*", nil},
		{"start", ``,
			func(c *Client) (any, error) { return nil, c.Start(ctx, api.StartOptions{AuthKey: "k"}) }, "POST", "/localapi/v0/start", `{"AuthKey":"k"}`, nil},
		{"login", ``,
			func(c *Client) (any, error) { return nil, c.LoginInteractive(ctx) }, "POST", "/localapi/v0/login-interactive", "", nil},
		{"ping", `{"NodeName":"p","LatencySeconds":0.5}`,
			func(c *Client) (any, error) {
				return c.Ping(ctx, netip.MustParseAddr("100.64.0.9"), api.PingDisco, 200)
			}, "POST", "/localapi/v0/ping?ip=100.64.0.9&size=200&type=disco", "",
			func(v any) bool { return v.(*api.PingResult).LatencySeconds == 0.5 }},
		{"netcheck", `{"UDP":true,"RegionLatency":{"1":1000000}}`,
			func(c *Client) (any, error) { return c.Netcheck(ctx) }, "POST", "/localapi/v0/netcheck", "",
			func(v any) bool { return v.(*api.NetcheckReport).RegionLatency[1] == time.Millisecond }},
		{"derpmap", `{"Regions":{"1":{"RegionID":1}}}`,
			func(c *Client) (any, error) { return c.DERPMap(ctx) }, "GET", "/localapi/v0/derpmap", "",
			func(v any) bool { return v.(*control.DERPMap).Regions[1].RegionID == 1 }},
		{"debug", "done\n",
			func(c *Client) (any, error) { return c.DebugAction(ctx, "re bind") }, "POST", "/localapi/v0/debug?action=re+bind", "",
			func(v any) bool { return string(v.([]byte)) == "done\n" }},
		{"raw path", "x",
			func(c *Client) (any, error) { return c.Get(ctx, "/other") }, "GET", "/other", "",
			func(v any) bool { return string(v.([]byte)) == "x" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got recorded
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				got = recorded{r.Method, r.RequestURI, r.Host, r.Header.Get("Tailscale-Cap"), string(body)}
				w.Header().Set("Tailscale-Version", "9.9-test")
				if tt.answer == "" {
					w.WriteHeader(http.StatusNoContent)
					return
				}
				io.WriteString(w, tt.answer)
			})
			v, err := tt.call(c)
			if err != nil {
				t.Fatal(err)
			}
			if got.method != tt.method || got.uri != tt.uri || tt.body != "*" && got.body != tt.body {
				t.Errorf("sent %+v", got)
			}
			if got.host != "local-tailscaled.sock" || got.cap != "145" {
				t.Errorf("sent host %q and version %q", got.host, got.cap)
			}
			if tt.check != nil && !tt.check(v) {
				t.Errorf("returned %+v", v)
			}
			if c.DaemonVersion() != "9.9-test" {
				t.Errorf("daemon version = %q", c.DaemonVersion())
			}
		})
	}
}

func TestLogoutReason(t *testing.T) {
	var reasons []string
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		reasons = append(reasons, r.Header.Get("X-Tailscale-Reason"))
		w.WriteHeader(http.StatusNoContent)
	})
	for _, reason := range []string{"", "leaving"} {
		if err := c.Logout(context.Background(), reason); err != nil {
			t.Fatal(err)
		}
	}
	if len(reasons) != 2 || reasons[0] != "" || reasons[1] != "leaving" {
		t.Errorf("reasons = %q", reasons)
	}
}

func TestErrors(t *testing.T) {
	ctx := context.Background()
	status, body := 0, ""
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(status)
		io.WriteString(w, body)
	})

	status, body = 403, "prefs write access denied\n"
	_, err := c.Prefs(ctx)
	var denied *AccessDeniedError
	if !errors.As(err, &denied) || denied.Text != "prefs write access denied" || err.Error() != "access denied: prefs write access denied" {
		t.Errorf("403: %v", err)
	}

	status, body = 400, `{"error":"no such exit node"}`
	_, err = c.EditPrefs(ctx, &api.MaskedPrefs{ExitNodeIDSet: true})
	var he *HTTPError
	if !errors.As(err, &he) || he.Status != 400 || err.Error() != "no such exit node" {
		t.Errorf("400: %v", err)
	}

	status, body = 500, ""
	if _, err = c.Status(ctx); err == nil || !strings.Contains(err.Error(), "500 Internal Server Error") {
		t.Errorf("500 without text: %v", err)
	}

	status, body = 404, "no match for IP:port"
	if _, err = c.WhoIs(ctx, "100.64.0.1"); !errors.Is(err, ErrPeerNotFound) {
		t.Errorf("whois of nobody: %v", err)
	}
	if _, err = c.Status(ctx); errors.Is(err, ErrPeerNotFound) || !errors.As(err, &he) || he.Status != 404 {
		t.Errorf("404 elsewhere: %v", err)
	}

	status, body = 200, `{"Error":"bad tag"}`
	if err = c.CheckPrefs(ctx, api.NewPrefs()); err == nil || err.Error() != "bad tag" {
		t.Errorf("check prefs: %v", err)
	}

	status, body = 200, `not json`
	if _, err = c.Status(ctx); err == nil || !strings.Contains(err.Error(), "status") {
		t.Errorf("bad answer: %v", err)
	}
}

func TestNotRunning(t *testing.T) {
	dir := t.TempDir()
	refused := filepath.Join(dir, "refused.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: refused, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	for _, socket := range []string{filepath.Join(dir, "absent.sock"), refused} {
		_, err := New(socket).Status(context.Background())
		var nr *NotRunningError
		if !errors.Is(err, ErrNotRunning) || !errors.As(err, &nr) || nr.Socket != socket || nr.Unwrap() == nil {
			t.Errorf("%s: %v", socket, err)
			continue
		}
		nr.PID = 0 // one may run for others
		if !strings.HasPrefix(nr.Error(), "failed to connect to local ginneld; it doesn't appear to be running") {
			t.Errorf("%s: %v", socket, err)
		}
		nr.PID = 17
		if text := nr.Error(); !strings.Contains(text, "process 17, but not at "+socket) {
			t.Errorf("%s: with a daemon elsewhere: %s", socket, text)
		}
	}
}

func TestSocketFromEnvironment(t *testing.T) {
	t.Setenv("GINNEL_SOCKET", "/tmp/elsewhere.sock")
	if got := New("").Socket(); got != "/tmp/elsewhere.sock" {
		t.Errorf("socket = %q", got)
	}
}

func TestWatchBus(t *testing.T) {
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("mask") != "6" {
			http.Error(w, "bad mask", http.StatusBadRequest)
			return
		}
		for _, s := range []api.State{api.Starting, api.Running} {
			b, _ := json.Marshal(api.Notify{State: &s})
			fmt.Fprintf(w, "%s\n", b)
			w.(http.Flusher).Flush()
		}
		<-r.Context().Done()
	})
	if _, err := c.WatchBus(context.Background(), 1<<16); err == nil || err.Error() != "bad mask" {
		t.Errorf("refused mask: %v", err)
	}
	w, err := c.WatchBus(context.Background(), api.NotifyInitialState|api.NotifyInitialPrefs)
	if err != nil {
		t.Fatal(err)
	}
	var states []api.State
	for n, err := range w.All() {
		if err != nil {
			t.Fatal(err)
		}
		states = append(states, *n.State)
		if len(states) == 2 {
			go w.Close()
		}
	}
	if len(states) != 2 || states[0] != api.Starting || states[1] != api.Running {
		t.Errorf("states = %v", states)
	}
	if _, err := w.Next(); !errors.Is(err, ErrWatcherClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestWatchBusEnds(t *testing.T) {
	stop := make(chan struct{})
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		select {
		case <-stop:
		case <-r.Context().Done():
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	w, err := c.WatchBus(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := w.Next(); !errors.Is(err, context.Canceled) {
		t.Errorf("after the context's end: %v", err)
	}
	w.Close()

	if w, err = c.WatchBus(context.Background(), 0); err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	close(stop)
	if _, err := w.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the daemon's end: %v", err)
	}
}

func TestDialWaitsForStartingDaemon(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "late.sock")
	var l net.Listener
	looks := 0
	conn, err := dial(context.Background(), socket, func() (int, time.Duration, bool) {
		if looks++; looks == 2 {
			var err error
			if l, err = net.Listen("unix", socket); err != nil {
				t.Error(err)
			}
		}
		return 1, time.Second, true
	})
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	l.Close()
	if looks != 2 {
		t.Errorf("looked %d times for the daemon", looks)
	}
	for name, find := range map[string]func() (int, time.Duration, bool){
		"none": func() (int, time.Duration, bool) { return 0, 0, false },
		"old":  func() (int, time.Duration, bool) { return 1, time.Hour, true },
	} {
		if _, err := dial(context.Background(), filepath.Join(t.TempDir(), "absent.sock"), find); !nobodyListens(err) {
			t.Errorf("%s daemon: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err = dial(ctx, filepath.Join(t.TempDir(), "absent.sock"), func() (int, time.Duration, bool) { cancel(); return 1, 0, true })
	if !nobodyListens(err) {
		t.Errorf("after the context's end: %v", err)
	}
}
