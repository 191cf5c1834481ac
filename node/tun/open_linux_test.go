package tun

import (
	"errors"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/internal/testns"
)

func TestErrorsSayWhatToDo(t *testing.T) {
	for _, c := range []struct {
		err  error
		want error
		text string
	}{
		{unix.EPERM, ErrPermission, "run as root"},
		{unix.EACCES, ErrPermission, "--tun=userspace-networking"},
		{unix.ENOENT, ErrNoTUN, "/dev/net/tun is missing"},
		{unix.ENODEV, ErrNoTUN, "--tun=userspace-networking"},
		{unix.EBUSY, ErrBusy, "another daemon"},
		{unix.EINVAL, ErrForeign, "another name"},
		{fs.ErrInvalid, fs.ErrInvalid, "tun9"},
	} {
		err := explain("tun9", c.err)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v", c.err, err)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", unix.IFNAMSIZ)} {
		if _, err := Open(name, 1280); err == nil {
			t.Errorf("interface name %q was taken", name)
		}
	}
}

func TestKernelDevice(t *testing.T) {
	if !testns.Enter(t) {
		return
	}
	dev, err := Open("gtest0", 1280)
	if err != nil {
		t.Fatal(err)
	}
	if dev.Name() != "gtest0" || dev.MTU() != 1280 || dev.BatchSize() < 2 {
		t.Errorf("device %q, MTU %d, batch %d", dev.Name(), dev.MTU(), dev.BatchSize())
	}
	if _, err := Open("gtest0", 1280); !errors.Is(err, ErrBusy) {
		t.Errorf("second daemon: %v", err)
	}
	if _, err := Open("lo", 1280); !errors.Is(err, ErrForeign) {
		t.Errorf("name of another kind of interface: %v", err)
	}
	testns.IP(t, "addr", "add", "100.64.0.9/32", "dev", "gtest0")
	testns.IP(t, "link", "set", "gtest0", "up")
	testns.IP(t, "route", "add", "100.64.0.0/10", "dev", "gtest0")

	w := Wrap(dev, Hooks{})
	host, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(100, 64, 0, 9), Port: 7})
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	bufs, sizes := make([][]byte, w.BatchSize()), make([]int, w.BatchSize())
	for i := range bufs {
		bufs[i] = make([]byte, Headroom+2048)
	}
	// nextUDP returns the next UDP packet; the kernel also sends others of its own.
	nextUDP := func() (d packet.Parsed) {
		t.Helper()
		for {
			n, err := w.Read(bufs, sizes, Headroom)
			if err != nil {
				t.Fatal(err)
			}
			for i := range n {
				if d.Decode(bufs[i][Headroom:Headroom+sizes[i]]) == nil && d.Proto == packet.UDP {
					return d
				}
			}
		}
	}
	if _, err := host.WriteTo([]byte("to mesh"), &net.UDPAddr{IP: net.IPv4(100, 64, 0, 1), Port: 9}); err != nil {
		t.Fatal(err)
	}
	if d := nextUDP(); string(d.Payload()) != "to mesh" || d.DstPort != 9 || !d.ChecksumOK() {
		t.Errorf("packet from the host: %v %q", d.Dst, d.Payload())
	}
	peerPort, ownPort := netip.MustParseAddrPort("100.64.0.1:9"), netip.MustParseAddrPort("100.64.0.9:7")
	in, err := packet.AppendUDP(nil, peerPort, ownPort, []byte("from mesh"))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.InjectIn(in); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 100)
	n, from, err := host.ReadFromUDPAddrPort(got)
	if err != nil || string(got[:n]) != "from mesh" || from != peerPort {
		t.Errorf("host received %q from %v, %v", got[:n], from, err)
	}
	// A blocked Read sees injected packets, again and again.
	for range 20 {
		out, err := packet.AppendUDP(nil, ownPort, peerPort, []byte("injected"))
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			if err := w.InjectOut(out); err != nil {
				t.Error(err)
			}
		}()
		if d := nextUDP(); string(d.Payload()) != "injected" {
			t.Errorf("read %q", d.Payload())
		}
	}
	closed := make(chan error, 1)
	go func() {
		for {
			if _, err := w.Read(bufs, sizes, Headroom); err != nil {
				closed <- err
				return
			}
		}
	}()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-closed; !errors.Is(err, os.ErrClosed) {
		t.Errorf("read ended with %v", err)
	}
	for range w.Events() { // ends when the device is closed
	}
	if out := testns.IP(t, "-o", "link", "show"); strings.Contains(out, "gtest0") {
		t.Errorf("interface is still there:\n%s", out)
	}
}
