package server

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestOnlyLocal(t *testing.T) {
	h := onlyLocal(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for _, c := range []struct {
		from, to, forwarded string
		want                int
	}{
		{"127.0.0.1:5000", "127.0.0.1:80", "", http.StatusOK},
		{"10.50.0.1:5000", "10.50.0.1:80", "", http.StatusOK}, // by the machine's own address
		{"[::ffff:10.50.0.1]:5000", "10.50.0.1:80", "", http.StatusOK},
		{"[2001:db8::1]:5000", "[2001:db8::1]:80", "", http.StatusOK},
		{"10.50.0.2:5000", "10.50.0.1:80", "", http.StatusForbidden},
		{"10.50.0.1:5000", "10.50.0.1:80", "192.0.2.1", http.StatusForbidden},
		{"", "10.50.0.1:80", "", http.StatusForbidden},
	} {
		to, err := net.ResolveTCPAddr("tcp", c.to)
		if err != nil {
			t.Fatal(err)
		}
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r = r.WithContext(context.WithValue(r.Context(), http.LocalAddrContextKey, net.Addr(to)))
		r.RemoteAddr = c.from
		if c.forwarded != "" {
			r.Header.Set("X-Forwarded-For", c.forwarded)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("from %q to %q through %q: status %d, want %d", c.from, c.to, c.forwarded, w.Code, c.want)
		}
	}
}
