package noiseconn

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

func sessions(t testing.TB) (client, server *noise.Session) {
	t.Helper()
	serverKey := key.NewMachine()
	ini, msg, err := noise.NewInitiator(key.NewMachine(), serverKey.Public(), 113)
	if err != nil {
		t.Fatal(err)
	}
	server, reply, err := noise.Respond(serverKey, msg)
	if err != nil {
		t.Fatal(err)
	}
	client, err = ini.Finish(reply)
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// tcpPair returns two ends of a loopback connection.
func tcpPair(t testing.TB) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	b, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

func connPair(t testing.TB) (client, server *Conn) {
	t.Helper()
	a, b := tcpPair(t)
	cs, ss := sessions(t)
	return New(a, cs, nil), New(b, ss, nil)
}

func TestConnCarriesBytesBothWays(t *testing.T) {
	client, server := connPair(t)
	up, down := make([]byte, 300_000), make([]byte, 123_457)
	for i := range up {
		up[i] = byte(i * 7)
	}
	for i := range down {
		down[i] = byte(i * 11)
	}
	var wg sync.WaitGroup
	send := func(c *Conn, data []byte) {
		wg.Go(func() {
			for i, step := 0, 1; i < len(data); step = step*3 + 1 {
				end := min(i+step, len(data))
				if n, err := c.Write(data[i:end]); err != nil || n != end-i {
					t.Errorf("Write = %d, %v", n, err)
					return
				}
				i = end
			}
		})
	}
	receive := func(c *Conn, want []byte) {
		wg.Go(func() {
			got := make([]byte, len(want))
			if _, err := io.ReadFull(c, got); err != nil {
				t.Errorf("read: %v", err)
			}
			if !bytes.Equal(got, want) {
				t.Error("bytes arrive changed")
			}
		})
	}
	send(client, up)
	send(server, down)
	receive(server, up)
	receive(client, down)
	wg.Wait()
	client.Close()
	if n, err := server.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read after close = %d, %v", n, err)
	}
}

func TestLeftoverAndEmptyRecords(t *testing.T) {
	a, b := tcpPair(t)
	cs, ss := sessions(t)
	var wire []byte
	for _, text := range []string{"", "early", "", ""} {
		var err error
		if wire, err = cs.AppendSeal(wire, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	server := New(b, ss, wire[:30])
	if _, err := a.Write(wire[30:]); err != nil {
		t.Fatal(err)
	}
	rest, err := cs.AppendSeal(nil, []byte("+late"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(rest); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if _, err := io.ReadFull(server, got); err != nil || string(got) != "early+late" {
		t.Fatalf("read %q, %v", got, err)
	}
}

func TestBadRecordEndsReading(t *testing.T) {
	for name, wire := range map[string][]byte{
		"type":      {noise.TypeError, 0, 3, 'a', 'b', 'c'},
		"oversized": {noise.TypeRecord, 0xff, 0xff},
		"forged":    append([]byte{noise.TypeRecord, 0, 20}, make([]byte, 20)...),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := tcpPair(t)
			cs, ss := sessions(t)
			server := New(b, ss, nil)
			good, err := cs.AppendSeal(nil, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := a.Write(append(wire, good...)); err != nil {
				t.Fatal(err)
			}
			for range 2 { // the second read must fail as the first, not go on
				if _, err := server.Read(make([]byte, 10)); !errors.Is(err, noise.ErrRecord) {
					t.Fatalf("Read = %v, want ErrRecord", err)
				}
			}
		})
	}
}

func TestCutRecordIsUnexpectedEnd(t *testing.T) {
	a, b := tcpPair(t)
	cs, ss := sessions(t)
	rec, err := cs.AppendSeal(nil, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(rec[:10]); err != nil {
		t.Fatal(err)
	}
	a.Close()
	if _, err := New(b, ss, nil).Read(make([]byte, 10)); err != io.ErrUnexpectedEOF {
		t.Fatalf("Read = %v", err)
	}
}

func TestReadGoesOnAfterDeadline(t *testing.T) {
	a, b := tcpPair(t)
	cs, ss := sessions(t)
	server := New(b, ss, nil)
	rec, err := cs.AppendSeal(nil, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Write(rec[:7]); err != nil {
		t.Fatal(err)
	}
	server.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
	if _, err := server.Read(make([]byte, 10)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("Read = %v", err)
	}
	server.SetReadDeadline(time.Time{})
	if _, err := a.Write(rec[7:]); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 10)
	if n, err := server.Read(got); err != nil || string(got[:n]) != "hello" {
		t.Fatalf("Read = %q, %v", got[:n], err)
	}
}

// failOnce fails the first write only.
type failOnce struct {
	net.Conn
	failed bool
}

func (f *failOnce) Write(p []byte) (int, error) {
	if !f.failed {
		f.failed = true
		return len(p) / 2, os.ErrDeadlineExceeded
	}
	return f.Conn.Write(p)
}

func TestWriteErrorPoisons(t *testing.T) {
	a, _ := tcpPair(t)
	cs, _ := sessions(t)
	c := New(&failOnce{Conn: a}, cs, nil)
	for range 2 {
		if _, err := c.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("Write = %v", err)
		}
	}
}

func TestEarlyPayload(t *testing.T) {
	challenge := key.NewChallenge().Public()
	framed, err := AppendEarlyPayload(nil, control.EarlyNoise{NodeKeyChallenge: challenge})
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"nodeKeyChallenge":"` + challenge.String() + `"}`; string(framed[earlyHeaderSize:]) != want {
		t.Errorf("JSON = %s, want %s", framed[earlyHeaderSize:], want)
	}
	settings := "\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	for _, tt := range []struct {
		name, sent, want string
		early, fail      bool
	}{
		{"absent", settings + "more", settings + "more", false, false},
		{"present", string(framed) + settings, settings, true, false},
		{"too long", control.EarlyPayloadMagic + "\x01\x00\x00\x00", "", false, true},
		{"not JSON", control.EarlyPayloadMagic + "\x00\x00\x00\x02hi", "", false, true},
		{"cut", string(framed[:30]), "", false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			client, server := connPair(t)
			if _, err := server.Write([]byte(tt.sent)); err != nil {
				t.Fatal(err)
			}
			server.Close()
			cc := NewClientConn(client)
			got, err := io.ReadAll(cc)
			if (err != nil) != tt.fail || string(got) != tt.want {
				t.Errorf("read %q, %v", got, err)
			}
			if p := cc.EarlyPayload(); (p != nil) != tt.early || p != nil && p.NodeKeyChallenge != challenge {
				t.Errorf("payload = %v", p)
			}
		})
	}
}

// upgradeServer answers upgrades with reply, given the initiation.
func upgradeServer(t *testing.T, reply func(w http.ResponseWriter, c net.Conn, initiation []byte)) net.Conn {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		initiation, err := base64.StdEncoding.DecodeString(r.Header.Get(HandshakeHeader))
		if err != nil || r.URL.Path != UpgradePath || r.Header.Get("Upgrade") != UpgradeProtocol {
			t.Errorf("upgrade request %s %v, %v", r.URL, r.Header, err)
		}
		if len(initiation) != noise.InitiationSize {
			t.Errorf("initiation of %d bytes", len(initiation))
		}
		if w.Header().Set("Connection", "close"); reply == nil {
			http.Error(w, "no such thing", http.StatusNotFound)
			return
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		reply(w, c, initiation)
	}))
	t.Cleanup(srv.Close)
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

const switching = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + UpgradeProtocol + "\r\nConnection: upgrade\r\n\r\n"

func TestUpgrade(t *testing.T) {
	serverKey, machine := key.NewMachine(), key.NewMachine()
	conn := upgradeServer(t, func(_ http.ResponseWriter, c net.Conn, initiation []byte) {
		s, reply, err := noise.Respond(serverKey, initiation)
		if err != nil {
			t.Error(err)
			return
		}
		if s.Peer() != machine.Public() || s.Version() != 120 {
			t.Errorf("peer %v, version %d", s.Peer(), s.Version())
		}
		first, err := s.AppendSeal(append([]byte(switching), reply...), []byte("hel"))
		if err != nil {
			t.Error(err)
		}
		c.Write(first) // 101, handshake and first record in one write
		io.WriteString(New(c, s, nil), "lo")
	})
	c, err := Upgrade(context.Background(), conn, UpgradeOptions{Host: "h", Machine: machine, Server: serverKey.Public(), Version: 120})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != "hello" {
		t.Fatalf("read %q, %v", got, err)
	}
}

func TestUpgradeRefused(t *testing.T) {
	serverKey := key.NewMachine()
	opts := UpgradeOptions{Host: "h", Machine: key.NewMachine(), Server: serverKey.Public(), Version: 120}

	var status *StatusError
	if _, err := Upgrade(context.Background(), upgradeServer(t, nil), opts); !errors.As(err, &status) ||
		status.Code != http.StatusNotFound || status.Text != "no such thing" {
		t.Errorf("404: %v", err)
	}

	var remote *noise.RemoteError
	_, err := Upgrade(context.Background(), upgradeServer(t, func(_ http.ResponseWriter, c net.Conn, _ []byte) {
		c.Write(noise.AppendError([]byte(switching), "too old"))
	}), opts)
	if !errors.As(err, &remote) || remote.Text != "too old" {
		t.Errorf("noise error: %v", err)
	}

	_, err = Upgrade(context.Background(), upgradeServer(t, func(_ http.ResponseWriter, c net.Conn, _ []byte) {
		io.WriteString(c, switching)
	}), opts)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("closed after 101: %v", err)
	}

	_, err = Upgrade(context.Background(), upgradeServer(t, func(_ http.ResponseWriter, c net.Conn, _ []byte) {
		io.WriteString(c, strings.ReplaceAll(switching, UpgradeProtocol, "websocket"))
	}), opts)
	if err == nil || !strings.Contains(err.Error(), "websocket") {
		t.Errorf("other protocol: %v", err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	hold := make(chan struct{})
	defer close(hold)
	_, err = Upgrade(ctx, upgradeServer(t, func(_ http.ResponseWriter, c net.Conn, _ []byte) {
		cancel()
		<-hold
	}), opts)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func FuzzUpgradeAnswer(f *testing.F) {
	f.Add([]byte(switching))
	f.Add(append([]byte(switching), noise.TypeResponse, 0, 48))
	f.Add(noise.AppendError([]byte(switching), "no"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n"))
	f.Fuzz(func(t *testing.T, answer []byte) {
		c := &scripted{r: bytes.NewReader(answer)}
		got, err := upgrade(c, UpgradeOptions{Host: "h", Machine: key.NewMachine(), Server: key.NewMachine().Public(), Version: 113})
		if err == nil || got != nil {
			t.Fatalf("%q accepted", answer)
		}
	})
}

func FuzzEarlyPayload(f *testing.F) {
	framed, err := AppendEarlyPayload(nil, control.EarlyNoise{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(framed)
	f.Add(append(framed, "rest"...))
	f.Add([]byte(control.EarlyPayloadMagic + "\x00\x9f\xff\xff{"))
	cs, ss := sessions(f)
	f.Fuzz(func(t *testing.T, stream []byte) {
		var wire []byte
		sealer, opener := *ss, *cs
		for rest := stream; len(rest) > 0; {
			n := min(len(rest), noise.MaxPlaintext)
			if wire, err = sealer.AppendSeal(wire, rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		cc := NewClientConn(New(&scripted{r: bytes.NewReader(wire)}, &opener, nil))
		got, err := io.ReadAll(cc)
		if err == nil && !bytes.HasSuffix(stream, got) {
			t.Fatalf("read %q of %q", got, stream)
		}
	})
}

// scripted is a connection that reads from r and swallows writes.
type scripted struct {
	net.Conn
	r io.Reader
}

func (s *scripted) Read(p []byte) (int, error)  { return s.r.Read(p) }
func (s *scripted) Write(p []byte) (int, error) { return len(p), nil }
