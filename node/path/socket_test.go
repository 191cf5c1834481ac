package path

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestReplacedSocketStaysInterrupted replaces a socket after reading was interrupted. A
// reader that is about to read must not get stuck on the new one.
func TestReplacedSocketStaysInterrupted(t *testing.T) {
	var s socket
	s.init("udp4", func(network string, _ uint16) (net.PacketConn, error) {
		return net.ListenPacket(network, "127.0.0.1:0")
	})
	if err := s.open(0); err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.resume()
	s.interrupt()
	if err := s.open(0); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() {
		_, err := s.cur.Load().ReadBatch([][]byte{make([]byte, 100)}, make([]int, 1), make([]netip.AddrPort, 1))
		read <- err
	}()
	select {
	case err := <-read:
		if err == nil {
			t.Error("read something")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the reader hangs")
	}
	s.resume()
	if _, port, err := net.SplitHostPort(s.cur.Load().LocalAddr().String()); err != nil || port == "0" {
		t.Errorf("no socket after resuming: %v", err)
	}
}
