package control

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/server/maps"
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

// FuzzRequest sends bodies to the endpoints inside Noise as a machine that has a
// node. Whatever comes, the server must answer with a status that it means.
func FuzzRequest(f *testing.F) {
	svc, err := tailnet.Open(f.Context(), &tailnet.MemoryStore{}, tailnet.Options{})
	if err != nil {
		f.Fatal(err)
	}
	hub := maps.NewHub(svc, maps.Config{Coalesce: time.Microsecond})
	serverKey, machine, node := key.NewMachine(), key.NewMachine(), key.NewNode().Public()
	srv, err := New(Config{Tailnet: svc, Maps: hub, PrivateKey: serverKey})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { srv.Close(); hub.Close(); svc.Close() })
	user, err := svc.CreateUser(f.Context(), admin, tailnet.DefaultTailnet, tailnet.UserParams{LoginName: "u@example.com"})
	if err != nil {
		f.Fatal(err)
	}
	_, secret, err := svc.CreateAuthKey(f.Context(), admin, tailnet.AuthKeyParams{UserID: user.ID, Reusable: true})
	if err != nil {
		f.Fatal(err)
	}
	if _, err := svc.Register(f.Context(), tailnet.RegisterParams{Machine: machine.Public(), NodeKey: node, AuthKey: secret}); err != nil {
		f.Fatal(err)
	}
	_, initiation, err := noise.NewInitiator(machine, serverKey.Public(), 140)
	if err != nil {
		f.Fatal(err)
	}
	session, _, err := noise.Respond(serverKey, initiation)
	if err != nil {
		f.Fatal(err)
	}
	end, _ := net.Pipe()
	conn := srv.newConn(noiseconn.New(end, session, nil), end)
	conn.base = "http://server"

	paths := []string{"/machine/register", "/machine/map", "/machine/c2n/x", "/machine/tka/sign", "/"}
	seed := func(path byte, v any) {
		body, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(path, body)
	}
	register := control.RegisterRequest{Version: 140, NodeKey: node, Auth: &control.RegisterAuth{AuthKey: secret}, Hostinfo: &control.Hostinfo{Hostname: "h"}}
	seed(0, register)
	register.Followup = "http://server/register/x"
	seed(0, register)
	update := control.MapRequest{Version: 140, NodeKey: node, OmitPeers: true, Hostinfo: &control.Hostinfo{Hostname: "h", NetInfo: &control.NetInfo{PreferredDERP: 1}}}
	seed(1, update)
	update.OmitPeers, update.Stream, update.Compress = false, true, control.CompressZstd
	seed(1, update)
	f.Add(byte(1), []byte(`{"Version":140,"ReadOnly":true,"NodeKey":"`+node.String()+`"}`))
	f.Add(byte(2), []byte("HTTP/1.1 200 OK\r\n\r\n"))
	f.Add(byte(0), []byte(`{"Version":140,"Expiry":"0001-01-01T00:00:00Z","NodeKey":null}`))

	f.Fuzz(func(t *testing.T, path byte, body []byte) {
		// Streams and logins wait for ever; the client goes away.
		ctx, cancel := context.WithTimeout(context.WithValue(context.Background(), connKey{}, conn), 5*time.Millisecond)
		defer cancel()
		r := httptest.NewRequestWithContext(ctx, http.MethodPost, paths[int(path)%len(paths)], bytes.NewReader(body))
		w := httptest.NewRecorder()
		srv.serveInner(w, r)
		switch w.Code {
		case 200, 204, 400, 404, 405, 413, 429, 501:
		default:
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}

// FuzzUpgrade sends handshakes in both places that carry them.
func FuzzUpgrade(f *testing.F) {
	svc, err := tailnet.Open(f.Context(), &tailnet.MemoryStore{}, tailnet.Options{})
	if err != nil {
		f.Fatal(err)
	}
	hub := maps.NewHub(svc, maps.Config{})
	srv, err := New(Config{Tailnet: svc, Maps: hub, PrivateKey: key.NewMachine()})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { srv.Close(); hub.Close(); svc.Close() })
	srv.upgrades.addresses.init(1<<40, 1) // as many as come
	f.Add(noiseconn.UpgradeProtocol, "AHEBAGB5pjHu")
	f.Add("websocket", "AHEBAGB5pjHu")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, upgrade, handshake string) {
		r := httptest.NewRequest(http.MethodGet, "/ts2021", nil)
		r.Header.Set("Upgrade", upgrade)
		r.Header.Set(noiseconn.HandshakeHeader, handshake)
		q := r.URL.Query()
		q.Set(noiseconn.HandshakeHeader, handshake)
		r.URL.RawQuery = q.Encode()
		w := httptest.NewRecorder()
		srv.Handler().ServeHTTP(w, r)
		if w.Code != http.StatusBadRequest {
			t.Fatalf("status %d: %s", w.Code, w.Body)
		}
	})
}
