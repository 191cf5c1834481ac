package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"time"

	"github.com/ginnel/ginnel/internal/httpcount"

	"github.com/ginnel/ginnel/node/netstack"
)

// connectError is the header that says why a CONNECT failed (wire document node,
// section 2.7).
const connectError = "Tailscale-Connect-Error"

// httpProxy runs an http.Server on connections that are handed to it.
type httpProxy struct {
	proxy  *Server
	ctx    context.Context
	server *http.Server
	conns  *handedListener
	done   chan struct{}
	relay  httputil.ReverseProxy
}

func (s *Server) newHTTP(ctx context.Context, addr net.Addr) *httpProxy {
	h := &httpProxy{
		proxy: s, ctx: ctx, done: make(chan struct{}),
		conns: &handedListener{addr: addr, conns: make(chan net.Conn), closed: make(chan struct{})},
	}
	errorLog := slog.NewLogLogger(s.log().Handler(), slog.LevelDebug)
	h.relay = httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			// The request goes where its absolute URI says, as it is.
			r.Out.Host = r.In.Host
			r.Out.Header.Del("Proxy-Connection")
			r.Out.Header.Del("Proxy-Authorization")
		},
		Transport: &http.Transport{
			DialContext:         s.Dial,
			MaxIdleConns:        64,
			IdleConnTimeout:     30 * time.Second,
			DisableCompression:  true, // the client decides
			TLSHandshakeTimeout: handshakeTimeout,
		},
		FlushInterval: -1,
		ErrorLog:      errorLog,
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			s.log().Debug("http proxy: request failed", "host", r.Host, "err", err)
			http.Error(w, fmt.Sprintf("cannot reach %s: %v", r.Host, err), http.StatusBadGateway)
		},
	}
	h.server = &http.Server{
		Handler:           h,
		ReadHeaderTimeout: handshakeTimeout,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          errorLog,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	httpcount.Watch(h.server, func() { s.bad(ProtocolHTTP) })
	go func() {
		defer close(h.done)
		_ = h.server.Serve(h.conns) // ends only by close
	}()
	return h
}

// serve handles one connection and returns when it has ended.
func (h *httpProxy) serve(c net.Conn) {
	t := &trackedConn{Conn: c, closed: make(chan struct{})}
	select {
	case h.conns.conns <- t:
	case <-h.conns.closed:
		c.Close()
		return
	}
	select {
	case <-t.closed:
	case <-h.ctx.Done():
		t.Close()
	}
}

func (h *httpProxy) close() {
	h.server.Close()
	<-h.done
	h.relay.Transport.(*http.Transport).CloseIdleConnections()
}

// ServeHTTP implements http.Handler.
func (h *httpProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodConnect:
		h.connect(w, r)
	case !r.URL.IsAbs():
		http.Error(w, "this is a proxy: requests need an absolute URI", http.StatusBadRequest)
	case r.URL.Scheme != "http" && r.URL.Scheme != "https":
		http.Error(w, "only http and https can be proxied", http.StatusBadRequest)
	default:
		h.relay.ServeHTTP(w, r)
	}
}

func (h *httpProxy) connect(w http.ResponseWriter, r *http.Request) {
	out, err := h.proxy.Dial(r.Context(), "tcp", r.Host)
	if err != nil {
		w.Header().Set(connectError, err.Error())
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		out.Close()
		http.Error(w, "cannot take over the connection", http.StatusInternalServerError)
		return
	}
	_, err = rw.WriteString("HTTP/1.1 200 OK\r\n\r\n")
	if err = errors.Join(err, rw.Flush()); err != nil {
		c.Close()
		out.Close()
		return
	}
	netstack.Splice(h.ctx, &peeked{Conn: c, r: rw.Reader}, out)
}

// handedListener is a listener whose connections come from elsewhere.
type handedListener struct {
	addr   net.Addr
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handedListener) Addr() net.Addr { return l.addr }

// trackedConn tells when it was closed.
type trackedConn struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
}

func (t *trackedConn) Close() error {
	err := t.Conn.Close()
	t.once.Do(func() { close(t.closed) })
	return err
}

// CloseWrite passes on a half-close.
func (t *trackedConn) CloseWrite() error {
	if w, ok := t.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return errors.ErrUnsupported
}
