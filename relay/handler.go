package relay

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"

	"github.com/coder/websocket"

	"github.com/ginnel/ginnel/internal/connlimit"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// Handler serves the relay's HTTP paths: /derp, /derp/probe, /derp/latency-check and
// /generate_204; everything else is not found. It wants HTTP/1.1: behind a server
// that offers HTTP/2 it works for clients that do not ask for it, as relay clients
// do not.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc(wire.Path, s.serveStart)
	mux.HandleFunc(wire.ProbePath, serveProbe)
	mux.HandleFunc(wire.LatencyPath, serveProbe)
	mux.HandleFunc(wire.ConnectivityPath, ServeConnectivity)
	return mux
}

// serveProbe answers a client that measures latency.
func serveProbe(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.WriteHeader(http.StatusOK)
}

// ServeConnectivity answers /generate_204, by which clients look for captive
// portals: 204, and the proof that the answer is a relay's when it was asked for.
// It is also for the plain HTTP port.
func ServeConnectivity(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-cache, no-store, must-revalidate, no-transform, max-age=0")
	if c := r.Header.Get(wire.ChallengeHeader); validChallenge(c) {
		h.Set(wire.ResponseHeader, "response "+c)
	}
	w.WriteHeader(http.StatusNoContent)
}

// validChallenge reports whether c may be echoed: wire document relay, section 13.
func validChallenge(c string) bool {
	if c == "" || len(c) > wire.MaxChallengeLength {
		return false
	}
	for _, b := range []byte(c) {
		switch {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9':
		case b == '.', b == '_', b == ':', b == '-':
		default:
			return false
		}
	}
	return true
}

// serveStart starts the relay protocol on the request's connection.
func (s *Server) serveStart(w http.ResponseWriter, r *http.Request) {
	up := strings.ToLower(r.Header.Get("Upgrade"))
	if up != strings.ToLower(wire.UpgradeProtocol) && up != "websocket" {
		w.Header().Set("Upgrade", wire.UpgradeProtocol)
		w.Header().Set("Connection", "Upgrade")
		http.Error(w, "this is a relay: the request must ask to upgrade to "+wire.UpgradeProtocol, http.StatusUpgradeRequired)
		return
	}
	st := start{notIdeal: r.Header.Get(wire.IdealNodeHeader) != ""}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		st.addr = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if up == "websocket" && offersSubprotocol(r) {
		s.startWebSocket(w, r, st)
		return
	}
	s.startRaw(w, r, st)
}

// start is what the HTTP request told of a connection.
type start struct {
	addr     netip.AddrPort
	notIdeal bool
	outer    net.Conn // what the listener gave, perhaps under TLS
	early    []byte   // what the HTTP server had read of the stream
	greeting []byte   // what goes out before the first frame, with it
}

// startRaw takes the connection over from the HTTP server.
func (s *Server) startRaw(w http.ResponseWriter, r *http.Request, st start) {
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.log.Warn("relay cannot take over a connection", "addr", st.addr, "protocol", r.Proto, "error", err)
		http.Error(w, "the relay protocol needs HTTP/1.1", http.StatusInternalServerError)
		return
	}
	st.outer = nc
	if st.early, err = unread(rw.Reader); err != nil {
		nc.Close()
		return
	}
	if r.Header.Get(wire.FastStartHeader) != "1" {
		st.greeting = fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\n%s: %d\r\n%s: %s\r\n\r\n",
			wire.UpgradeProtocol, wire.VersionHeader, wire.ProtocolVersion, wire.PublicKeyHeader, s.pub.UntypedHex())
	}
	// A goroutine of its own, so that the HTTP server's buffers and stack go.
	s.launch(nc, st)
}

// unread returns a copy of what br holds.
func unread(br *bufio.Reader) ([]byte, error) {
	b, err := br.Peek(br.Buffered())
	return append([]byte(nil), b...), err
}

// launch serves a connection in the background, unless the server is closed.
func (s *Server) launch(nc net.Conn, st start) {
	raw := rawConn(nc)
	if err := s.track(raw); err != nil {
		raw.Close()
		return
	}
	go func() {
		defer s.untrack(raw)
		s.serve(nc, raw, st)
	}()
}

// offersSubprotocol reports whether a WebSocket request speaks the relay protocol.
// Very old clients ask for a WebSocket without it, and speak raw frames.
func offersSubprotocol(r *http.Request) bool {
	for _, line := range r.Header.Values("Sec-WebSocket-Protocol") {
		for p := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(p), wire.WebSocketProtocol) {
				return true
			}
		}
	}
	return false
}

// startWebSocket serves a client in a WebSocket: wire document relay, section 3.3.
func (s *Server) startWebSocket(w http.ResponseWriter, r *http.Request, st start) {
	hijacked := &connlimit.Hijacked{ResponseWriter: w}
	ws, err := websocket.Accept(hijacked, r, &websocket.AcceptOptions{
		Subprotocols:       []string{wire.WebSocketProtocol},
		InsecureSkipVerify: true, // any origin: the protocol has its own proof of identity
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		s.log.Debug("relay WebSocket refused", "addr", st.addr, "error", err)
		return
	}
	if ws.Subprotocol() != wire.WebSocketProtocol {
		ws.Close(websocket.StatusPolicyViolation, "subprotocol "+wire.WebSocketProtocol+" is needed")
		return
	}
	s.stats.webSockets.Add(1)
	st.outer = hijacked.Conn()
	// The request's context ends with this handler, the connection does not.
	nc := websocket.NetConn(context.WithoutCancel(r.Context()), ws, websocket.MessageBinary)
	s.launch(&shortWrites{Conn: nc, ws: ws}, st)
}

// shortWrites is a WebSocket stream that never sends a message longer than readers
// are known to take, and that closes without waiting for the other side.
type shortWrites struct {
	net.Conn
	ws *websocket.Conn
}

// Write writes b as messages.
func (c *shortWrites) Write(b []byte) (n int, err error) {
	for len(b) > 0 {
		m, err := c.Conn.Write(b[:min(len(b), wire.MaxWebSocketWrite)])
		n += m
		if err != nil {
			return n, err
		}
		b = b[m:]
	}
	return n, nil
}

// Close closes the connection at once.
func (c *shortWrites) Close() error { return c.ws.CloseNow() }
