package relay

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBootstrapDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
		var answer atomic.Pointer[[]netip.Addr] // for the first name; nil when the resolver fails
		answer.Store(&[]netip.Addr{netip.AddrFrom16(one.As16()), two})
		b := NewBootstrapDNS([]string{"Mesh.Example.com.", "gone.example.com"}, func(_ context.Context, name string) ([]netip.Addr, error) {
			if ips := answer.Load(); ips != nil && name == "mesh.example.com" {
				return slices.Clone(*ips), nil
			}
			return nil, errors.New("no such host")
		}, nil)
		ask := func(method string) *httptest.ResponseRecorder {
			w := httptest.NewRecorder()
			b.ServeHTTP(w, httptest.NewRequest(method, "/bootstrap-dns?q=mesh.example.com", nil))
			return w
		}
		want := func(ips ...netip.Addr) {
			t.Helper()
			synctest.Wait()
			w := ask(http.MethodGet)
			var got map[string][]netip.Addr
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%d %s: %v", w.Code, w.Body, err)
			}
			list := got["mesh.example.com"]
			slices.SortFunc(list, netip.Addr.Compare)
			if !slices.Equal(list, ips) || len(got) > 1 {
				t.Errorf("answer %v, want %v", got, ips)
			}
		}
		want() // nothing is known yet
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.Run(ctx)
		want(one, two)
		answer.Store(nil) // the resolver fails: what was known stays
		time.Sleep(bootstrapEvery)
		want(one, two)
		answer.Store(&[]netip.Addr{two})
		time.Sleep(bootstrapEvery)
		want(two)
		if w := ask(http.MethodPost); w.Code != http.StatusMethodNotAllowed {
			t.Errorf("POST: %d", w.Code)
		}
	})
}
