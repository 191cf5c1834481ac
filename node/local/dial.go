package local

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
)

// dialUpgrade is the protocol that a dial request switches to: raw bytes.
const dialUpgrade = "ts-dial"

// dial connects the caller to a host in the mesh (wire document cli, section 6.6).
func (s *Server) dial(w http.ResponseWriter, r *http.Request) {
	network := r.Header.Get("Dial-Network")
	if network == "" {
		network = "tcp"
	}
	host := r.Header.Get("Dial-Host")
	port, err := strconv.ParseUint(r.Header.Get("Dial-Port"), 10, 16)
	upgrade := strings.EqualFold(r.Header.Get("Connection"), "upgrade") && r.Header.Get("Upgrade") == dialUpgrade
	if err != nil || host == "" || !upgrade || network != "tcp" && network != "udp" || r.ProtoMajor != 1 {
		http.Error(w, "bad or missing headers", http.StatusBadRequest)
		return
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		http.Error(w, "connection cannot be taken over", http.StatusInternalServerError)
		return
	}
	remote, err := s.backend.Dial(r.Context(), network, host, uint16(port))
	if err != nil {
		http.Error(w, "dial failure: "+err.Error(), http.StatusBadGateway)
		return
	}
	defer remote.Close()
	conn, buffered, err := hijacker.Hijack()
	if err != nil {
		s.log.Debug("taking over a connection failed", "err", err)
		return
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: %s\r\n\r\n", dialUpgrade); err != nil {
		return
	}
	carry(r.Context().Done(), conn, buffered, remote)
}

// carry copies both ways until both directions have ended or done is closed.
func carry(done <-chan struct{}, local net.Conn, fromLocal io.Reader, remote net.Conn) {
	ended := make(chan struct{}, 2)
	go func() {
		io.Copy(remote, fromLocal)
		closeWrite(remote)
		ended <- struct{}{}
	}()
	go func() {
		io.Copy(local, remote)
		closeWrite(local)
		ended <- struct{}{}
	}()
	for range 2 {
		select {
		case <-ended:
		case <-done:
			return
		}
	}
}

// closeWrite ends one direction where the connection can, and all of it otherwise.
func closeWrite(c net.Conn) {
	if half, ok := c.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
		return
	}
	c.Close()
}
