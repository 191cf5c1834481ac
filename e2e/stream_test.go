//go:build linux

package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"net"
	"net/netip"
	"strconv"
	"testing"
	"time"

	"github.com/ginnel/ginnel/e2e/lab"
)

const echoPort = 7007

// serveEcho returns to each client what it sends, on all of the host's
// addresses, until the test ends.
func serveEcho(t testing.TB, host *lab.Host) {
	t.Helper()
	ln, err := host.Listen("tcp", ":"+strconv.Itoa(echoPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				io.Copy(conn, conn)
			}()
		}
	}()
}

// A stream is a TCP connection to an echo server.
type stream struct {
	t    testing.TB
	conn net.Conn
	sent byte
}

// openStream connects to the echo server of the other node over the mesh.
func openStream(t testing.TB, from *node, to netip.Addr) *stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	conn, err := from.host.DialContext(ctx, "tcp", netip.AddrPortFrom(to, echoPort).String())
	if err != nil {
		t.Fatalf("stream from %s: %v", from.host.Name, err)
	}
	t.Cleanup(func() { conn.Close() })
	return &stream{t: t, conn: conn}
}

// beat sends one byte and waits for it to come back.
func (s *stream) beat() {
	s.t.Helper()
	s.sent++
	s.conn.SetDeadline(time.Now().Add(2 * patience))
	if _, err := s.conn.Write([]byte{s.sent}); err != nil {
		s.t.Fatalf("stream broke: %v", err)
	}
	var got [1]byte
	if _, err := io.ReadFull(s.conn, got[:]); err != nil || got[0] != s.sent {
		s.t.Fatalf("stream broke: sent %d, got %d, %v", s.sent, got[0], err)
	}
}

// bulk sends size random bytes and checks that the same come back.
func (s *stream) bulk(size int) {
	s.t.Helper()
	s.conn.SetDeadline(time.Now().Add(2 * patience))
	data := make([]byte, size)
	rand.Read(data)
	wrote := make(chan error, 1)
	go func() { _, err := s.conn.Write(data); wrote <- err }()
	sum := sha256.New()
	if _, err := io.CopyN(sum, s.conn, int64(size)); err != nil {
		s.t.Fatalf("stream broke: %v", err)
	}
	if err := <-wrote; err != nil {
		s.t.Fatalf("stream broke: %v", err)
	}
	if want := sha256.Sum256(data); !bytes.Equal(sum.Sum(nil), want[:]) {
		s.t.Fatal("other bytes came back than were sent")
	}
}
