package admin

import (
	"fmt"
	"log/slog"
	"net"
	"os"
)

// peerListener lets in root and the server's own user.
type peerListener struct {
	net.Listener
	log *slog.Logger
}

// peerConn is a connection whose other end is known.
type peerConn struct {
	net.Conn
	uid uint32
}

// Accept waits for a connection of somebody who may connect.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peerUID(c)
		if err == nil && (uid == 0 || uid == uint32(os.Geteuid())) {
			return &peerConn{c, uid}, nil
		}
		l.log.Warn("refused a connection to the admin socket", "uid", uid, "err", err)
		c.Close()
	}
}

// maxSocketPath is the longest path of a unix socket, in bytes.
const maxSocketPath = 107

// Listen makes the socket at path, for its owner alone. A socket that nobody
// listens on any more is replaced. The caller must know that no other server
// uses the path, such as by the lock of the data directory.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("admin socket %s: the path is longer than %d bytes; choose a shorter one with --socket", path, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, fmt.Errorf("admin socket: %w", err)
	}
	return l, nil
}
