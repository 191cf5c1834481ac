package server

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
)

const acmeTestHost = "mesh.example.com"

// authority is a certificate authority that speaks enough ACME (RFC 8555) for one
// account. It offers one kind of challenge and checks it against the server, at
// whatever address that listens on. It believes every signature.
type authority struct {
	t         *testing.T
	url       string
	challenge string
	server    string // address
	roots     *x509.CertPool
	key       *ecdsa.PrivateKey
	cert      *x509.Certificate

	mu     sync.Mutex
	keyAut string // key authorization of the challenge
	status string // of the authorization
	chain  []byte // PEM
	orders []string
}

func newAuthority(t *testing.T, challenge string) *authority {
	t.Helper()
	a := &authority{t: t, challenge: challenge, roots: x509.NewCertPool(), status: acme.StatusPending}
	var err error
	if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.roots.AddCert(a.cert)
	hs := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(hs.Close)
	a.url = hs.URL
	return a
}

func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var msg, header struct {
		Protected, Payload string
		JWK                struct{ X, Y string }
	}
	if r.Method == http.MethodPost {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &msg)
		}
		if err == nil {
			err = json.Unmarshal(unBase64(msg.Protected), &header)
		}
		if err != nil {
			a.t.Errorf("%s: %s: %v", r.URL.Path, body, err)
		}
	}
	payload := unBase64(msg.Payload)
	w.Header().Set("Replay-Nonce", rand.Text())
	status, answer := http.StatusOK, map[string]any{}
	switch r.URL.Path {
	case "/directory":
		for _, name := range []string{"newNonce", "newAccount", "newOrder", "revokeCert", "keyChange"} {
			answer[name] = a.url + "/" + name
		}
	case "/newNonce":
	case "/newAccount":
		thumb := sha256.Sum256([]byte(`{"crv":"P-256","kty":"EC","x":"` + header.JWK.X + `","y":"` + header.JWK.Y + `"}`))
		a.keyAut = "token." + base64.RawURLEncoding.EncodeToString(thumb[:])
		w.Header().Set("Location", a.url+"/account")
		status, answer["status"] = http.StatusCreated, "valid"
	case "/newOrder":
		a.orders = append(a.orders, string(payload))
		status, answer = http.StatusCreated, a.order()
		w.Header().Set("Location", a.url+"/order")
	case "/order":
		answer = a.order()
		w.Header().Set("Location", a.url+"/order")
	case "/authz":
		answer["status"], answer["identifier"] = a.status, acme.AuthzID{Type: "dns", Value: acmeTestHost}
		answer["challenges"] = []any{a.challengeObject()}
	case "/challenge":
		a.status = acme.StatusValid
		if err := a.validate(r.Context()); err != nil {
			a.t.Errorf("challenge %s: %v", a.challenge, err)
			a.status = acme.StatusInvalid
		}
		answer = a.challengeObject()
	case "/finalize":
		if err := a.issue(payload); err != nil {
			a.t.Errorf("finalize: %v", err)
		}
		answer = a.order()
		w.Header().Set("Location", a.url+"/order")
	case "/cert":
		w.Header().Set("Content-Type", "application/pem-certificate-chain")
		w.Write(a.chain)
		return
	default:
		a.t.Errorf("the server asks the authority for %s", r.URL.Path)
		status = http.StatusNotFound
	}
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(answer)
}

func unBase64(text string) []byte {
	raw, _ := base64.RawURLEncoding.DecodeString(text)
	return raw
}

func (a *authority) order() map[string]any {
	o := map[string]any{
		"status": a.status, "identifiers": []acme.AuthzID{{Type: "dns", Value: acmeTestHost}},
		"authorizations": []string{a.url + "/authz"}, "finalize": a.url + "/finalize",
	}
	if a.status == acme.StatusValid {
		o["status"] = acme.StatusReady
	}
	if a.chain != nil {
		o["status"], o["certificate"] = acme.StatusValid, a.url+"/cert"
	}
	return o
}

func (a *authority) challengeObject() map[string]any {
	return map[string]any{"type": a.challenge, "url": a.url + "/challenge", "token": "token", "status": a.status}
}

// validate looks at the server as authorities do.
func (a *authority) validate(ctx context.Context) error {
	if a.challenge == "http-01" {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+a.server+"/.well-known/acme-challenge/token", nil)
		if err != nil {
			return err
		}
		req.Host = acmeTestHost + ":80" // some name the port
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && string(body) != a.keyAut {
			err = fmt.Errorf("status %s, %.100q, want %q", resp.Status, body, a.keyAut)
		}
		return err
	}
	conn, err := tls.Dial("tcp", a.server, &tls.Config{ServerName: acmeTestHost, NextProtos: []string{acme.ALPNProto}, InsecureSkipVerify: true})
	if err != nil {
		return err
	}
	defer conn.Close()
	st := conn.ConnectionState()
	want := sha256.Sum256([]byte(a.keyAut))
	wantExt, err := asn1.Marshal(want[:])
	if err != nil {
		return err
	}
	leaf := st.PeerCertificates[0]
	if n := len(st.PeerCertificates); n != 1 {
		return fmt.Errorf("%d certificates, want the challenge's alone", n)
	}
	for _, e := range leaf.Extensions {
		if e.Id.Equal(asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 1, 31}) && bytes.Equal(e.Value, wantExt) && leaf.VerifyHostname(acmeTestHost) == nil &&
			st.NegotiatedProtocol == acme.ALPNProto {
			return nil
		}
	}
	return fmt.Errorf("protocol %q and a certificate for %v without the key authorization", st.NegotiatedProtocol, leaf.DNSNames)
}

func (a *authority) issue(payload []byte) error {
	var req struct{ CSR string }
	if err := json.Unmarshal(payload, &req); err != nil {
		return err
	}
	csr, err := x509.ParseCertificateRequest(unBase64(req.CSR))
	if err != nil {
		return err
	}
	if err := csr.CheckSignature(); err != nil || len(csr.DNSNames) != 1 || csr.DNSNames[0] != acmeTestHost {
		return fmt.Errorf("request for %v, signature: %v", csr.DNSNames, err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: csr.DNSNames, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, csr.PublicKey, a.key)
	if err != nil {
		return err
	}
	for _, c := range [][]byte{der, a.cert.Raw} {
		a.chain = append(a.chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c})...)
	}
	return nil
}

// syncBuffer is a log that can be waited on.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) await(t *testing.T, text string) {
	t.Helper()
	eventually(t, text, func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return strings.Contains(b.buf.String(), text)
	})
}

// With a host name and nothing else the server gets itself a certificate, by either
// challenge on the address that it serves, keeps it, and gets none for other names.
func TestACME(t *testing.T) {
	for _, challenge := range []string{"tls-alpn-01", "http-01"} {
		t.Run(challenge, func(t *testing.T) {
			a := newAuthority(t, challenge)
			c := testConfig(t)
			c.ACMEHost, c.ACMEDirectory = acmeTestHost, a.url+"/directory"
			logged := &syncBuffer{}
			c.Logger = slog.New(slog.NewTextHandler(logged, nil))
			dial := func(s *Server, name string) (*tls.Conn, error) {
				d := &net.Dialer{Timeout: 20 * time.Second}
				return tls.DialWithDialer(d, "tcp", s.Addrs()[0].String(), &tls.Config{ServerName: name, RootCAs: a.roots})
			}
			t.Run("first", func(t *testing.T) {
				s := run(t, c)
				a.server = s.Addrs()[0].String()
				logged.await(t, "neither port 80 nor 443")
				if s.URL() != "https://"+acmeTestHost {
					t.Errorf("URL %s", s.URL())
				}
				if n := s.DERPMap().Regions[DefaultRelayRegion].Nodes[0]; n.CertName != "" || n.HostName != acmeTestHost {
					t.Errorf("relay node %+v", n)
				}
				for _, name := range []string{"other.example.com", "127.0.0.1"} {
					if conn, err := dial(s, name); err == nil {
						conn.Close()
						t.Errorf("a certificate for %s", name)
					}
				}
				conn, err := dial(s, acmeTestHost)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				fmt.Fprintf(conn, "GET /healthz HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", acmeTestHost)
				if text, err := io.ReadAll(conn); err != nil || !strings.Contains(string(text), "200 OK") {
					t.Errorf("%s, %v", text, err)
				}
				if code, body := get(t, "http://"+a.server+"/key?v=145"); code != 200 || !strings.Contains(body, "mkey:") {
					t.Errorf("control beside the challenges: %d %s", code, body)
				}
			})
			if len(a.orders) != 1 || !strings.Contains(a.orders[0], acmeTestHost) {
				t.Fatalf("orders %q", a.orders)
			}
			kept, err := os.ReadDir(filepath.Join(c.DataDir, "acme"))
			if err != nil || len(kept) == 0 {
				t.Fatalf("nothing is kept: %v", err)
			}
			for _, e := range kept {
				if fi, err := e.Info(); err != nil || fi.Mode().Perm() != 0o600 {
					t.Errorf("%s: %v, %v", e.Name(), fi.Mode(), err)
				}
			}
			conn, err := dial(run(t, c), acmeTestHost)
			if err != nil {
				t.Fatal(err)
			}
			conn.Close()
			if len(a.orders) != 1 {
				t.Errorf("the certificate was ordered again: %q", a.orders)
			}
		})
	}
}
