package control

import (
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/ginnel/ginnel/internal/connlimit"
	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

// upgradeTimeout bounds the writing of the answer to an upgrade.
const upgradeTimeout = 10 * time.Second

// serveUpgrade answers /ts2021: the upgrade of section 3.3 of the wire document
// control, and the WebSocket variant of section 3.9.
func (s *Server) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	next := r.Header.Get("Upgrade")
	switch {
	case next == "":
		s.refuse(w, "ts2021", http.StatusBadRequest, "missing next protocol")
	case strings.EqualFold(next, "websocket"):
		s.upgradeWebSocket(w, r)
	case strings.EqualFold(next, noiseconn.UpgradeProtocol):
		s.upgradeRaw(w, r)
	default:
		s.refuse(w, "ts2021", http.StatusBadRequest, "unknown next protocol")
	}
}

// handshake answers a client's first message, or refuses the request and
// returns nil.
func (s *Server) handshake(w http.ResponseWriter, r *http.Request, header string) (*noise.Session, []byte) {
	if header == "" {
		s.refuse(w, "ts2021", http.StatusBadRequest, "missing Tailscale handshake header")
		return nil, nil
	}
	initiation, err := base64.StdEncoding.DecodeString(header)
	if err != nil {
		s.refuse(w, "ts2021", http.StatusBadRequest, "invalid tailscale handshake header")
		return nil, nil
	}
	if !s.admitUpgrade(w, r, time.Now()) {
		return nil, nil
	}
	if !acquire(r.Context(), s.upgrades.slots) {
		s.metrics.request("ts2021", statusGone)
		return nil, nil
	}
	session, response, err := noise.Respond(s.cfg.PrivateKey, initiation)
	<-s.upgrades.slots
	if err != nil {
		s.refuse(w, "ts2021", http.StatusBadRequest, err.Error())
		return nil, nil
	}
	// Nodes too old for this server may come in as far as to be told so when they
	// register: of a refusal here their users would see nothing.
	if v := control.CapabilityVersion(session.Version()); v < control.VersionEarlyPayload {
		s.refuse(w, "ts2021", http.StatusBadRequest, unsupportedVersion(v))
		return nil, nil
	}
	return session, response
}

func (s *Server) upgradeRaw(w http.ResponseWriter, r *http.Request) {
	hijacker, ok := w.(http.Hijacker)
	if !ok || r.ProtoMajor != 1 {
		s.refuse(w, "ts2021", http.StatusBadRequest, "make request over HTTP/1")
		return
	}
	session, response := s.handshake(w, r, r.Header.Get(noiseconn.HandshakeHeader))
	if session == nil {
		return
	}
	// The switch, the handshake and the early payload leave in one write.
	answer := append([]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: "+noiseconn.UpgradeProtocol+
		"\r\nConnection: upgrade\r\n\r\n"), response...)
	early, err := noiseconn.AppendEarlyPayload(nil, control.EarlyNoise{NodeKeyChallenge: key.NewChallenge().Public()})
	if err == nil {
		answer, err = session.AppendSeal(answer, early)
	}
	if err != nil {
		s.log.Error("early payload failed", "err", err)
		s.refuse(w, "ts2021", http.StatusInternalServerError, "internal error")
		return
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		s.refuse(w, "ts2021", http.StatusBadRequest, "make request over HTTP/1")
		return
	}
	leftover, err := rw.Reader.Peek(rw.Reader.Buffered())
	if err == nil {
		conn.SetDeadline(time.Now().Add(upgradeTimeout))
		_, err = conn.Write(answer)
	}
	if err != nil {
		s.metrics.request("ts2021", statusGone)
		conn.Close()
		return
	}
	s.metrics.request("ts2021", http.StatusSwitchingProtocols)
	conn.SetDeadline(time.Time{})
	s.serveConn(noiseconn.New(conn, session, leftover), conn, r)
}

func (s *Server) upgradeWebSocket(w http.ResponseWriter, r *http.Request) {
	session, response := s.handshake(w, r, r.URL.Query().Get(noiseconn.HandshakeHeader))
	if session == nil {
		return
	}
	hijacked := &connlimit.Hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(hijacked, r, &websocket.AcceptOptions{
		Subprotocols:       []string{noiseconn.UpgradeProtocol},
		InsecureSkipVerify: true, // any origin: Noise is the authentication
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil { // Accept has answered
		s.metrics.request("ts2021", http.StatusBadRequest)
		return
	}
	if ws.Subprotocol() != noiseconn.UpgradeProtocol {
		s.metrics.request("ts2021", http.StatusBadRequest)
		ws.Close(websocket.StatusPolicyViolation, "subprotocol must be "+noiseconn.UpgradeProtocol)
		return
	}
	conn := websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
	conn.SetDeadline(time.Now().Add(upgradeTimeout))
	if _, err := conn.Write(response); err != nil {
		s.metrics.request("ts2021", statusGone)
		conn.Close()
		return
	}
	s.metrics.request("ts2021", http.StatusSwitchingProtocols)
	conn.SetDeadline(time.Time{})
	s.serveConn(noiseconn.New(conn, session, nil), hijacked.Conn(), r)
}

// serveConn hands a connection, made of what the listener gave, to the HTTP/2 server.
func (s *Server) serveConn(c *noiseconn.Conn, outer net.Conn, r *http.Request) {
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	// Lifted again when the HTTP/2 preface has come.
	c.SetReadDeadline(time.Now().Add(headerTimeout))
	nc := s.newConn(c, outer)
	nc.from, nc.base = from.Addr().Unmap(), scheme+"://"+r.Host
	if old := s.machines.add(nc); old != nil {
		s.metrics.replaced.Inc()
		s.log.Debug("too many connections of one machine, closing its oldest", "machine", old.Peer().ShortString(), "from", old.from)
		old.Close()
	}
	if !s.conns.put(nc) {
		nc.Close()
	}
}

// connQueue is the listener of the HTTP/2 server: its connections are those that
// were upgraded.
type connQueue struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func newConnQueue() *connQueue {
	return &connQueue{conns: make(chan net.Conn), done: make(chan struct{})}
}

// put hands over a connection and reports whether there was anybody to take it.
func (q *connQueue) put(c net.Conn) bool {
	select {
	case q.conns <- c:
		return true
	case <-q.done:
		return false
	}
}

// Accept implements net.Listener.
func (q *connQueue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.done:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (q *connQueue) Close() error {
	q.once.Do(func() { close(q.done) })
	return nil
}

// Addr implements net.Listener.
func (q *connQueue) Addr() net.Addr { return queueAddr{} }

type queueAddr struct{}

func (queueAddr) Network() string { return "noise" }
func (queueAddr) String() string  { return noiseconn.UpgradePath }
