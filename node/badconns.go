package node

import (
	"sync/atomic"

	"github.com/ginnel/ginnel/node/netstack/proxy"
)

// ListenerLocalAPI names the local API's socket for NoteBadConnection.
const ListenerLocalAPI = "local_api"

// badConnections counts, by listener, the connections that spoke something else than the
// listener's protocol.
type badConnections struct{ local, socks, http atomic.Uint64 }

// of returns the counter of a listener.
func (b *badConnections) of(listener string) *atomic.Uint64 {
	switch listener {
	case proxy.ProtocolSOCKS5:
		return &b.socks
	case proxy.ProtocolHTTP:
		return &b.http
	}
	return &b.local
}

// NoteBadConnection counts a connection to a listener of this node that spoke something
// else than the listener's protocol.
func (n *Node) NoteBadConnection(listener string) { n.badConns.of(listener).Add(1) }

// metrics returns the counters.
func (b *badConnections) metrics() (list []metric) {
	for _, l := range []string{ListenerLocalAPI, proxy.ProtocolSOCKS5, proxy.ProtocolHTTP} {
		list = append(list, metric{
			name: "ginnel_bad_connections_total", help: "Connections that spoke something else than the listener's protocol.",
			kind: "counter", labels: map[string]string{"listener": l}, value: float64(b.of(l).Load()),
		})
	}
	return list
}
