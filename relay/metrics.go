package relay

import "github.com/prometheus/client_golang/prometheus"

// Metric names are those that dashboards of other relays already know: wire
// document relay, section 17.
var (
	descConns        = desc("derp_current_connections", "Client connections now.")
	descHome         = desc("derp_current_home_connections", "Connections of clients whose home this is.")
	descNotIdeal     = desc("derp_current_notideal_connections", "Connections of clients that would rather be on another node.")
	descClients      = desc("derp_clients_total", "Distinct keys reached in the region.")
	descLocal        = desc("derp_clients_local", "Distinct keys connected here.")
	descRemote       = desc("derp_clients_remote", "Distinct keys reached through other relays only.")
	descDupKeys      = desc("derp_current_dup_client_keys", "Keys with more than one connection.")
	descDupConns     = desc("derp_current_dup_client_conns", "Connections of keys with more than one.")
	descDupTotal     = desc("derp_total_dup_client_conns", "Connections made while the key had one already.")
	descWatchers     = desc("derp_watchers", "Connections that watch presence.")
	descAccepts      = desc("derp_accepts", "Connections that began the protocol.")
	descRefused      = desc("derp_refused", "Connections that failed the handshake or were not admitted.")
	descFailed       = desc("derp_failed", "Connections that ended in an error, such as a frame that is not allowed.")
	descBytesRecv    = desc("derp_bytes_received", "Data bytes of packets received from clients.")
	descBytesSent    = desc("derp_bytes_sent", "Data bytes of packets sent to clients.")
	descPacketsRecv  = desc("derp_packets_received", "Packets received from clients.")
	descPacketsSent  = desc("derp_packets_sent", "Packets sent to clients.")
	descRecvKind     = desc("derp_packets_received_kind", "Packets received from clients, by kind.", "kind")
	descDropped      = desc("derp_packets_dropped", "Packets dropped.", "reason", "kind")
	descBytesDropped = desc("derp_bytes_dropped", "Data bytes of packets dropped.", "reason", "kind")
	descForwardOut   = desc("derp_packets_forwarded_out", "Packets passed to other relays.")
	descForwardIn    = desc("derp_packets_forwarded_in", "Packets taken from other relays.")
	descUnknown      = desc("derp_unknown_frames", "Frames of unknown type, skipped.")
	descHomeIn       = desc("derp_home_moves_in", "Clients that made this relay their home.")
	descHomeOut      = desc("derp_home_moves_out", "Clients that made another relay their home.")
	descGotPing      = desc("derp_got_ping", "Pings received.")
	descSentPong     = desc("derp_sent_pong", "Pongs queued.")
	descGone         = desc("derp_peer_gone_disconnected_frames", "Notices that a peer has left.")
	descNotHere      = desc("derp_peer_gone_not_here_frames", "Notices that a peer is unknown.")
	descTimeouts     = desc("derp_sclient_write_timeouts", "Connections cut for not reading.")
	descRateWaits    = desc("derp_rate_limit_per_client_waited", "Reads that had to wait for the rate limit.")
	descRate         = desc("derp_rate_limit_per_client_bytes_per_second", "The rate limit of one client; 0 for none.")
	descRateBurst    = desc("derp_rate_limit_per_client_burst_bytes", "What one client may send at once.")
	descDupClosed    = desc("derp_dup_client_conns_closed", "Connections closed because their key has too many newer ones.")
	descRTT          = desc("derp_tcp_rtt", "Round-trip times seen by the kernel, one for each keepalive; the buckets are not cumulative.", "le")
	descWebSockets   = desc("derp_websocket_accepts", "Connections in a WebSocket.")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// collector gives the metrics of a Server to Prometheus.
type collector struct{ s *Server }

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v))
	}
	count := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	st := &c.s.stats
	c.collectTable(gauge)
	gauge(descConns, st.conns.Load())
	gauge(descHome, st.homeConns.Load())
	gauge(descNotIdeal, st.notIdealConns.Load())
	count(descDupTotal, st.dupConnsTotal.Load())
	count(descAccepts, st.accepts.Load())
	count(descRefused, st.refused.Load())
	count(descFailed, st.failed.Load())
	count(descPacketsSent, st.packetsSent.Load())
	count(descBytesSent, st.bytesSent.Load())
	count(descForwardIn, st.forwardedIn.Load())
	count(descForwardOut, st.forwardedOut.Load())
	count(descUnknown, st.unknownFrames.Load())
	count(descHomeIn, st.homeMovesIn.Load())
	count(descHomeOut, st.homeMovesOut.Load())
	count(descGotPing, st.gotPing.Load())
	count(descSentPong, st.sentPong.Load())
	count(descGone, st.goneDisconnected.Load())
	count(descNotHere, st.goneNotHere.Load())
	count(descTimeouts, st.writeTimeouts.Load())
	count(descWebSockets, st.webSockets.Load())
	count(descRateWaits, st.rateWaits.Load())
	count(descDupClosed, st.dupConnsClosed.Load())
	limit := c.s.rateLimit.Load()
	gauge(descRate, limit.BytesPerSecond)
	gauge(descRateBurst, limit.Burst)
	for i, le := range rttLabels {
		count(descRTT, st.rtt[i].Load(), le)
	}
	var packets, bytes int64
	for class, kind := range kindNames {
		n := st.received[class].packets.Load()
		packets += n
		bytes += st.received[class].bytes.Load()
		count(descRecvKind, n, kind)
		for r := range dropReasons {
			count(descDropped, st.dropped[r][class].packets.Load(), r.String(), kind)
			count(descBytesDropped, st.dropped[r][class].bytes.Load(), r.String(), kind)
		}
	}
	count(descPacketsRecv, packets)
	count(descBytesRecv, bytes)
}

// collectTable counts keys.
func (c collector) collectTable(gauge func(*prometheus.Desc, int64)) {
	var total, local, remote, dupKeys, dupConns int64
	c.s.mu.Lock()
	watchers := int64(len(c.s.watchers))
	c.s.table.each(func(p *peer) {
		total++
		switch n := len(p.conns); {
		case n == 0:
			remote++
		default:
			local++
			if n > 1 {
				dupKeys++
				dupConns += int64(n)
			}
		}
	})
	c.s.mu.Unlock()
	gauge(descClients, total)
	gauge(descLocal, local)
	gauge(descRemote, remote)
	gauge(descDupKeys, dupKeys)
	gauge(descDupConns, dupConns)
	gauge(descWatchers, watchers)
}
