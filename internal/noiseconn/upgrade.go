package noiseconn

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/noise"
)

// Names of the upgrade: wire document control, section 3.3.
const (
	// UpgradePath is where a server takes the upgrade.
	UpgradePath = "/ts2021"
	// UpgradeProtocol is the value of the Upgrade header.
	UpgradeProtocol = "tailscale-control-protocol"
	// HandshakeHeader carries the client's first handshake message in base64.
	HandshakeHeader = "X-Tailscale-Handshake"
)

// StatusError is an answer to the upgrade other than 101: the address does not
// belong to a control server, or something in between does not pass upgrades.
type StatusError struct {
	Code int    // HTTP status
	Text string // first bytes of the body, may be empty
}

// Error names the status and what it may mean.
func (e *StatusError) Error() string {
	msg := fmt.Sprintf("server answered the upgrade with HTTP status %d, not 101", e.Code)
	if e.Text != "" {
		msg += ": " + e.Text
	}
	return msg
}

// UpgradeOptions says who asks whom.
type UpgradeOptions struct {
	Host    string             // value of the Host header
	Machine key.MachinePrivate // the client's identity
	Server  key.MachinePublic  // the server's key, from its /key endpoint
	Version uint16             // the client's capability version
}

// Upgrade turns conn, a fresh TCP or TLS connection to a control server, into a
// Noise connection: HTTP/1.1 upgrade, then handshake. Cancelling ctx before it
// returns breaks conn. On error the caller closes conn. The error is a
// *StatusError when the server speaks HTTP but refuses, and wraps a
// *noise.RemoteError or noise.ErrHandshake when the handshake fails.
func Upgrade(ctx context.Context, conn net.Conn, o UpgradeOptions) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := upgrade(conn, o)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("control connection to %s: %w", o.Host, err)
	}
	if !stop() {
		return nil, fmt.Errorf("control connection to %s: %w", o.Host, context.Cause(ctx))
	}
	return c, nil
}

func upgrade(conn net.Conn, o UpgradeOptions) (*Conn, error) {
	initiator, initiation, err := noise.NewInitiator(o.Machine, o.Server, o.Version)
	if err != nil {
		return nil, err
	}
	if strings.ContainsAny(o.Host, "\r\n ") {
		return nil, fmt.Errorf("host name %q is not one", o.Host)
	}
	request := "POST " + UpgradePath + " HTTP/1.1\r\nHost: " + o.Host +
		"\r\nUpgrade: " + UpgradeProtocol + "\r\nConnection: upgrade\r\n" +
		HandshakeHeader + ": " + base64.StdEncoding.EncodeToString(initiation) +
		"\r\nContent-Length: 0\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, fmt.Errorf("send upgrade: %w", err)
	}
	limited := &io.LimitedReader{R: conn, N: 64 << 10} // bounds the HTTP header
	br := bufio.NewReaderSize(limited, 1024)
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodPost})
	if err != nil {
		return nil, fmt.Errorf("read the answer to the upgrade: %w", err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, &StatusError{Code: resp.StatusCode, Text: strings.TrimSpace(string(text))}
	}
	if got := resp.Header.Get("Upgrade"); got != UpgradeProtocol {
		return nil, fmt.Errorf("server upgraded to %q, want %q", got, UpgradeProtocol)
	}
	limited.N = 1 << 20 // past the header; the handshake message bounds itself
	response, err := readMessage(br)
	if err != nil {
		return nil, fmt.Errorf("read handshake response: %w", err)
	}
	session, err := initiator.Finish(response)
	if err != nil {
		return nil, err
	}
	leftover, err := br.Peek(br.Buffered())
	if err != nil {
		return nil, err
	}
	return New(conn, session, leftover), nil
}

// readMessage reads one handshake message with its header.
func readMessage(r io.Reader) ([]byte, error) {
	msg := make([]byte, noise.HeaderSize, noise.ResponseSize)
	if _, err := io.ReadFull(r, msg); err != nil {
		return nil, noEOF(err)
	}
	n := int(binary.BigEndian.Uint16(msg[1:]))
	msg = append(msg, make([]byte, n)...)
	if _, err := io.ReadFull(r, msg[noise.HeaderSize:]); err != nil {
		return nil, noEOF(err)
	}
	return msg, nil
}

// noEOF makes an early end what it is: an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
