package interop

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"testing"
	"time"

	"tailscale.com/control/controlbase"

	"github.com/ginnel/ginnel/internal/noiseconn"
	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

const protocolVersion = 113

func testContext(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// loopback returns the two ends of a TCP connection.
func loopback(t *testing.T) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close(); server.Close() })
	deadline := time.Now().Add(20 * time.Second)
	client.SetDeadline(deadline)
	server.SetDeadline(deadline)
	return client, server
}

// sendBothWays moves more than one record each way and compares.
func sendBothWays(t *testing.T, a, b net.Conn) {
	t.Helper()
	for _, dir := range []struct {
		name     string
		from, to net.Conn
	}{{"ours to theirs", a, b}, {"theirs to ours", b, a}} {
		want := make([]byte, 100_000)
		rand.Read(want)
		wrote := make(chan error, 1)
		go func() { _, err := dir.from.Write(want); wrote <- err }()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(dir.to, got); err != nil {
			t.Fatalf("%s: %v", dir.name, err)
		}
		if err := <-wrote; err != nil {
			t.Fatalf("%s: %v", dir.name, err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("%s: other bytes arrived", dir.name)
		}
	}
}

// TestNoiseOurClient shakes hands as the client with their server.
func TestNoiseOurClient(t *testing.T) {
	ctx := testContext(t, 20*time.Second)
	machine, control := key.NewMachine(), key.NewMachine()
	client, server := loopback(t)
	type result struct {
		conn *controlbase.Conn
		err  error
	}
	theirs := make(chan result, 1)
	go func() {
		conn, err := controlbase.Server(ctx, server, theirMachinePrivate(t, control), nil)
		theirs <- result{conn, err}
	}()
	ini, first, err := noise.NewInitiator(machine, control.Public(), protocolVersion)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Write(first); err != nil {
		t.Fatal(err)
	}
	response := make([]byte, noise.ResponseSize)
	if _, err := io.ReadFull(client, response); err != nil {
		t.Fatal(err)
	}
	session, err := ini.Finish(response)
	if err != nil {
		t.Fatal(err)
	}
	r := <-theirs
	if r.err != nil {
		t.Fatal(r.err)
	}
	if r.conn.Peer() != theirMachine(machine.Public()) || r.conn.ProtocolVersion() != protocolVersion {
		t.Errorf("their server sees %v, version %d", r.conn.Peer(), r.conn.ProtocolVersion())
	}
	if r.conn.HandshakeHash() != session.HandshakeHash() {
		t.Error("handshake hashes differ")
	}
	sendBothWays(t, noiseconn.New(client, session, nil), r.conn)
}

// TestNoiseOurServer shakes hands as the server with their client.
func TestNoiseOurServer(t *testing.T) {
	ctx := testContext(t, 20*time.Second)
	machine, control := key.NewMachine(), key.NewMachine()
	client, server := loopback(t)
	first, finish, err := controlbase.ClientDeferred(theirMachinePrivate(t, machine), theirMachine(control.Public()), protocolVersion)
	if err != nil {
		t.Fatal(err)
	}
	session, response, err := noise.Respond(control, first)
	if err != nil {
		t.Fatal(err)
	}
	if session.Peer() != machine.Public() || session.Version() != protocolVersion {
		t.Errorf("we see %v, version %d", session.Peer(), session.Version())
	}
	if _, err := server.Write(response); err != nil {
		t.Fatal(err)
	}
	conn, err := finish(ctx, client)
	if err != nil {
		t.Fatal(err)
	}
	if conn.HandshakeHash() != session.HandshakeHash() {
		t.Error("handshake hashes differ")
	}
	sendBothWays(t, noiseconn.New(server, session, nil), conn)
}
