package ctl

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/ctl/ctltest"
	"github.com/ginnel/ginnel/wire/control"
)

// TestBusyServer has the server refuse registrations and map polls for a while.
func TestBusyServer(t *testing.T) {
	f := ctltest.New(t)
	var registers, streams atomic.Int32
	f.Register = func(r *control.RegisterRequest) (int, *control.RegisterResponse) {
		if registers.Add(1) == 1 {
			return http.StatusTooManyRequests, nil
		}
		return ctltest.Accept(r)
	}
	f.Stream = func(r *control.MapRequest, w *ctltest.Frames) {
		if streams.Add(1) == 1 {
			w.W.Header().Set("Retry-After", "1")
			w.W.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.SendFull(r.NodeKey)
		w.Hold()
	}
	c, events := startClient(t, f.URL())
	c.Login(LoginOptions{AuthKey: "k"})
	failed := want[LoginFailed](events)
	if limited, ok := failed.Err.(*RateLimitedError); !ok || failed.Final || limited.Wait < 5*time.Second {
		t.Fatalf("a busy server: %+v", failed)
	}
	c.LinkChanged() // no need to wait here
	want[LoggedIn](events)
	if e := want[Online](events); !strings.Contains(e.Err.Error(), "trying again in 1s") {
		t.Errorf("a busy map: %v", e.Err)
	}
	want[MapUpdate](events)
}

// tlsServer serves nothing over TLS, with a certificate of the given validity.
func tlsServer(t *testing.T, from, to time.Time) string {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: k}}}
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// TestClockIsOff meets certificates that are not valid by this machine's clock.
func TestClockIsOff(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		from, to time.Time
		want     string
	}{
		"not yet valid": {now.AddDate(3, 0, 0), now.AddDate(4, 0, 0), "not valid before " + now.AddDate(3, 0, 0).UTC().Format(time.DateOnly)},
		"expired":       {now.AddDate(-3, 0, 0), now.AddDate(-2, 0, 0), "expired on " + now.AddDate(-2, 0, 0).UTC().Format(time.DateOnly)},
	} {
		client, events := startClient(t, tlsServer(t, c.from, c.to))
		client.Login(LoginOptions{AuthKey: "k"})
		first := want[LoginFailed](events).Err.Error()
		if !strings.Contains(first, c.want) || !strings.Contains(first, "set the clock") {
			t.Errorf("%s: %s", name, first)
		}
	}
}
