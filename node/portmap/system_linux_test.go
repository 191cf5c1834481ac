package portmap

import (
	"net"
	"testing"
	"time"

	"github.com/ginnel/ginnel/internal/testns"
	"github.com/ginnel/ginnel/wire/natpmp"
)

// TestSystemSockets hears what the system's own sockets send.
func TestSystemSockets(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	testns.IP(t, "link", "set", "lo", "multicast", "on")
	testns.IP(t, "route", "add", "224.0.0.0/4", "dev", "lo")
	in, err := systemListenAnnouncements("lo")
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	second, err := systemListenAnnouncements("lo")
	if err != nil {
		t.Fatalf("while another program listens: %v", err)
	}
	defer second.Close()
	out, err := systemListen("udp4", addr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := out.WriteTo([]byte("announcement"), &net.UDPAddr{IP: net.IPv4(224, 0, 0, 1), Port: natpmp.AnnouncePort}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.PacketConn{in, second} {
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b := make([]byte, 100)
		n, from, err := c.ReadFrom(b)
		if err != nil || string(b[:n]) != "announcement" || from.String() != out.LocalAddr().String() {
			t.Errorf("heard %q from %v, %v", b[:n], from, err)
		}
	}
	if _, err := systemListenAnnouncements("none"); err == nil {
		t.Error("no error without the interface")
	}
}
