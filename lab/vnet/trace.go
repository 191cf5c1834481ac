package vnet

import (
	"fmt"
	"strings"
	"time"
)

// traceLen is how many packets a network remembers.
const traceLen = 2048

// trace remembers the last packets, for the report of a failure, and sums up all of them.
type trace struct {
	lines [traceLen]traceLine
	n     uint64
	sum   uint64
}

type traceLine struct {
	at   int64
	port *Port
	pkt  *Packet
	lost string
}

// record notes that a packet was put onto a segment by a port, or lost there.
func (n *Network) record(p *Port, pkt *Packet, lost string) {
	t := &n.trace
	now := time.Now().UnixNano()
	t.lines[t.n%traceLen] = traceLine{now, p, pkt, lost}
	t.n++
	t.sum = mix(t.sum ^ mix(uint64(now)^pkt.flow()) ^ uint64(len(pkt.Data))<<32 ^ hashString(lost))
	if n.tap != nil && lost == "" {
		n.tap(time.Now(), pkt)
	}
}

// Tap has f called with every packet when it is put onto a segment, also with each of a
// packet's later hops. f must not call the network.
func (n *Network) Tap(f func(time.Time, *Packet)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.tap = f
}

// Packets returns how many packets were put onto segments and a number that is equal in
// two runs only if the same packets travelled at the same times.
func (n *Network) Packets() (count, sum uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.trace.n, n.trace.sum
}

// Last describes the last packets, oldest first, one a line.
func (n *Network) Last(max int) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	t := &n.trace
	for i := t.n - min(t.n, traceLen, uint64(max)); i < t.n; i++ {
		l := &t.lines[i%traceLen]
		fmt.Fprintf(&b, "%s %s/%s: %v", time.Unix(0, l.at).UTC().Format("15:04:05.000000"), l.port.host.name, l.port.seg.name, l.pkt)
		if l.lost != "" {
			fmt.Fprintf(&b, " (%s)", l.lost)
		}
		b.WriteByte('\n')
	}
	return b.String()
}
