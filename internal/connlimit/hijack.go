package connlimit

import (
	"bufio"
	"net"
	"net/http"
)

// Hijacked is a ResponseWriter that remembers the connection that was taken over
// through it, for upgrades by a package that does not give it away.
type Hijacked struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (h *Hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	h.conn = conn
	return conn, rw, err
}

// Unwrap is for http.ResponseController.
func (h *Hijacked) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Conn returns the connection, nil before it was taken over.
func (h *Hijacked) Conn() net.Conn { return h.conn }
