// Package stunserver answers STUN binding requests: it tells whoever asks the
// address that the request came from (RFC 8489; wire document relay, section 14).
//
// It serves one packet socket that its user opened. It is no TURN server and keeps
// nothing about those that ask.
package stunserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ginnel/ginnel/wire/stun"
)

// maxRequest is the longest request looked at, in bytes.
const maxRequest = 1500

// retryDelay is the pause after a read error that is not the end of the socket.
const retryDelay = 10 * time.Millisecond

// counters are the metrics: wire document relay, section 17.
type counters struct {
	success, notSTUN, readError, writeError prometheus.Counter
	ipv4, ipv6                              prometheus.Counter
	vecs                                    [2]*prometheus.CounterVec
}

func newCounters() *counters {
	requests := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stun_requests", Help: "STUN requests, by what became of them."}, []string{"disposition"})
	family := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "stun_addrfamily", Help: "STUN requests answered, by address family."}, []string{"family"})
	return &counters{
		success:    requests.WithLabelValues("success"),
		notSTUN:    requests.WithLabelValues("not_stun"),
		readError:  requests.WithLabelValues("read_error"),
		writeError: requests.WithLabelValues("write_error"),
		ipv4:       family.WithLabelValues("ipv4"),
		ipv6:       family.WithLabelValues("ipv6"),
		vecs:       [2]*prometheus.CounterVec{requests, family},
	}
}

// register adds the metrics to r, if there is one, and returns what removes them.
func (c *counters) register(r prometheus.Registerer) (undo func(), err error) {
	if r == nil {
		return func() {}, nil
	}
	for i, v := range c.vecs {
		if err := r.Register(v); err != nil {
			for _, w := range c.vecs[:i] {
				r.Unregister(w)
			}
			return nil, fmt.Errorf("STUN server: metrics: %w", err)
		}
	}
	return func() {
		for _, v := range c.vecs {
			r.Unregister(v)
		}
	}, nil
}

// Serve answers requests on pc until ctx ends, which closes pc; then it returns nil.
// It returns an error when pc fails for good. logger and metrics may be nil.
func Serve(ctx context.Context, pc net.PacketConn, logger *slog.Logger, metrics prometheus.Registerer) error {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	c := newCounters()
	undo, err := c.register(metrics)
	if err != nil {
		return err
	}
	defer undo()
	stop := context.AfterFunc(ctx, func() { pc.Close() })
	defer stop()
	sock := newSocket(pc)
	in, out := make([]byte, maxRequest), make([]byte, 0, 64)
	for {
		n, from, err := sock.read(in)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if errors.Is(err, net.ErrClosed) {
				return fmt.Errorf("STUN server: %w", err)
			}
			c.readError.Inc()
			logger.Warn("STUN read failed", "error", err)
			pause(ctx)
			continue
		}
		tx, err := stun.ParseRequest(in[:n])
		if err != nil {
			c.notSTUN.Inc()
			continue
		}
		if err := sock.write(stun.AppendResponse(out, tx, from), from); err != nil {
			c.writeError.Inc()
			continue
		}
		c.success.Inc()
		if from.Addr().Unmap().Is4() {
			c.ipv4.Inc()
		} else {
			c.ipv6.Inc()
		}
	}
}

// pause waits a moment, so that a socket that fails at once does not take a core.
func pause(ctx context.Context) {
	timer := time.NewTimer(retryDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// socket reads and writes by netip addresses, without allocating where the packet
// connection can.
type socket struct {
	pc  net.PacketConn
	udp *net.UDPConn // nil: some other packet connection
}

func newSocket(pc net.PacketConn) socket {
	udp, _ := pc.(*net.UDPConn)
	return socket{pc, udp}
}

func (s socket) read(b []byte) (int, netip.AddrPort, error) {
	if s.udp != nil {
		return s.udp.ReadFromUDPAddrPort(b)
	}
	n, addr, err := s.pc.ReadFrom(b)
	if err != nil {
		return 0, netip.AddrPort{}, err
	}
	from, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return 0, netip.AddrPort{}, fmt.Errorf("sender's address: %w", err)
	}
	return n, from, nil
}

func (s socket) write(b []byte, to netip.AddrPort) error {
	var err error
	if s.udp != nil {
		_, err = s.udp.WriteToUDPAddrPort(b, to)
	} else {
		_, err = s.pc.WriteTo(b, net.UDPAddrFromAddrPort(to))
	}
	return err
}
