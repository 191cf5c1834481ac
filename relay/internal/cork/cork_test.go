package cork

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// sink is a connection that keeps what each write brings.
type sink struct {
	net.Conn
	writes [][]byte
}

func (s *sink) Write(b []byte) (int, error) {
	s.writes = append(s.writes, bytes.Clone(b))
	return len(b), nil
}

func TestGathers(t *testing.T) {
	s := &sink{}
	c := New(s)
	c.Write([]byte("through"))
	for _, giveBack := range []bool{false, true} {
		s.writes = nil
		c.Cork(make([]byte, 3, 100))
		c.Write([]byte("one "))
		c.Write([]byte("two"))
		if len(s.writes) != 0 {
			t.Error("a corked connection has written")
		}
		buf, err := c.Uncork(giveBack)
		if err != nil || (cap(buf) == 100) != giveBack {
			t.Errorf("Uncork(%v): buffer of %d, %v", giveBack, cap(buf), err)
		}
		if len(s.writes) != 1 || string(s.writes[0]) != "one two" {
			t.Errorf("wrote %q", s.writes)
		}
	}
	s.writes = nil
	c.Cork(nil)
	if _, err := c.Uncork(false); err != nil || len(s.writes) != 0 {
		t.Errorf("nothing was written as %q, %v", s.writes, err)
	}
	c.Write([]byte("a"))
	c.Write([]byte("b"))
	if len(s.writes) != 2 {
		t.Errorf("uncorked, two writes became %q", s.writes)
	}
}

func TestStallTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ours, theirs := net.Pipe()
		defer theirs.Close()
		c := New(ours)
		c.SetStallTimeout(2 * time.Second)
		go func() { // slow, but never for two seconds
			for range 10 {
				time.Sleep(1500 * time.Millisecond)
				io.ReadFull(theirs, make([]byte, 1))
			}
		}()
		start := time.Now()
		if n, err := c.Write(make([]byte, 10)); n != 10 || err != nil || time.Since(start) < 10*time.Second {
			t.Errorf("slow reader: %d bytes, %v after %v", n, err, time.Since(start))
		}
		start = time.Now()
		n, err := c.Write(make([]byte, 10))
		if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 2*time.Second {
			t.Errorf("no reader: %d bytes, %v after %v", n, err, time.Since(start))
		}
	})
}
