package local

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
)

// access is what a caller may do.
type access int

const (
	accessNone access = iota
	accessRead
	accessWrite
)

// callerKey is the context key of a connection's caller.
type callerKey struct{}

// caller is the user at the other end of a connection.
type caller struct {
	uid   uint32
	known bool
}

// withCaller notes who has connected.
func withCaller(ctx context.Context, c net.Conn) context.Context {
	uid, err := peerUID(c)
	return context.WithValue(ctx, callerKey{}, caller{uid: uid, known: err == nil})
}

// accessOf returns what the caller of a request may do: root, the daemon's own
// user and the operator may write, everybody else on the machine may read.
func (s *Server) accessOf(r *http.Request) access {
	c, ok := r.Context().Value(callerKey{}).(caller)
	if !ok || !c.known {
		return accessNone
	}
	if c.uid == 0 || c.uid == s.ownUID || isUser(c.uid, s.backend.OperatorUser()) {
		return accessWrite
	}
	return accessRead
}

// isUser reports whether uid is the user of that name, or of that number.
func isUser(uid uint32, name string) bool {
	if name == "" {
		return false
	}
	want := strconv.FormatUint(uint64(uid), 10)
	if name == want {
		return true
	}
	u, err := user.Lookup(name)
	return err == nil && u.Uid == want
}

// ownUID is the daemon's user.
func ownUID() uint32 { return uint32(os.Getuid()) }
