package tlscert

import (
	"bytes"
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/acme"

	"github.com/ginnel/ginnel/wire/relay"
)

func make1(t *testing.T, hosts ...string) []byte {
	t.Helper()
	text, err := SelfSigned("test", time.Now(), hosts...)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSelfSigned(t *testing.T) {
	text := make1(t, "Relay.example", "203.0.113.7", "", "2001:db8::1")
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"relay.example", "203.0.113.7", "2001:db8::1"} {
		if err := cert.Leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if cert.Leaf.VerifyHostname("other.example") == nil || len(cert.Leaf.DNSNames) != 1 {
		t.Errorf("names %q", cert.Leaf.DNSNames)
	}
	if left := time.Until(cert.Leaf.NotAfter); left < 9*365*24*time.Hour || cert.Leaf.NotBefore.After(time.Now()) {
		t.Errorf("valid from %v for %v", cert.Leaf.NotBefore, left)
	}
	if _, isPin, err := relay.ParsePin(Pin(&cert)); !isPin || err != nil {
		t.Errorf("pin %q: %v", Pin(&cert), err)
	}
}

func TestFilesAreReadAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cert.pem")
	if _, err := OpenFiles(path, path); err == nil {
		t.Error("a missing file was opened")
	}
	first, second := make1(t, "a.example"), make1(t, "b.example")
	replace := func(text []byte, age time.Duration) {
		t.Helper()
		at := time.Now().Add(-age)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	replace(first, 3*time.Hour)
	f, err := OpenFiles(path, path)
	if err != nil {
		t.Fatal(err)
	}
	holds := func(when, host string) {
		t.Helper()
		if cert, err := f.GetCertificate(nil); err != nil || cert.Leaf.VerifyHostname(host) != nil {
			t.Errorf("%s: not the certificate of %s: %v", when, host, err)
		}
	}
	holds("at first", "a.example")
	replace(bytes.ToLower(second), 2*time.Hour)
	holds("while the file is bad", "a.example")
	replace(second, time.Hour)
	holds("when it is good", "b.example")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	holds("when it is gone", "b.example")
}

func TestACME(t *testing.T) {
	conf := Config()
	m := ACME{Host: "a.example", CacheDir: t.TempDir(), Directory: "https://ca.example/dir"}.Manager(conf)
	if m.HostPolicy(t.Context(), "b.example") == nil || m.HostPolicy(t.Context(), "a.example") != nil {
		t.Error("the host policy is not the one name")
	}
	if m.Client.DirectoryURL != "https://ca.example/dir" || conf.GetCertificate == nil || conf.NextProtos[1] != acme.ALPNProto {
		t.Errorf("manager %+v, protocols %q", m.Client, conf.NextProtos)
	}
}
