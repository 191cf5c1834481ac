// Package ctltest is a coordination server whose answers a test scripts, for tests
// of the control client and of the node.
//
// It speaks the real protocol down to the Noise records, but keeps no model and
// decides nothing by itself. It is not a server to use.
package ctltest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"
	"golang.org/x/net/http2"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

// Server is a scripted coordination server on a loopback port. The functions are
// set before the first request.
type Server struct {
	// Register answers a register request with a status and, for 200, a body.
	Register func(*control.RegisterRequest) (int, *control.RegisterResponse)
	// Stream serves a map request that is no lite update.
	Stream func(*control.MapRequest, *Frames)
	// Other serves all other requests inside Noise. Nil means 404.
	Other http.Handler
	// Updated receives each lite update that is confirmed.
	Updated chan control.MapRequest

	t    testing.TB
	http *httptest.Server

	mu        sync.Mutex
	key       key.MachinePrivate
	conns     []net.Conn
	registers []control.RegisterRequest
}

// New starts a server that accepts every registration and whose streams are
// empty. It ends with the test.
func New(t testing.TB) *Server {
	s := &Server{
		t: t, key: key.NewMachine(), Updated: make(chan control.MapRequest, 1000),
		Register: Accept, Stream: func(_ *control.MapRequest, f *Frames) { f.Hold() },
	}
	s.http = httptest.NewServer(s.handler())
	t.Cleanup(func() {
		s.Drop()
		s.http.Close()
	})
	return s
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /key", func(w http.ResponseWriter, _ *http.Request) {
		if err := json.NewEncoder(w).Encode(control.KeyResponse{PublicKey: s.machine().Public()}); err != nil {
			s.t.Log(err)
		}
	})
	mux.HandleFunc("/ts2021", s.upgrade)
	return mux
}

// URL returns the server's URL.
func (s *Server) URL() string { return s.http.URL }

// Stop makes the server unreachable, Resume reachable again at the same address.
func (s *Server) Stop() {
	s.Drop()
	s.http.Close()
}

// Resume undoes Stop.
func (s *Server) Resume() {
	l, err := net.Listen("tcp", s.http.Listener.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	next := httptest.NewUnstartedServer(s.handler())
	next.Listener.Close()
	next.Listener = l
	next.Start()
	s.http = next
}

// Accept is a successful registration.
func Accept(*control.RegisterRequest) (int, *control.RegisterResponse) {
	return http.StatusOK, &control.RegisterResponse{User: control.User{ID: 7}, Login: control.Login{LoginName: "ann@example"}}
}

func (s *Server) machine() key.MachinePrivate {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.key
}

// NewKey gives the server another Noise key, as one made anew at the same address
// has.
func (s *Server) NewKey() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key = key.NewMachine()
}

// Drop breaks all Noise connections.
func (s *Server) Drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
	s.conns = nil
}

// SetRegister replaces Register, at any time.
func (s *Server) SetRegister(f func(*control.RegisterRequest) (int, *control.RegisterResponse)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Register = f
}

// Registers returns all register requests so far.
func (s *Server) Registers() []control.RegisterRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.registers)
}

func (s *Server) upgrade(w http.ResponseWriter, r *http.Request) {
	initiation, err := base64.StdEncoding.DecodeString(r.Header.Get(noiseconn.HandshakeHeader))
	if err != nil {
		http.Error(w, "bad handshake", http.StatusBadRequest)
		return
	}
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		s.t.Error(err)
		return
	}
	session, response, err := noise.Respond(s.machine(), initiation)
	if err != nil {
		conn.Close()
		return
	}
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: upgrade\r\n\r\n%s", noiseconn.UpgradeProtocol, response)
	s.mu.Lock()
	s.conns = append(s.conns, conn)
	s.mu.Unlock()
	nc := noiseconn.New(conn, session, nil)
	early, err := noiseconn.AppendEarlyPayload(nil, control.EarlyNoise{NodeKeyChallenge: key.NewChallenge().Public()})
	if err != nil {
		s.t.Error(err)
	}
	if _, err := nc.Write(early); err != nil {
		return
	}
	(&http2.Server{}).ServeConn(nc, &http2.ServeConnOpts{Handler: http.HandlerFunc(s.serve)})
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	switch r.URL.Path {
	case "/machine/register":
		s.serveRegister(w, body)
	case "/machine/map":
		s.serveMap(w, r, body)
	default:
		if s.Other == nil {
			http.NotFound(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.Other.ServeHTTP(w, r)
	}
}

func (s *Server) serveRegister(w http.ResponseWriter, body []byte) {
	var req control.RegisterRequest
	if err := json.Unmarshal(body, &req); err != nil {
		s.t.Errorf("register request: %v", err)
	}
	s.mu.Lock()
	s.registers = append(s.registers, req)
	s.mu.Unlock()
	s.mu.Lock()
	register := s.Register
	s.mu.Unlock()
	status, resp := register(&req)
	w.WriteHeader(status)
	if status == http.StatusOK {
		if err := json.NewEncoder(w).Encode(resp); err != nil {
			s.t.Log(err)
		}
	}
}

func (s *Server) serveMap(w http.ResponseWriter, r *http.Request, body []byte) {
	var req control.MapRequest
	if err := json.Unmarshal(body, &req); err != nil {
		s.t.Errorf("map request: %v", err)
	}
	if req.Kind() == control.MapLiteUpdate {
		s.Updated <- req
		return
	}
	s.Stream(&req, &Frames{W: w, ctx: r.Context(), t: s.t})
}

// Frames writes the frames of one map stream.
type Frames struct {
	// W is the response itself, for what is no frame.
	W   http.ResponseWriter
	ctx context.Context
	t   testing.TB
}

// Send writes a frame.
func (f *Frames) Send(resp *control.MapResponse) {
	body, err := json.Marshal(resp)
	if err != nil {
		f.t.Error(err)
	}
	f.SendRaw(body)
}

// SendRaw writes a frame with the given content, compressed.
func (f *Frames) SendRaw(body []byte) {
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		f.t.Error(err)
		return
	}
	defer enc.Close()
	f.Write(control.AppendFrame(nil, enc.EncodeAll(body, nil)))
}

// Write writes bytes as they are.
func (f *Frames) Write(raw []byte) {
	if _, err := f.W.Write(raw); err != nil {
		return // the node has gone
	}
	f.W.(http.Flusher).Flush()
}

// SendFull writes a first frame for a node without peers that has the key.
func (f *Frames) SendFull(nodeKey key.NodePublic) {
	f.Send(&control.MapResponse{Node: Self(nodeKey), Domain: "example"})
}

// Self returns a node that is authorised and has the key.
func Self(nodeKey key.NodePublic) *control.Node {
	return &control.Node{ID: 1, StableID: "one", Name: "one.example.", Key: nodeKey, User: 7, MachineAuthorized: true}
}

// Done is closed when the node ends the stream.
func (f *Frames) Done() <-chan struct{} { return f.ctx.Done() }

// Hold keeps the stream open until the node ends it.
func (f *Frames) Hold() { <-f.ctx.Done() }
