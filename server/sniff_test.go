package server

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t *testing.T) (near, far net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if far, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if near, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near, far
}

func TestPeekLeavesTheByte(t *testing.T) {
	for name, look := range map[string]func(net.Conn) (byte, net.Conn, error){"peek": peek, "reading": peekByReading} {
		near, far := tcpPair(t)
		if _, err := far.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		first, whole, err := look(near)
		if err != nil || first != 'h' {
			t.Fatalf("%s: %q, %v", name, first, err)
		}
		whole.SetReadDeadline(time.Now().Add(10 * time.Second))
		got := make([]byte, 5)
		if _, err := io.ReadFull(whole, got); err != nil || string(got) != "hello" {
			t.Errorf("%s: read %q, %v", name, got, err)
		}

		near, far = tcpPair(t)
		far.Close()
		if _, _, err := look(near); !errors.Is(err, errNoByte) {
			t.Errorf("%s: of a connection that ended: %v", name, err)
		}
	}
}
