package interop

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"testing"
)

// echoPort is where every node of a test serves echoes.
const echoPort = 7007

// serveEcho returns to each client what it sends.
func serveEcho(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			io.Copy(conn, conn)
		}()
	}
}

// echoOnLoopback serves what reaches our nodes' mesh addresses.
func echoOnLoopback(t *testing.T) {
	t.Helper()
	ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", echoPort))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go serveEcho(ln)
}

// checkEcho sends bytes to an echo service and expects them back.
func checkEcho(t *testing.T, conn io.ReadWriter) {
	t.Helper()
	want := make([]byte, 1<<20)
	rand.Read(want)
	wrote := make(chan error, 1)
	go func() { _, err := conn.Write(want); wrote <- err }()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil {
		t.Fatalf("echo: %v", err)
	}
	if err := <-wrote; err != nil {
		t.Fatalf("echo: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("other bytes came back than were sent")
	}
}
