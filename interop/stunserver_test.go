package interop

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"testing"
	"time"

	tsstun "tailscale.com/net/stun"

	"github.com/ginnel/ginnel/relay/stunserver"
)

// startOurSTUN serves STUN on a loopback port until the test ends.
func startOurSTUN(t *testing.T) (port int) {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- stunserver.Serve(ctx, pc, slog.New(slog.DiscardHandler), nil) }()
	t.Cleanup(func() {
		cancel()
		pc.Close()
		<-done
	})
	return pc.LocalAddr().(*net.UDPAddr).Port
}

// TestSTUNServer asks our server in their words.
func TestSTUNServer(t *testing.T) {
	port := startOurSTUN(t)
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var tx tsstun.TxID
	rand.Read(tx[:])
	if _, err := conn.Write(tsstun.Request(tx)); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(relayTimeout))
	buf := make([]byte, 1500)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	got, addr, err := tsstun.ParseResponse(buf[:n])
	if err != nil || got != tx || addr.String() != conn.LocalAddr().String() {
		t.Errorf("response %x %v, %v; want %x %v", got, addr, err, tx, conn.LocalAddr())
	}
}
