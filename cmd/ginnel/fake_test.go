package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/version"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// fakeDaemon answers the local API as ginneld does, as far as the commands need.
type fakeDaemon struct {
	t      *testing.T
	socket string

	mu       sync.Mutex
	version  string
	status   *api.Status
	prefs    *api.Prefs
	edits    []string // JSON of edits
	starts   []api.StartOptions
	calls    []string // method and path with query of all requests
	watchers []chan *api.Notify
	pings    []api.PingResult // answers, one for each; no more: no answer
	answers  map[string]string
	readOnly bool
	refusal  string // of edits and checks
	// onStart, onLogin and onEdit are what starting, logging in and an edit lead to.
	onStart, onLogin, onEdit func()
	// health is what watchers hear first.
	health *api.HealthState
	// onPause is what happens while a command pauses.
	onPause func()
	// profiles answers requests about profiles.
	profiles http.HandlerFunc
}

// newFake serves a daemon that is logged out.
func newFake(t *testing.T) *fakeDaemon {
	t.Helper()
	d := &fakeDaemon{
		t: t, socket: filepath.Join(t.TempDir(), "d.sock"), version: version.Long(), prefs: api.NewPrefs(), answers: map[string]string{},
		status: &api.Status{Version: version.Long(), BackendState: "NeedsLogin"},
	}
	l, err := net.Listen("unix", d.socket)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /localapi/v0/status", d.serveStatus)
	mux.HandleFunc("/localapi/v0/prefs", d.servePrefs)
	mux.HandleFunc("POST /localapi/v0/check-prefs", func(w http.ResponseWriter, _ *http.Request) {
		json.NewEncoder(w).Encode(api.CheckPrefsResponse{Error: d.refusal})
	})
	mux.HandleFunc("POST /localapi/v0/start", d.serveStart)
	mux.HandleFunc("POST /localapi/v0/login-interactive", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
		if d.onLogin != nil {
			d.onLogin()
		}
	})
	mux.HandleFunc("POST /localapi/v0/logout", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	mux.HandleFunc("GET /localapi/v0/watch-ipn-bus", d.serveBus)
	mux.HandleFunc("POST /localapi/v0/ping", d.servePing)
	mux.HandleFunc("/localapi/v0/profiles/", func(w http.ResponseWriter, r *http.Request) { d.profiles(w, r) })
	mux.HandleFunc("/localapi/v0/", func(w http.ResponseWriter, r *http.Request) {
		answer, ok := d.answers[strings.TrimPrefix(r.URL.RequestURI(), "/localapi/v0/")]
		if !ok {
			http.Error(w, "404 page not found", http.StatusNotFound)
			return
		}
		io.WriteString(w, answer)
	})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d.mu.Lock()
		d.calls = append(d.calls, r.Method+" "+strings.TrimPrefix(r.URL.RequestURI(), "/localapi/v0/"))
		d.mu.Unlock()
		w.Header().Set("Tailscale-Version", d.version)
		if d.readOnly && r.Method != http.MethodGet {
			http.Error(w, "write access denied", http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return d
}

func (d *fakeDaemon) serveStatus(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := *d.status
	if r.FormValue("peers") == "false" {
		st.Peer = nil
	}
	json.NewEncoder(w).Encode(st)
}

func (d *fakeDaemon) servePrefs(w http.ResponseWriter, r *http.Request) {
	if d.onEdit != nil && r.Method == http.MethodPatch {
		defer d.onEdit()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.Method == http.MethodPatch {
		body, err := io.ReadAll(r.Body)
		var edit api.MaskedPrefs
		if err == nil {
			err = json.Unmarshal(body, &edit)
		}
		if err != nil {
			d.t.Errorf("edit of preferences: %v", err)
		}
		if d.refusal != "" {
			w.WriteHeader(http.StatusBadRequest)
			json.NewEncoder(w).Encode(api.ErrorResponse{Error: d.refusal})
			return
		}
		d.edits = append(d.edits, string(body))
		edit.ApplyTo(d.prefs)
	}
	json.NewEncoder(w).Encode(d.prefs.Public())
}

func (d *fakeDaemon) serveStart(w http.ResponseWriter, r *http.Request) {
	var o api.StartOptions
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		d.t.Errorf("start options: %v", err)
	}
	d.mu.Lock()
	d.starts = append(d.starts, o)
	d.prefs = o.UpdatePrefs
	d.mu.Unlock()
	w.WriteHeader(http.StatusNoContent)
	if d.onStart != nil {
		d.onStart()
	}
}

func (d *fakeDaemon) serveBus(w http.ResponseWriter, r *http.Request) {
	ch := make(chan *api.Notify, 100)
	d.mu.Lock()
	d.watchers = append(d.watchers, ch)
	state, err := api.ParseState(d.status.BackendState)
	d.mu.Unlock()
	if err != nil {
		d.t.Error(err)
	}
	ch <- &api.Notify{Version: d.version, State: &state, Health: d.health}
	for {
		select {
		case n := <-ch:
			if n == nil {
				return
			}
			json.NewEncoder(w).Encode(n)
			w.(http.Flusher).Flush()
		case <-r.Context().Done():
			return
		}
	}
}

func (d *fakeDaemon) servePing(w http.ResponseWriter, r *http.Request) {
	d.mu.Lock()
	if len(d.pings) == 0 {
		d.mu.Unlock()
		<-r.Context().Done()
		return
	}
	next := d.pings[0]
	d.pings = d.pings[1:]
	d.mu.Unlock()
	json.NewEncoder(w).Encode(next)
}

// tell sends messages to all watchers; nil ends their streams.
func (d *fakeDaemon) tell(messages ...*api.Notify) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, w := range d.watchers {
		for _, m := range messages {
			w <- m
		}
	}
}

// enter changes the state and tells.
func (d *fakeDaemon) enter(s api.State) {
	d.mu.Lock()
	d.status.BackendState = s.String()
	d.mu.Unlock()
	d.tell(&api.Notify{State: &s})
}

// Messages of the bus.
func url(text string) *api.Notify     { return &api.Notify{BrowseToURL: &text} }
func failure(text string) *api.Notify { return &api.Notify{ErrMessage: &text} }
func finished() *api.Notify           { return &api.Notify{LoginFinished: &api.Empty{}} }
func warning(code api.WarnableCode, text string) *api.Notify {
	return &api.Notify{Health: &api.HealthState{Warnings: map[api.WarnableCode]api.UnhealthyState{code: {WarnableCode: code, Text: text}}}}
}

// outcome is what a run left.
type outcome struct {
	code     int
	out, err string
	pauses   []time.Duration
}

// runOptions change the world around a run.
type runOptions struct {
	stdin    string
	env      map[string]string
	terminal bool
}

// ginnel runs the program against the daemon.
func (d *fakeDaemon) ginnel(args ...string) outcome { return d.ginnelIn(runOptions{}, args...) }

func (d *fakeDaemon) ginnelIn(o runOptions, args ...string) outcome {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var out, errOut bytes.Buffer
	var result outcome
	a := &app{stdin: strings.NewReader(o.stdin), stdout: &out, stderr: &errOut, stderrTerminal: o.terminal, stdinTerminal: o.terminal,
		getenv: func(name string) string { return o.env[name] }, connect: connectOnce,
		pause: func(_ context.Context, t time.Duration) error {
			result.pauses = append(result.pauses, t)
			if d.onPause != nil {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.onPause()
			}
			return nil
		}}
	result.code = a.run(ctx, append([]string{"--socket", d.socket}, args...))
	if ctx.Err() != nil {
		d.t.Errorf("ginnel %q did not end", args)
	}
	result.out, result.err = out.String(), errOut.String()
	return result
}

// connectOnce makes a client that does not wait for a daemon to start.
func connectOnce(socket string) *client.Client {
	return client.NewWithDialer(socket, func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	})
}

// called reports whether a request was made.
func (d *fakeDaemon) called(call string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.calls {
		if c == call {
			return true
		}
	}
	return false
}

// nodeKey is a made-up key.
func nodeKey(n byte) key.NodePublic { return key.NodePublicFromRaw32([32]byte{n}) }

// running makes the daemon one that is up, with two peers.
func (d *fakeDaemon) running() *fakeDaemon {
	d.prefs.ControlURL, d.prefs.WantRunning, d.prefs.LoggedOut = "https://server.example", true, false
	d.prefs.Config = &api.Persist{NodeID: "nself", UserProfile: control.UserProfile{ID: 1, LoginName: "ann@example.com"}}
	d.status.BackendState, d.status.HaveNodeKey = "Running", true
	d.status.MagicDNSSuffix = "net.example"
	d.status.CurrentTailnet = &api.TailnetStatus{Name: "example", MagicDNSSuffix: "net.example", MagicDNSEnabled: true}
	d.status.TailscaleIPs = addrs("100.64.0.1", "fd7a:115c:a1e0::1")
	d.status.Self = &api.PeerStatus{ID: "nself", HostName: "fig", DNSName: "fig.net.example.", OS: "linux", UserID: 1, Online: true, TailscaleIPs: d.status.TailscaleIPs}
	d.status.User = map[control.UserID]control.UserProfile{1: {ID: 1, LoginName: "ann@example.com"}, 2: {ID: 2, LoginName: "tagged-devices"}}
	d.status.Peer = map[key.NodePublic]*api.PeerStatus{
		nodeKey(2): {ID: "napple", PublicKey: nodeKey(2), HostName: "Apple", DNSName: "apple.net.example.", OS: "linux", UserID: 1, Online: true,
			TailscaleIPs: addrs("100.64.0.2", "fd7a:115c:a1e0::2"), ExitNodeOption: true},
		nodeKey(3): {ID: "nbirch", PublicKey: nodeKey(3), HostName: "birch", DNSName: "birch.net.example.", OS: "macOS", UserID: 2, Online: true,
			TailscaleIPs: addrs("100.64.0.3"), Active: true, CurAddr: "192.0.2.3:41641", TxBytes: 10, RxBytes: 20},
	}
	return d
}

// addrs parses addresses.
func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}
