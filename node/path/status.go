package path

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/node/netcheck"
	"github.com/ginnel/ginnel/node/path/probing"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Traffic counts data packets and bytes by how they travelled.
type Traffic struct {
	DirectIPv4, DirectIPv6, Relay Count
}

// Count is a number of packets and their bytes.
type Count struct{ Packets, Bytes uint64 }

// Unknown counts datagrams that came over UDP and cannot be put down to a peer: WireGuard's
// by their form, from an address that is no peer's; path finding of unknown senders; and
// others, such as STUN answers to nothing.
type Unknown struct{ WireGuard, Disco, Other uint64 }

// Status describes the engine at one time.
type Status struct {
	DiscoKey     key.DiscoPublic
	Port4, Port6 uint16 // UDP ports bound, 0 if not
	HomeRegion   int    // 0 for none
	Relays       []RelayStatus
	Endpoints    []Endpoint
	Report       *netcheck.Report // last network check, nil before the first
	Peers        map[key.NodePublic]PeerStatus
	Tx, Rx       Traffic
	Unknown      Unknown
	// Overruns counts path-finding packets that were dropped because there were too many.
	Overruns uint64
}

// PeerStatus describes how a peer is reached.
type PeerStatus struct {
	ID   control.NodeID
	Name string
	// CurAddr is the direct address in use, zero if there is none that is trusted.
	CurAddr netip.AddrPort
	Latency time.Duration // over CurAddr
	// Region and RelayCode name the relay region that is used otherwise.
	Region    int
	RelayCode string
	// LastSend and LastRecv are when data was last sent and received, zero if never.
	LastSend, LastRecv time.Time
	Active             bool // data is being sent
	Tx, Rx             Traffic
	Candidates         []probing.Candidate
}

// Status describes the engine now. After Close it is zero.
func (e *Engine) Status() (s Status) {
	_ = e.do(func() { s = e.status() })
	return s
}

func (e *Engine) status() Status {
	now := time.Now()
	self := &e.loop.self
	s := Status{
		DiscoKey: e.DiscoKey(), Port4: e.sock4.port(), Port6: e.sock6.port(), HomeRegion: self.home,
		Relays: e.relays.status(), Endpoints: slices.Clone(self.endpoints), Report: self.report,
		Peers: make(map[key.NodePublic]PeerStatus, len(e.loop.peers)), Overruns: e.overruns.Load(),
	}
	slices.SortFunc(s.Relays, func(a, b RelayStatus) int { return cmp.Compare(a.Region, b.Region) })
	s.Tx, s.Rx = e.counters.traffic()
	s.Unknown = Unknown{e.unknown.wireGuard.Load(), e.unknown.disco.Load(), e.unknown.other.Load()}
	for k, p := range e.loop.peers {
		s.Peers[k] = e.peerStatus(p, now)
	}
	return s
}

func (e *Engine) peerStatus(p *peer, now time.Time) PeerStatus {
	r := p.route.Load()
	s := PeerStatus{
		ID: p.cfg.ID, Name: p.cfg.Name, Region: r.Region, Active: r.Active && p.lastSend.Load() != 0,
		LastSend: timeOf(p.lastSend.Load()), LastRecv: timeOf(p.lastRecv.Load()), Candidates: p.machine.Candidates(),
	}
	if r.Trusted(now) {
		s.CurAddr, s.Latency = r.Addr, p.machine.Best().Latency
	}
	if m := e.loop.cfg.DERPMap; m != nil && m.Regions[r.Region] != nil {
		s.RelayCode = m.Regions[r.Region].RegionCode
	}
	s.Tx, s.Rx = p.counters.traffic()
	return s
}

// timeOf returns the time of Unix nanoseconds, zero for 0.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

// traffic reads the counters.
func (c *counters) traffic() (tx, rx Traffic) {
	read := func(way *[ways]tally) Traffic {
		return Traffic{DirectIPv4: way[wayIPv4].count(), DirectIPv6: way[wayIPv6].count(), Relay: way[wayRelay].count()}
	}
	return read(&c.tx), read(&c.rx)
}
