package httpcount

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// talk sends text on a connection, ends its side, and reads to the end.
func talk(t *testing.T, nc net.Conn, text string) {
	t.Helper()
	defer nc.Close()
	nc.SetDeadline(time.Now().Add(20 * time.Second))
	io.WriteString(nc, text) // may be cut off
	if c, ok := nc.(interface{ CloseWrite() error }); ok {
		c.CloseWrite()
	}
	if _, err := io.Copy(io.Discard, nc); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Error(err)
	}
}

func TestWatch(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, c := range []struct {
		name, text string
		tls        bool // the server's
		handshake  bool // the client's
		bad        int64
	}{
		{name: "nothing"},
		{name: "a request", text: request},
		{name: "two requests", text: request + request},
		{name: "refused by the handler", text: "GET /none HTTP/1.1\r\nHost: x\r\n\r\n"},
		{name: "taken over", text: "GET /hijack HTTP/1.1\r\nHost: x\r\n\r\ngarbage"},
		{name: "garbage", text: "\x00\x01\x02\r\n\r\n", bad: 1},
		{name: "a header that does not end", text: "GET / HTTP/1.1\r\nHost", bad: 1},
		{name: "a header too long", text: "GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n", bad: 1},
		{name: "no host", text: "GET / HTTP/1.1\r\n\r\n", bad: 1},
		{name: "a request by TLS", text: request, tls: true, handshake: true},
		{name: "garbage for TLS", text: strings.Repeat("garbage", 100), tls: true, bad: 1},
		{name: "garbage in TLS", text: "\x00\x01\r\n\r\n", tls: true, handshake: true, bad: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var bad, states, contexts atomic.Int64
			mux := http.NewServeMux()
			mux.HandleFunc("/{$}", func(http.ResponseWriter, *http.Request) {})
			mux.HandleFunc("/hijack", func(w http.ResponseWriter, _ *http.Request) {
				if nc, _, err := http.NewResponseController(w).Hijack(); err == nil {
					nc.Close()
				}
			})
			s := httptest.NewUnstartedServer(mux)
			s.Config.MaxHeaderBytes = 4096
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.Config.ConnState = func(net.Conn, http.ConnState) { states.Add(1) }
			s.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context { contexts.Add(1); return ctx }
			Watch(s.Config, func() { bad.Add(1) })
			if c.tls {
				s.StartTLS()
			} else {
				s.Start()
			}
			defer s.Close()
			nc, err := net.Dial("tcp", s.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			if c.handshake {
				nc = tls.Client(nc, &tls.Config{InsecureSkipVerify: true})
			}
			talk(t, nc, c.text)
			s.Close() // waits for the connection
			if bad.Load() != c.bad {
				t.Errorf("%d bad connections counted, want %d", bad.Load(), c.bad)
			}
			if states.Load() == 0 || contexts.Load() != 1 {
				t.Errorf("the server's own hooks were called %d and %d times", states.Load(), contexts.Load())
			}
		})
	}
}
