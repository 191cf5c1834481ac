package stunserver

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/wire/stun"
)

// serve runs a server on network and returns its port.
func serve(t *testing.T, network, addr string, reg prometheus.Registerer) uint16 {
	t.Helper()
	pc, err := net.ListenPacket(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, pc, nil, reg) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return pc.LocalAddr().(*net.UDPAddr).AddrPort().Port()
}

// ask sends a request from a connected socket, so that an answer from any other
// socket than the one asked is not seen.
func ask(t *testing.T, to netip.AddrPort, request []byte) (mine, told netip.AddrPort, answer []byte) {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	_, told, err = stun.ParseResponse(buf[:n])
	if err != nil {
		t.Fatal(err)
	}
	return c.LocalAddr().(*net.UDPAddr).AddrPort(), told, buf[:n]
}

func TestBothFamiliesOnOneSocket(t *testing.T) {
	reg := prometheus.NewRegistry()
	port := serve(t, "udp", ":0", reg)
	tx := stun.TxID{1, 2, 3}
	mine, told, answer := ask(t, netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), stun.AppendRequest(nil, tx))
	if mine != told || len(answer) != 32 {
		t.Errorf("IPv4: told %v in %d bytes, am %v; want the 32-byte form", told, len(answer), mine)
	}
	mine, told, answer = ask(t, netip.AddrPortFrom(netip.IPv6Loopback(), port), stun.AppendRequest(nil, tx))
	if mine != told || len(answer) != 44 {
		t.Errorf("IPv6: told %v in %d bytes, am %v", told, len(answer), mine)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.Metric {
			got[f.GetName()+" "+m.Label[0].GetValue()] = m.Counter.GetValue()
		}
	}
	for name, want := range map[string]float64{
		"stun_requests success": 2, "stun_requests not_stun": 0, "stun_addrfamily ipv4": 1, "stun_addrfamily ipv6": 1,
	} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("metric %s is %v, want %v", name, v, want)
		}
	}
}

func TestOtherClientsAndGarbage(t *testing.T) {
	port := serve(t, "udp4", "127.0.0.1:0", nil)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Garbage gets no answer and does no harm: the next answer is that to the
	// request behind it, a bare one without the software name.
	bare := []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}
	for _, b := range [][]byte{{}, {1}, make([]byte, 1500), []byte("TS\xf0\x9f\x92\xac"), bare} {
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	c.SetDeadline(time.Now().Add(10 * time.Second))
	buf := make([]byte, 1500)
	n, err := c.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	tx, told, err := stun.ParseResponse(buf[:n])
	if err != nil || tx != stun.TxID(bare[8:]) || told != c.LocalAddr().(*net.UDPAddr).AddrPort() {
		t.Errorf("answer %x, %v, %v", tx, told, err)
	}
}

func TestClosedSocketIsAnError(t *testing.T) {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc.Close()
	if err := Serve(context.Background(), pc, nil, nil); err == nil {
		t.Error("Serve on a closed socket returned nil")
	}
}
