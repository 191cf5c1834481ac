//go:build linux

package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// chunk is how much a stream reads or writes at once, in bytes.
const chunk = 128 << 10

// A Flow is what a TCP stream carried.
type Flow struct {
	Bytes    int64 // that arrived
	Duration time.Duration
}

// Gbps returns the throughput in 10⁹ bits per second.
func (f Flow) Gbps() float64 { return float64(f.Bytes) * 8 / f.Duration.Seconds() / 1e9 }

// Stream pushes bytes through one TCP connection from one host to an address of
// another for the given time and returns what arrived.
func Stream(ctx context.Context, from, to *Host, addr netip.Addr, d time.Duration) (Flow, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*d+20*time.Second)
	defer cancel()
	ln, err := to.Listen(ctx, netip.AddrPortFrom(addr, 0).String())
	if err != nil {
		return Flow{}, err
	}
	defer ln.Close()
	defer context.AfterFunc(ctx, func() { ln.Close() })()
	out, err := from.Dial(ctx, "tcp", ln.Addr().String())
	if err != nil {
		return Flow{}, fmt.Errorf("stream from %s to %s: %w", from.Name, to.Name, err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		return Flow{}, fmt.Errorf("stream from %s to %s: %w", from.Name, to.Name, err)
	}
	defer in.Close()
	defer context.AfterFunc(ctx, func() { out.Close(); in.Close() })()
	start := time.Now()
	sent := make(chan error, 1)
	go func() { sent <- push(out, start.Add(d)) }()
	n, err := discard(in)
	if err = errors.Join(err, <-sent); err != nil {
		return Flow{}, fmt.Errorf("stream from %s to %s: %w", from.Name, to.Name, err)
	}
	return Flow{Bytes: n, Duration: time.Since(start)}, nil
}

// push writes until the time is over, then says that it is done.
func push(conn net.Conn, until time.Time) error {
	buf := make([]byte, chunk)
	for time.Now().Before(until) {
		if _, err := conn.Write(buf); err != nil {
			return err
		}
	}
	return conn.(*net.TCPConn).CloseWrite()
}

// discard reads to the end.
func discard(conn net.Conn) (n int64, err error) {
	buf := make([]byte, chunk)
	for {
		k, err := conn.Read(buf)
		n += int64(k)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
