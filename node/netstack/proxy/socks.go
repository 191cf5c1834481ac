package proxy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
	"time"

	"github.com/ginnel/ginnel/node/netstack"
)

// Values of RFC 1928.
const (
	socksVersion     = 5
	socksNoAuth      = 0
	socksNoMethod    = 0xff
	socksConnect     = 1
	socksIPv4        = 1
	socksName        = 3
	socksIPv6        = 4
	socksOK          = 0
	socksFailed      = 1
	socksNetwork     = 3
	socksHost        = 4
	socksRefused     = 5
	socksBadCommand  = 7
	socksBadAddrType = 8
)

// socksError is a request that is answered with a code.
type socksError struct {
	code byte
	err  error
}

func (e *socksError) Error() string { return e.err.Error() }
func (e *socksError) Unwrap() error { return e.err }

// serveSOCKS5 serves one connection and closes it.
func (s *Server) serveSOCKS5(ctx context.Context, c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
	address, err := socksHandshake(c)
	if err != nil {
		var bad *socksError
		if errors.As(err, &bad) {
			_, _ = c.Write(socksReply(bad.code, netip.AddrPort{}))
		}
		s.bad(ProtocolSOCKS5)
		s.log().Debug("socks5: bad request", "from", c.RemoteAddr().String(), "err", err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	out, err := s.Dial(ctx, "tcp", address)
	if err != nil {
		s.log().Debug("socks5: cannot connect", "to", address, "err", err)
		_ = c.SetDeadline(time.Now().Add(handshakeTimeout))
		_, _ = c.Write(socksReply(replyCode(err), netip.AddrPort{}))
		return
	}
	bound, _ := netip.ParseAddrPort(out.LocalAddr().String())
	if _, err := c.Write(socksReply(socksOK, bound)); err != nil {
		out.Close()
		return
	}
	netstack.Splice(ctx, c, out)
}

// socksHandshake reads the greeting and the request, and returns the
// destination.
func socksHandshake(c io.ReadWriter) (address string, err error) {
	var b [257]byte
	if _, err := io.ReadFull(c, b[:2]); err != nil {
		return "", fmt.Errorf("read greeting: %w", err)
	}
	if b[0] != socksVersion {
		return "", fmt.Errorf("version %d is not SOCKS5", b[0])
	}
	methods := b[:b[1]]
	if _, err := io.ReadFull(c, methods); err != nil {
		return "", fmt.Errorf("read methods: %w", err)
	}
	method := byte(socksNoMethod)
	for _, m := range methods {
		if m == socksNoAuth {
			method = socksNoAuth
		}
	}
	if _, err := c.Write([]byte{socksVersion, method}); err != nil {
		return "", fmt.Errorf("answer greeting: %w", err)
	}
	if method == socksNoMethod {
		return "", errors.New("client insists on authentication")
	}
	return readSOCKSRequest(c)
}

// readSOCKSRequest reads a request and returns its destination.
func readSOCKSRequest(r io.Reader) (address string, err error) {
	var b [256]byte
	if _, err := io.ReadFull(r, b[:4]); err != nil {
		return "", fmt.Errorf("read request: %w", err)
	}
	if b[0] != socksVersion {
		return "", fmt.Errorf("request of version %d", b[0])
	}
	command, kind := b[1], b[3]
	var host string
	switch kind {
	case socksIPv4:
		_, err = io.ReadFull(r, b[:4])
		host = netip.AddrFrom4([4]byte(b[:4])).String()
	case socksIPv6:
		_, err = io.ReadFull(r, b[:16])
		host = netip.AddrFrom16([16]byte(b[:16])).String()
	case socksName:
		if _, err = io.ReadFull(r, b[:1]); err == nil {
			name := b[:b[0]]
			_, err = io.ReadFull(r, name)
			host = string(name)
		}
	default:
		return "", &socksError{socksBadAddrType, fmt.Errorf("address type %d is unknown", kind)}
	}
	if err != nil {
		return "", fmt.Errorf("read destination: %w", err)
	}
	if host == "" {
		return "", &socksError{socksBadAddrType, errors.New("destination has an empty name")}
	}
	if _, err := io.ReadFull(r, b[:2]); err != nil {
		return "", fmt.Errorf("read destination port: %w", err)
	}
	if command != socksConnect {
		return "", &socksError{socksBadCommand, fmt.Errorf("command %d is not supported", command)}
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(b[:2])))), nil
}

// replyCode tells the client why there is no connection.
func replyCode(err error) byte {
	var dns *net.DNSError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return socksRefused
	case errors.Is(err, syscall.ENETUNREACH):
		return socksNetwork
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ETIMEDOUT),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &dns):
		return socksHost
	}
	return socksFailed
}

// socksReply makes a reply with the address that the connection leaves from.
func socksReply(code byte, bound netip.AddrPort) []byte {
	b := []byte{socksVersion, code, 0}
	a := bound.Addr().Unmap()
	if !a.IsValid() {
		a = netip.IPv4Unspecified()
	}
	if a.Is4() {
		b = append(b, socksIPv4)
	} else {
		b = append(b, socksIPv6)
	}
	b = append(b, a.AsSlice()...)
	return binary.BigEndian.AppendUint16(b, bound.Port())
}
