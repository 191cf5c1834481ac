package ctl

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

func TestLoginByAuthKeyAndMap(t *testing.T) {
	f := ctltest.New(t)
	f.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if r.Auth == nil || r.Auth.AuthKey != "k1" || r.NodeKey.IsZero() || r.NLKey.IsZero() || r.Hostinfo.Hostname != "testhost" {
			t.Errorf("register request = %+v", r)
		}
		return ctltest.Accept(r)
	}
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		if r.Compress != control.CompressZstd || !r.KeepAlive || r.Version < control.MinimumCapabilityVersion {
			t.Errorf("map request = %+v", r)
		}
		w.SendFull(r.NodeKey)
		w.SendRaw([]byte(control.KeepAliveBody))
		w.Send(&control.MapResponse{PeersChanged: []*control.Node{{ID: 2, StableID: "two", Name: "two.example."}}})
		w.Hold()
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k1"})
	in := want[LoggedIn](events)
	if in.Identity.NodeKey.IsZero() || in.User.ID != 7 || in.Login.LoginName != "ann@example" {
		t.Errorf("logged in as %+v", in)
	}
	if e := want[Online](events); e.Err != nil {
		t.Errorf("online: %v", e.Err)
	}
	if m := want[MapUpdate](events); !m.Changes.First || m.Map.Self.ID != 1 {
		t.Errorf("first map = %+v", m)
	}
	if m := want[MapUpdate](events); m.Changes.First || m.Map.Peer(2) == nil {
		t.Errorf("second map = %+v", m)
	}
	if got := f.Registers()[0].NodeKey; got != in.Identity.NodeKey.Public() {
		t.Error("the registered key is not the one reported")
	}
}

func TestInteractiveLoginFollowsUp(t *testing.T) {
	f := ctltest.New(t)
	var followups atomic.Int32
	f.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		switch {
		case r.Followup == "":
			return http.StatusOK, &control.RegisterResponse{AuthURL: "http://x.example/a"}
		case r.Followup == "http://x.example/a" && followups.Add(1) == 1:
			return http.StatusBadGateway, nil // a proxy in between lost patience
		case r.Followup == "http://x.example/a":
			return http.StatusOK, &control.RegisterResponse{AuthURL: "http://x.example/b"} // forgotten
		}
		return ctltest.Accept(r)
	}
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{FreshKey: true})
	if u := want[LoginURL](events); u.URL != "http://x.example/a" {
		t.Errorf("url = %q", u.URL)
	}
	want[LoginFailed](events)
	want[LoginWaiting](events) // the trouble with the follow-up is over
	if u := want[LoginURL](events); u.URL != "http://x.example/b" {
		t.Errorf("second url = %q", u.URL)
	}
	in := want[LoggedIn](events)
	for _, r := range f.Registers() {
		if r.NodeKey != in.Identity.NodeKey.Public() {
			t.Error("a follow-up used another node key")
		}
	}
}

func TestLoginURLMustBeSafe(t *testing.T) {
	u, err := parseServerURL("https://server.example")
	if err != nil {
		t.Fatal(err)
	}
	for raw, ok := range map[string]bool{
		"https://login.example/x": true, "http://login.example/x": false, "javascript:alert(1)": false,
		"file:///etc/passwd": false, "https:///nohost": false, "%zz": false,
	} {
		if err := u.checkAuthURL(raw); (err == nil) != ok {
			t.Errorf("%q: %v", raw, err)
		}
	}
}

// TestLoginByKeyMakesAStreamAnew logs in by an auth key while the stream is one that the
// server has forgotten: the same node key may be another node from now on.
func TestLoginByKeyMakesAStreamAnew(t *testing.T) {
	f := ctltest.New(t)
	var streams atomic.Int32
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		streams.Add(1)
		w.SendFull(r.NodeKey)
		w.Hold()
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "one"})
	first := want[LoggedIn](events)
	want[MapUpdate](events)
	c.Login(LoginOptions{AuthKey: "two"})
	if again := want[LoggedIn](events); !again.Identity.NodeKey.Equal(first.Identity.NodeKey) {
		t.Error("another node key")
	}
	if m := want[MapUpdate](events); !m.Changes.First || streams.Load() != 2 {
		t.Errorf("%d streams, map %+v", streams.Load(), m)
	}
}

func TestRefusedLoginEnds(t *testing.T) {
	f := ctltest.New(t)
	f.Register = func(*control.RegisterRequest) (int, *control.RegisterResponse) {
		return http.StatusOK, &control.RegisterResponse{Error: "authkey already used"}
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "used"})
	e := want[LoginFailed](events)
	var refused *RefusedError
	if !e.Final || !errors.As(e.Err, &refused) || refused.Text != "authkey already used" {
		t.Errorf("event = %+v", e)
	}
	if n := len(f.Registers()); n != 1 {
		t.Errorf("%d requests, want 1", n)
	}
}

func TestRestartKeepsKeyAndPersists(t *testing.T) {
	f := ctltest.New(t)
	old := key.NewNode()
	var tries atomic.Int32
	f.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if r.NodeKey != old.Public() {
			t.Error("a restart changed the node key")
		}
		if tries.Add(1) < 3 {
			return http.StatusOK, &control.RegisterResponse{Error: "not now"}
		}
		return ctltest.Accept(r)
	}
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	c, events := startClient(t, f.URL(), func(o *Options) { o.Identity.NodeKey = old })
	c.Login(LoginOptions{Patient: true})
	if in := want[LoggedIn](events); !in.Identity.NodeKey.Equal(old) || !in.Identity.OldNodeKey.IsZero() {
		t.Error("identity changed")
	}
}

func TestExpiredKeyIsRenewedOnce(t *testing.T) {
	f := ctltest.New(t)
	old := key.NewNode()
	f.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if r.NodeKey == old.Public() {
			return http.StatusOK, &control.RegisterResponse{NodeKeyExpired: true}
		}
		if r.OldNodeKey != old.Public() {
			t.Error("the renewal does not name the old key")
		}
		return ctltest.Accept(r)
	}
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	c, events := startClient(t, f.URL(), func(o *Options) { o.Identity.NodeKey = old })
	c.Login(LoginOptions{Patient: true})
	in := want[LoggedIn](events)
	if in.Identity.NodeKey.Equal(old) || !in.Identity.OldNodeKey.Equal(old) {
		t.Error("the key was not rotated")
	}
}

func TestRateLimit(t *testing.T) {
	for value, want := range map[string][2]time.Duration{
		"7":                             {7 * time.Second, 7 * time.Second},
		"0":                             {5 * time.Second, 10 * time.Second},
		"":                              {5 * time.Second, 10 * time.Second},
		"x":                             {5 * time.Second, 10 * time.Second},
		"-3":                            {5 * time.Second, 10 * time.Second},
		"99999999999999999999":          {5 * time.Second, 10 * time.Second},
		"Fri, 01 May 2026 12:00:30 GMT": {30 * time.Second, 30 * time.Second},
		"Sat, 02 May 2026 12:00:30 GMT": {5 * time.Second, 10 * time.Second},
	} {
		got := retryAfter(http.Header{"Retry-After": {value}}, time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC))
		if got < want[0] || got > want[1] {
			t.Errorf("Retry-After %q: %v", value, got)
		}
	}
}

func TestBackoffGrowsAndIsBounded(t *testing.T) {
	var b backoff
	for n := 1; n < 5000; n++ {
		base := min(time.Duration(n*n)*10*time.Millisecond, 30*time.Second)
		if got := b.next(); got < base/2 || got > base*3/2 {
			t.Fatalf("failure %d: %v, want about %v", n, got, base)
		}
	}
	b.reset()
	if got := b.next(); got > 15*time.Millisecond {
		t.Errorf("after reset: %v", got)
	}
}

func TestStreamComesBack(t *testing.T) {
	f := ctltest.New(t)
	var streams atomic.Int32
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		w.SendFull(r.NodeKey)
		if streams.Add(1) == 1 {
			return // ends cleanly
		}
		w.Hold()
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	want[MapUpdate](events)
	if e := want[Online](events); e.Err == nil {
		t.Error("the end of the stream was not reported")
	}
	if m := want[MapUpdate](events); !m.Changes.First {
		t.Error("the second stream did not start from nothing")
	}
	f.Drop() // the connection below breaks
	if m := want[MapUpdate](events); !m.Changes.First {
		t.Error("the third stream did not start from nothing")
	}
}

func TestBadFramesEndTheStreamOnly(t *testing.T) {
	bad := [][]byte{
		[]byte(`{"Domain":"no node"}`),
		[]byte(`not json`),
		[]byte(`{"Node":{"Key":"nodekey:xyz"}}`),
	}
	f := ctltest.New(t)
	var streams atomic.Int32
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		switch i := int(streams.Add(1)) - 1; {
		case i < len(bad):
			w.SendRaw(bad[i])
		case i == len(bad):
			w.Write(control.AppendFrame(nil, []byte("not zstd"))) // what a server without zstd does
		case i == len(bad)+1:
			w.Write([]byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3}) // a length in the wrong byte order
		case i == len(bad)+2:
			w.Write([]byte{0, 0, 0, 0})
		case i == len(bad)+3:
			w.Write([]byte{9, 0, 0, 0, 1, 2}) // cut
		default:
			w.SendFull(r.NodeKey)
			w.Hold()
		}
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	for range len(bad) + 4 {
		if e := want[Online](events); e.Err == nil {
			t.Fatal("a bad frame did not end the stream")
		}
	}
	if e := want[Online](events); e.Err != nil {
		t.Errorf("good stream: %v", e.Err)
	}
	want[MapUpdate](events)
}

func TestUpdatesAreConfirmedAndSentOnChange(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	c, _ := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	<-f.Updated
	local := c.localState()
	c.SetLocal(local) // no news
	local.Endpoints = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:41641")}
	local.EndpointTypes = []control.EndpointType{control.EndpointLocal}
	c.SetLocal(local)
	if u := <-f.Updated; len(u.Endpoints) != 1 || u.DiscoKey != local.DiscoKey || u.Hostinfo == nil || u.Stream {
		t.Errorf("update = %+v", u)
	}
}

func TestUnknownNodeRegistersAgain(t *testing.T) {
	refusals := map[string]func(*control.MapRequest, *ctltest.Frames){
		"status": func(_ *control.MapRequest, w *ctltest.Frames) {
			http.Error(w.W, "unknown node", http.StatusNotFound)
		},
		"node of no number": func(r *control.MapRequest, w *ctltest.Frames) {
			w.Send(&control.MapResponse{Node: &control.Node{StableID: "x", Key: r.NodeKey, KeyExpiry: time.Unix(0, 0), Expired: true}})
			w.Hold()
		},
	}
	for name, refuse := range refusals {
		t.Run(name, func(t *testing.T) {
			f := ctltest.New(t)
			var known atomic.Bool
			f.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
				if len(f.Registers()) > 1 {
					known.Store(true)
				}
				return ctltest.Accept(r)
			}
			f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
				if !known.Load() {
					refuse(r, w)
					return
				}
				w.SendFull(r.NodeKey)
				w.Hold()
			}
			c, events := startClient(t, f.URL())
			c.Login(LoginOptions{AuthKey: "k"})
			if e := want[Online](events); !errors.Is(e.Err, ErrUnknownNode) {
				t.Errorf("err = %v", e.Err)
			}
			want[MapUpdate](events)
		})
	}
}

func TestPauseAndLogout(t *testing.T) {
	f := ctltest.New(t)
	open := make(chan bool, 10)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		w.SendFull(r.NodeKey)
		open <- true
		w.Hold()
		open <- false
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	in := want[LoggedIn](events)
	if !<-open {
		t.Fatal("stream not open")
	}
	c.SetPaused(true)
	if <-open {
		t.Fatal("stream not closed by pausing")
	}
	c.SetPaused(false)
	if !<-open {
		t.Fatal("stream not open after resuming")
	}
	if err := c.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if <-open {
		t.Fatal("stream not closed by logout")
	}
	last := f.Registers()[len(f.Registers())-1]
	if !last.Expiry.Equal(logoutExpiry) || last.NodeKey != in.Identity.NodeKey.Public() || last.Auth != nil {
		t.Errorf("logout request = %+v", last)
	}
	if err := c.Logout(t.Context()); err != nil {
		t.Errorf("second logout: %v", err)
	}
}

func TestServerRequests(t *testing.T) {
	f := ctltest.New(t)
	got := make(chan string, 10)
	f.Other = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + string(body)
	})
	plain := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got <- "plain " + r.Method + " " + r.URL.RequestURI()
	}))
	defer plain.Close()
	next := make(chan *control.PingRequest)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		w.SendFull(r.NodeKey)
		for {
			select {
			case p := <-next:
				w.Send(&control.MapResponse{KeepAlive: true, PingRequest: p})
			case <-w.Done():
				return
			}
		}
	}
	c, _ := startClient(t, f.URL(), func(o *Options) {
		o.Ping = func(_ context.Context, kind string, ip netip.Addr) (control.PingResponse, error) {
			return control.PingResponse{Type: kind, IP: ip.String()}, nil
		}
	})
	c.Login(LoginOptions{AuthKey: "k"})
	for _, step := range []struct {
		req  control.PingRequest
		want []string
	}{
		{control.PingRequest{URL: plain.URL + "/head?x=1"}, []string{"plain HEAD /head?x=1"}},
		{control.PingRequest{URL: "https://unused/noise", URLIsNoise: true}, []string{"HEAD /noise "}},
		{
			control.PingRequest{URL: "https://unused/c2n/1", Types: "c2n", Payload: []byte("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")},
			[]string{"POST /c2n/1 HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nhello"},
		},
		{
			control.PingRequest{URL: "https://unused/c2n/2", Types: "c2n", Payload: []byte("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n")},
			[]string{"POST /c2n/2 HTTP/1.1 400 Bad Request"},
		},
		{
			control.PingRequest{URL: "https://unused/p", URLIsNoise: true, Types: "disco,TSMP", IP: netip.MustParseAddr("100.64.0.2")},
			[]string{`POST /p {"Type":"disco","IP":"100.64.0.2"}`, `POST /p {"Type":"TSMP","IP":"100.64.0.2"}`},
		},
	} {
		req := step.req
		next <- &req
		again := step.req
		next <- &again // a repetition is not answered
		for _, want := range step.want {
			if text := <-got; !strings.HasPrefix(text, want) {
				t.Errorf("%s: got %q, want %q", req.URL, text, want)
			}
		}
	}
	select {
	case extra := <-got:
		t.Errorf("answered twice: %q", extra)
	default:
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	website := httptest.NewServer(http.NotFoundHandler())
	defer website.Close()
	html := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }))
	defer html.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	defer secure.Close()
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "77")
		http.Error(w, "busy", http.StatusTooManyRequests)
	}))
	defer busy.Close()
	for name, c := range map[string]struct{ url, want string }{
		"nobody listens":     {closed.URL, "cannot reach the coordination server"},
		"a website":          {website.URL, "does not look like a coordination server"},
		"a page":             {html.URL, "does not look like a coordination server"},
		"unknown authority":  {secure.URL, "certificate"},
		"https to http port": {strings.Replace(website.URL, "http:", "https:", 1), "did you mean http://"},
		"http to https port": {strings.Replace(secure.URL, "https:", "http:", 1), "did you mean https://"},
		"no such name":       {"http://no-such-host.invalid", "does not resolve"},
		"a busy server":      {busy.URL, "trying again in 1m17s"},
	} {
		t.Run(name, func(t *testing.T) {
			client, events := startClient(t, c.url)
			client.Login(LoginOptions{AuthKey: "k"})
			e := want[LoginFailed](events)
			named := strings.Contains(e.Err.Error(), client.ServerURL()) || c.url == busy.URL
			if e.Final || !strings.Contains(e.Err.Error(), c.want) || !named {
				t.Errorf("err = %v, want %q", e.Err, c.want)
			}
		})
	}
}

func TestServerURLs(t *testing.T) {
	for raw, want := range map[string]string{
		"https://h.example":           "tls443 80",
		"https://h.example:8443/":     "tls8443 80",
		"http://h.example":            "80 tls443",
		"http://h.example:8080":       "8080 tls443",
		"http://10.1.2.3:8080":        "8080",
		"http://localhost":            "80",
		"http://[fd00::1]:9":          "9",
		"http://100.64.0.1:8080":      "8080 tls443",
		"ftp://h.example":             "error",
		"h.example":                   "error",
		"http://":                     "error",
		"http://u:p@h.example":        "error",
		"http://h.example/?x":         "error",
		"http://h.example:99999:1/::": "error",
	} {
		u, err := parseServerURL(raw)
		got := "error"
		if err == nil {
			var parts []string
			for _, w := range u.ways() {
				p := w.port
				if w.tls {
					p = "tls" + p
				}
				parts = append(parts, p)
			}
			got = strings.Join(parts, " ")
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", raw, got, err, want)
		}
	}
}

func TestLinkChanges(t *testing.T) {
	f := ctltest.New(t)
	var streams atomic.Int32
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		streams.Add(1)
		w.SendFull(r.NodeKey)
		w.Hold()
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	want[MapUpdate](events)
	c.transport.check(t.Context())
	if c.transport.usable() == nil || streams.Load() != 1 {
		t.Error("a connection that answers was dropped")
	}
	c.LinkChanged()
	if m := want[MapUpdate](events); !m.Changes.First {
		t.Error("no new stream after the network changed")
	}
}

func TestServerKeyChangeIsNoticed(t *testing.T) {
	f := ctltest.New(t)
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) { w.SendFull(r.NodeKey); w.Hold() }
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	want[MapUpdate](events)
	f.NewKey()
	f.Drop()
	if e := want[Online](events); e.Err == nil {
		t.Error("no interruption reported")
	}
	if m := want[MapUpdate](events); !m.Changes.First {
		t.Error("no new stream")
	}
}

func TestWatchdogEndsASilentStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		defer w.Close()
		c := &Client{transport: newTransport(&dialer{})}
		ctx, cancel := context.WithCancelCause(t.Context())
		context.AfterFunc(ctx, func() { r.CloseWithError(context.Cause(ctx)) })
		watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
		frames, err := newFrameReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer frames.close()
		begin := time.Now()
		_, err = c.follow(ctx, frames, watchdog)
		if !errors.Is(err, errSilent) || time.Since(begin) != silence {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{5, 0, 0, 0, 1, 2, 3, 4, 5})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := newFrameReader(strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		for range 10 {
			resp, err := r.next()
			if (resp == nil) == (err == nil) {
				t.Fatalf("resp %v, err %v", resp, err)
			}
			if err != nil {
				return
			}
		}
	})
}

func FuzzKeyAnswer(f *testing.F) {
	f.Add(200, []byte(`{"publicKey":"mkey:00"}`))
	f.Add(404, []byte(`x`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		k, err := parseKeyAnswer("http://x", status, body)
		if k.IsZero() == (err == nil) {
			t.Fatalf("key %v, err %v", k, err)
		}
	})
}

// TestWatchdogEndsASlowStream has a frame come so slowly that it never ends.
func TestWatchdogEndsASlowStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, w := io.Pipe()
		c := &Client{transport: newTransport(&dialer{})}
		ctx, cancel := context.WithCancelCause(t.Context())
		context.AfterFunc(ctx, func() { r.CloseWithError(context.Cause(ctx)) })
		go func() {
			_, err := w.Write(binary.LittleEndian.AppendUint32(nil, 1<<20))
			for err == nil && sleep(ctx, 30*time.Second, nil) {
				_, err = w.Write([]byte{1})
			}
		}()
		watchdog := time.AfterFunc(silence, func() { cancel(errSilent) })
		frames, err := newFrameReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer frames.close()
		begin := time.Now()
		if _, err := c.follow(ctx, frames, watchdog); !errors.Is(err, errSilent) || time.Since(begin) != silence {
			t.Errorf("after %v: %v", time.Since(begin), err)
		}
	})
}
