package server

import (
	"time"

	"github.com/ginnel/ginnel/internal/connlimit"
)

// Time limits of HTTP requests. They end when a connection is taken over for one of
// the two protocols, which have their own.
const (
	headerTimeout  = 20 * time.Second // for TLS, and for a request's header
	requestTimeout = 30 * time.Second // for all of a request, and for its answer
	idleTimeout    = time.Minute      // between requests
	maxHeader      = 64 << 10         // bytes
)

// How many connections strangers may hold: those that have not shown yet that a
// node of this network is at their other end. When all nodes of a company come back
// at once, each is a stranger for the moment of its handshake.
const (
	strangersPerSource = 4096
	strangersTotal     = 16384
)

// strangerLimits returns the limits for this process, which may have too few file
// descriptors for the usual ones: half of them are for nodes.
func strangerLimits() connlimit.Limits {
	l := connlimit.Limits{PerSource: strangersPerSource, Total: strangersTotal}
	if files, ok := maxFiles(); ok && files/2 < uint64(l.Total) {
		l.Total = max(1, int(files/2))
	}
	return l
}
