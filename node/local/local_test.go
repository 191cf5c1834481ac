package local

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node"
	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/node/local/client"
	"github.com/ginnel/ginnel/node/netmap"
	"github.com/ginnel/ginnel/node/state"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// fakeBackend is a node of fixed answers that counts what it is told to do.
type fakeBackend struct {
	Backend // what a test does not expect to be called panics
	m       *netmap.Map
	calls   []string
	err     error
	remote  net.Conn
}

var peerKey = key.NewNode().Public()

func newBackend(t *testing.T) *fakeBackend {
	var b netmap.Builder
	m, _, err := b.Apply(&control.MapResponse{
		Node:         &control.Node{ID: 1, StableID: "one", Name: "one.x.", Key: key.NewNode().Public()},
		Peers:        []*control.Node{{ID: 2, StableID: "two", Name: "two.x.", Key: peerKey, Addresses: []netip.Prefix{netip.MustParsePrefix("100.64.0.2/32")}}},
		DERPMap:      &control.DERPMap{Regions: map[int]*control.DERPRegion{9: {RegionID: 9, RegionCode: "nine"}}},
		UserProfiles: []control.UserProfile{{ID: 7, LoginName: "ann"}},
	}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return &fakeBackend{m: m}
}

func (f *fakeBackend) called(what string) error {
	f.calls = append(f.calls, what)
	return f.err
}
func (f *fakeBackend) Version() string      { return "1.2.3" }
func (f *fakeBackend) OperatorUser() string { return "4711" }
func (f *fakeBackend) Map() *netmap.Map     { return f.m }
func (f *fakeBackend) Status(peers bool) *api.Status {
	return &api.Status{Version: "1.2.3", BackendState: strconv.FormatBool(peers)}
}
func (f *fakeBackend) Prefs() *api.Prefs { return api.NewPrefs() }
func (f *fakeBackend) EditPrefs(_ context.Context, e *api.MaskedPrefs) (*api.Prefs, error) {
	p := api.NewPrefs()
	e.ApplyTo(p)
	return p, f.called("edit " + strings.Join(e.SetFields(), ","))
}
func (f *fakeBackend) CheckPrefs(context.Context, *api.Prefs) error { return f.called("check") }
func (f *fakeBackend) Start(_ context.Context, o api.StartOptions) error {
	return f.called("start " + o.AuthKey)
}
func (f *fakeBackend) LoginInteractive(context.Context) error { return f.called("login") }
func (f *fakeBackend) Logout(context.Context) error           { return f.called("logout") }
func (f *fakeBackend) ResetAuth(context.Context) error        { return f.called("reset") }
func (f *fakeBackend) Profiles(context.Context) (api.LoginProfile, []api.LoginProfile, error) {
	return api.LoginProfile{}, []api.LoginProfile{{ID: "00a1", Name: "ann"}}, nil
}

func (f *fakeBackend) profileCall(what, id string) error {
	if id != "00a1" {
		return state.ErrNoProfile
	}
	return f.called(what + " " + id)
}
func (f *fakeBackend) NewProfile(context.Context) error { return f.called("new profile") }
func (f *fakeBackend) SwitchProfile(_ context.Context, id string) error {
	return f.profileCall("switch", id)
}
func (f *fakeBackend) DeleteProfile(_ context.Context, id string) error {
	return f.profileCall("delete", id)
}
func (f *fakeBackend) Rebind()                  { f.called("rebind") }
func (f *fakeBackend) Restun()                  { f.called("restun") }
func (f *fakeBackend) RefreshMap()              { f.called("refresh") }
func (f *fakeBackend) DebugPaths() any          { return map[string]int{"paths": 1} }
func (f *fakeBackend) NoteBadConnection(string) {}

func (f *fakeBackend) WriteMetrics(w io.Writer) error {
	_, err := io.WriteString(w, "metric 1\n")
	return err
}
func (f *fakeBackend) WhoIs(a netip.AddrPort, k key.NodePublic) *api.WhoIsResponse {
	if n := f.m.NodeByIP(a.Addr()); a.IsValid() && n != nil {
		return &api.WhoIsResponse{Node: n}
	}
	if n := f.m.NodeByIP(a.Addr()); n != nil {
		return &api.WhoIsResponse{Node: n}
	}
	if n := f.m.NodeByKey(k); n != nil {
		return &api.WhoIsResponse{Node: n}
	}
	return nil
}
func (f *fakeBackend) Ping(_ context.Context, ip netip.Addr, t api.PingType, size int) (*api.PingResult, error) {
	return &api.PingResult{IP: ip.String(), LatencySeconds: float64(size)}, f.err
}
func (f *fakeBackend) Netcheck(context.Context) (*api.NetcheckReport, error) {
	return &api.NetcheckReport{UDP: true}, f.err
}
func (f *fakeBackend) Dial(_ context.Context, network, host string, port uint16) (net.Conn, error) {
	return f.remote, f.called("dial " + network + " " + net.JoinHostPort(host, strconv.Itoa(int(port))))
}

// request runs one request with the given access.
func request(s *Server, a access, method, target, body string, header ...string) *httptest.ResponseRecorder {
	s.accessFor = func(*http.Request) access { return a }
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host = hostName
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestEndpoints(t *testing.T) {
	for _, c := range []struct {
		method, path, body string
		status             int
		want               string // in the body, or "call:" and a call of the backend
	}{
		{"GET", "status", "", 200, `"BackendState": "true"`},
		{"GET", "status?peers=false", "", 200, `"BackendState": "false"`},
		{"GET", "status?peers=x", "", 400, "invalid 'peers'"},
		{"POST", "status", "", 405, "use GET"},
		{"GET", "whois?addr=100.64.0.2", "", 200, `"two.x."`},
		{"GET", "whois?addr=100.64.0.2:80", "", 200, `"two.x."`},
		{"GET", "whois?addr=" + peerKey.String(), "", 200, `"two.x."`},
		{"GET", "whois?addr=100.64.0.9", "", 404, "no match for IP:port"},
		{"GET", "whois?addr=hello", "", 400, "invalid 'addr'"},
		{"GET", "whois?addr=nodekey:12", "", 400, "invalid 'addr'"},
		{"GET", "whois", "", 400, "missing 'addr'"},
		{"GET", "prefs", "", 200, `"LoggedOut": true`},
		{"PATCH", "prefs", `{"Hostname":"x","HostnameSet":true,"ShieldsUp":true}`, 200, "call:edit Hostname"},
		{"PATCH", "prefs", `{`, 400, "invalid request body"},
		{"POST", "check-prefs", `{}`, 200, `"Error": ""`},
		{"POST", "start", `{"AuthKey":"k"}`, 204, "call:start k"},
		{"POST", "start", "", 204, "call:start "},
		{"POST", "start", "[]", 400, "invalid request body"},
		{"GET", "profiles/", "", 200, `"ID": "00a1"`},
		{"PUT", "profiles/", "", 201, "call:new profile"},
		{"POST", "profiles/", "", 405, "not for this path"},
		{"GET", "profiles/current", "", 200, `"ID": ""`},
		{"DELETE", "profiles/current", "", 405, "not for this path"},
		{"GET", "profiles/00a1", "", 200, `"Name": "ann"`},
		{"GET", "profiles/00a2", "", 404, "no such profile"},
		{"POST", "profiles/00a1", "", 204, "call:switch 00a1"},
		{"POST", "profiles/00a2", "", 404, "no such profile"},
		{"DELETE", "profiles/00a1", "", 204, "call:delete 00a1"},
		{"DELETE", "profiles/00a2", "", 404, "no such profile"},
		{"PATCH", "profiles/00a1", "", 405, "use GET"},
		{"POST", "login-interactive", "", 204, "call:login"},
		{"GET", "login-interactive", "", 405, "use POST"},
		{"POST", "logout", "", 204, "call:logout"},
		{"POST", "reset-auth", "", 204, "call:reset"},
		{"POST", "ping?ip=100.64.0.2&type=disco&size=3", "", 200, `"LatencySeconds": 3`},
		{"POST", "ping?ip=x&type=disco", "", 400, "invalid 'ip'"},
		{"POST", "ping?ip=100.64.0.2&type=DISCO", "", 400, "invalid 'type'"},
		{"POST", "ping?ip=100.64.0.2&type=TSMP&size=3", "", 400, "only for disco"},
		{"POST", "netcheck", "", 200, `"UDP": true`},
		{"GET", "derpmap", "", 200, `"nine"`},
		{"GET", "peer-by-id?id=2", "", 200, `"two.x."`},
		{"GET", "peer-by-id?id=3", "", 404, "no such peer"},
		{"GET", "peer-by-id?id=x", "", 400, "invalid 'id'"},
		{"GET", "user-profile?id=7", "", 200, `"ann"`},
		{"GET", "user-profile?id=8", "", 404, "no such user"},
		{"GET", "usermetrics", "", 200, "metric 1"},
		{"GET", "metrics", "", 200, "metric 1"},
		{"GET", "goroutines", "", 200, "goroutine"},
		{"GET", "pprof?name=heap&debug=1", "", 200, "heap profile"},
		{"GET", "pprof?name=x", "", 404, "no such profile"},
		{"POST", "debug?action=rebind", "", 200, "call:rebind"},
		{"POST", "debug?action=restun", "", 200, "call:restun"},
		{"POST", "debug?action=force-netmap-update", "", 200, "call:refresh"},
		{"POST", "debug?action=current-netmap", "", 200, `"two.x."`},
		{"POST", "debug?action=paths", "", 200, `"paths": 1`},
		{"POST", "debug?action=explode", "", 400, "unknown action"},
		{"POST", "debug", "", 400, "missing 'action'"},
		{"GET", "watch-ipn-bus?mask=x", "", 400, "mask"},
		{"GET", "watch-ipn-bus?mask=65536", "", 400, ""},
		{"GET", "cert-domains", "", 200, "[]"},
		{"GET", "serve-config", "", 200, "{}"},
		{"POST", "serve-config", "{}", 405, ""},
		{"POST", "dial", "", 400, "bad or missing headers"},
		{"GET", "nothing", "", 404, ""},
	} {
		b := newBackend(t)
		w := request(New(b, nil), accessWrite, c.method, prefix+c.path, c.body)
		if w.Code != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", c.method, c.path, w.Code, c.status, w.Body)
		}
		if call, ok := strings.CutPrefix(c.want, "call:"); ok {
			if len(b.calls) != 1 || b.calls[0] != call {
				t.Errorf("%s %s: calls %q, want %q", c.method, c.path, b.calls, call)
			}
		} else if !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%s %s: body %q, want %q in it", c.method, c.path, w.Body, c.want)
		}
		if w.Header().Get("Tailscale-Version") != "1.2.3" || w.Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s: headers %v", c.method, c.path, w.Header())
		}
	}
}

func TestReadersMayOnlyRead(t *testing.T) {
	for target, allowed := range map[string]bool{
		"GET status": true, "GET prefs": true, "GET whois?addr=100.64.0.2": true, "POST ping?ip=100.64.0.2&type=disco": true,
		"GET derpmap": true, "POST netcheck": true, "GET usermetrics": true,
		"PATCH prefs": false, "POST start": false, "POST login-interactive": false, "POST logout": false, "POST reset-auth": false,
		"POST check-prefs": false, "GET goroutines": false, "GET pprof?name=heap": false, "GET metrics": false, "POST debug?action=rebind": false,
	} {
		method, path, _ := strings.Cut(target, " ")
		b := newBackend(t)
		w := request(New(b, nil), accessRead, method, prefix+path, "{}")
		if got := w.Code != http.StatusForbidden; got != allowed {
			t.Errorf("%s: status %d, allowed should be %v", target, w.Code, allowed)
		}
		if !allowed && len(b.calls) > 0 {
			t.Errorf("%s: refused but done: %q", target, b.calls)
		}
		if w := request(New(b, nil), accessNone, method, prefix+path, "{}"); w.Code != http.StatusForbidden {
			t.Errorf("%s without credentials: status %d", target, w.Code)
		}
	}
}

func TestBrowsersAreRefused(t *testing.T) {
	s := New(newBackend(t), nil)
	for _, header := range [][]string{{"Origin", "http://evil.example"}, {"Referer", "http://evil.example/"}, {"Origin", "null"}} {
		if w := request(s, accessWrite, "POST", prefix+"logout", "", header...); w.Code != http.StatusForbidden || !strings.Contains(w.Body.String(), "invalid localapi request") {
			t.Errorf("%v: %d %s", header, w.Code, w.Body)
		}
	}
	for host, ok := range map[string]bool{hostName: true, "": true, "localhost": false, "evil.example": false, "127.0.0.1:80": false, hostName + ":80": false} {
		r := httptest.NewRequest("GET", prefix+"status", nil)
		r.Host = host
		w := httptest.NewRecorder()
		s.accessFor = func(*http.Request) access { return accessWrite }
		s.ServeHTTP(w, r)
		if (w.Code == http.StatusOK) != ok {
			t.Errorf("host %q: %d", host, w.Code)
		}
	}
}

func TestBackendErrors(t *testing.T) {
	for err, status := range map[error]int{
		errors.New("boom"): 500, &node.PrefsError{Text: "no"}: 400, node.ErrNoServer: 400,
	} {
		b := newBackend(t)
		b.err = err
		if w := request(New(b, nil), accessWrite, "POST", prefix+"start", "{}"); w.Code != status || !strings.Contains(w.Body.String(), err.Error()) {
			t.Errorf("%v: %d %s", err, w.Code, w.Body)
		}
		if w := request(New(b, nil), accessWrite, "PATCH", prefix+"prefs", "{}"); w.Code != 400 || !strings.Contains(w.Body.String(), `{"error":`) {
			t.Errorf("edit with %v: %d %s", err, w.Code, w.Body)
		}
		if w := request(New(b, nil), accessWrite, "POST", prefix+"check-prefs", "{}"); w.Code != 200 || !strings.Contains(w.Body.String(), err.Error()) {
			t.Errorf("check with %v: %d %s", err, w.Code, w.Body)
		}
	}
}

func TestBodyIsBounded(t *testing.T) {
	big := `{"AuthKey":"` + strings.Repeat("x", maxBody) + `"}`
	if w := request(New(newBackend(t), nil), accessWrite, "POST", prefix+"start", big); w.Code != http.StatusBadRequest {
		t.Errorf("status %d for a body over the limit", w.Code)
	}
}

func TestOperator(t *testing.T) {
	s := New(newBackend(t), nil)
	s.ownUID = 1000
	for uid, want := range map[uint32]access{0: accessWrite, 1000: accessWrite, 4711: accessWrite, 4712: accessRead} {
		r := httptest.NewRequest("GET", "/", nil)
		r = r.WithContext(context.WithValue(r.Context(), callerKey{}, caller{uid: uid, known: true}))
		if got := s.accessOf(r); got != want {
			t.Errorf("uid %d: access %v, want %v", uid, got, want)
		}
	}
	if got := s.accessOf(httptest.NewRequest("GET", "/", nil)); got != accessNone {
		t.Errorf("unknown caller: access %v", got)
	}
}

// serve serves backend on a socket in a new directory.
func serve(t *testing.T, backend Backend) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "dir", "d.sock")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- New(backend, nil).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestSocket(t *testing.T) {
	path := serve(t, newBackend(t))
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("second daemon: %v", err)
	}
	st, err := client.New(path).Status(t.Context()) // with real credentials
	if err != nil || st.Version != "1.2.3" {
		t.Errorf("status = %v, %v", st, err)
	}
	if err := client.New(path).Logout(t.Context(), ""); err != nil {
		t.Errorf("own user may not write: %v", err)
	}

	stale := filepath.Join(t.TempDir(), "stale.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: stale, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(stale)
	if err != nil {
		t.Fatalf("stale socket: %v", err)
	}
	l.Close()

	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(file); err == nil {
		t.Error("a file was taken for a socket")
	}
	if text, _ := os.ReadFile(file); string(text) != "precious" {
		t.Error("the file was removed")
	}
}

func TestDial(t *testing.T) {
	b := newBackend(t)
	near, far := net.Pipe()
	b.remote = near
	path := serve(t, b)
	go io.Copy(far, far) // echoes
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, "POST /localapi/v0/dial HTTP/1.1\r\nHost: "+hostName+"\r\nConnection: upgrade\r\nUpgrade: ts-dial\r\nDial-Host: two\r\nDial-Port: 80\r\n\r\nearly")
	const head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: ts-dial\r\n\r\nearly"
	got := make([]byte, len(head))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != head {
		t.Fatalf("answer %q, %v", got, err)
	}
	if len(b.calls) != 1 || b.calls[0] != "dial tcp two:80" {
		t.Errorf("calls = %q", b.calls)
	}
}

// TestBus watches a real node, without any network.
func TestBus(t *testing.T) {
	n, err := node.New(node.Options{StatePath: filepath.Join(t.TempDir(), "state"), TUN: node.Userspace, Version: "1.2.3"})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	c := client.New(serve(t, n))
	w, err := c.WatchBus(t.Context(), api.NotifyInitialState|api.NotifyInitialPrefs|api.NotifyInitialHealthState|api.NotifyInitialStatus)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	first, err := w.Next()
	if err != nil {
		t.Fatal(err)
	}
	if first.State == nil || first.SessionID == "" || first.Prefs == nil || first.Health == nil || first.InitialStatus == nil || first.Version != "1.2.3" {
		t.Errorf("first message = %+v", first)
	}
	if _, err := c.EditPrefs(t.Context(), &api.MaskedPrefs{Prefs: api.Prefs{Hostname: "renamed"}, HostnameSet: true}); err != nil {
		t.Fatal(err)
	}
	for {
		msg, err := w.Next()
		if err != nil {
			t.Fatal(err)
		}
		if msg.Prefs != nil && msg.Prefs.Hostname == "renamed" {
			break
		}
	}
	if _, err := c.WatchBus(t.Context(), api.NotifyInProcess); err == nil {
		t.Error("a mask that is refused was accepted")
	}
}
