// Package httpcount counts the connections to an HTTP server that speak
// something else: what net/http refuses before any handler hears of it.
package httpcount

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// Watch makes srv call bad for each connection that ended in something that is
// no request: bytes that are not HTTP, a header that is too long or does not
// come to an end, or a TLS handshake that failed. Call it when srv is otherwise
// complete. bad may be called from several goroutines. What follows a request on
// the same connection is not looked at.
func Watch(srv *http.Server, bad func()) {
	w := &watch{bad: bad, handler: srv.Handler, state: srv.ConnState, context: srv.ConnContext}
	srv.Handler, srv.ConnState, srv.ConnContext = w, w.connState, w.connContext
}

type watch struct {
	bad     func()
	handler http.Handler
	state   func(net.Conn, http.ConnState)
	context func(context.Context, net.Conn) context.Context
	conns   sync.Map // net.Conn to *conn
}

// conn is one connection.
type conn struct {
	// unread says that bytes came which are no request as yet.
	unread atomic.Bool
}

type connKey struct{}

func (w *watch) connContext(ctx context.Context, nc net.Conn) context.Context {
	if w.context != nil {
		ctx = w.context(ctx, nc)
	}
	c := new(conn)
	w.conns.Store(nc, c)
	return context.WithValue(ctx, connKey{}, c)
}

// ServeHTTP implements http.Handler: here is a request.
func (w *watch) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	r.Context().Value(connKey{}).(*conn).unread.Store(false)
	w.handler.ServeHTTP(rw, r)
}

func (w *watch) connState(nc net.Conn, s http.ConnState) {
	if w.state != nil {
		w.state(nc, s)
	}
	switch s {
	case http.StateActive:
		if c, ok := w.conns.Load(nc); ok {
			c.(*conn).unread.Store(true)
		}
	case http.StateHijacked:
		w.conns.Delete(nc)
	case http.StateClosed:
		c, ok := w.conns.LoadAndDelete(nc)
		if ok && (c.(*conn).unread.Load() || failedTLS(nc)) {
			w.bad()
		}
	}
}

// failedTLS reports whether the connection should have been TLS and was not.
func failedTLS(nc net.Conn) bool {
	c, ok := nc.(*tls.Conn)
	return ok && !c.ConnectionState().HandshakeComplete
}
