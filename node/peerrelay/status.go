package peerrelay

import (
	"fmt"
	"io"
	"net/netip"
)

// Status is the server's state in the form of the local API (wire document cli, section
// 6, debug-peer-relay-sessions).
type Status struct {
	// UDPPort is the port of the sockets.
	UDPPort  *uint16
	Sessions []SessionStatus
}

// SessionStatus is a session in a Status.
type SessionStatus struct {
	VNI              uint32
	Client1, Client2 ClientStatus
}

// ClientStatus is a client in a SessionStatus. What it sent includes Geneve headers.
type ClientStatus struct {
	Endpoint           netip.AddrPort // empty if not bound
	ShortDisco         string
	PacketsTx, BytesTx uint64
}

// Status returns the server's state.
func (s *Server) Status() Status {
	port := s.ports[UDP4]
	if port == 0 {
		port = s.ports[UDP6]
	}
	st := Status{UDPPort: &port, Sessions: []SessionStatus{}}
	describe := func(c *Client) ClientStatus {
		return ClientStatus{c.Addr, c.Key.ShortString(), c.Sent.Packets, c.Sent.Bytes}
	}
	for _, x := range s.Sessions() {
		st.Sessions = append(st.Sessions, SessionStatus{x.VNI, describe(&x.Clients[0]), describe(&x.Clients[1])})
	}
	return st
}

// WriteMetrics writes the server's metrics in Prometheus' text form: the usual ones (wire
// document paths, section 22) and one of the drops by reason.
func (s *Server) WriteMetrics(w io.Writer) error {
	c := s.Counters()
	family := func(name, kind, help string) string {
		return fmt.Sprintf("# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
	}
	const packets, bytes = "tailscaled_peer_relay_forwarded_packets_total", "tailscaled_peer_relay_forwarded_bytes_total"
	text := [2]string{family(packets, "counter", "Packets forwarded between peers."), family(bytes, "counter", "Bytes forwarded between peers.")}
	for in := range c.Forwarded {
		for out, n := range c.Forwarded[in] {
			labels := fmt.Sprintf("{transport_in=%q,transport_out=%q}", Family(in), Family(out))
			text[0] += fmt.Sprintf("%s%s %d\n", packets, labels, n.Packets)
			text[1] += fmt.Sprintf("%s%s %d\n", bytes, labels, n.Bytes)
		}
	}
	const endpoints, drops = "tailscaled_peer_relay_endpoints", "ginnel_peer_relay_dropped_packets_total"
	connecting, open := s.table.States()
	all := text[0] + text[1] + family(endpoints, "gauge", "Sessions of the peer relay.") +
		fmt.Sprintf("%s{state=\"connecting\"} %d\n%s{state=\"open\"} %d\n", endpoints, connecting, endpoints, open) +
		family(drops, "counter", "Packets that the peer relay dropped.")
	for d := NoGeneve; d < numDrops; d++ {
		all += fmt.Sprintf("%s{reason=%q} %d\n", drops, d, c.Dropped[d])
	}
	_, err := io.WriteString(w, all)
	return err
}
