package probing

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
)

// ActionKind says what an Action asks for.
type ActionKind uint8

// The actions.
const (
	// SendPing asks for a ping with TxID to Addr over UDP, or, if Addr is not valid,
	// through relay Region.
	SendPing ActionKind = iota + 1
	// SendCallMeMaybe asks for a call-me-maybe message through relay Region, with
	// endpoints that are fresh.
	SendCallMeMaybe
	// BindSource says that packets from Addr are the peer's: a pong of ours came back
	// from there.
	BindSource
	// ReportPong answers a user's ping: the pong to TxID took Latency, over Addr or,
	// if that is not valid, through relay Region.
	ReportPong
	// ReportTimeout says that a user's ping with TxID was not answered in time.
	ReportTimeout
)

// Action is one thing that the driver of a Machine is to do.
type Action struct {
	Kind    ActionKind
	Addr    netip.AddrPort
	Region  int
	TxID    disco.TxID
	Size    int // of the ping as UDP payload in bytes, 0 for no padding
	Latency time.Duration
	User    bool // a SendPing on behalf of a user
}

// Route says where to send data to a peer.
type Route struct {
	// Addr is the best UDP address, zero if none is known.
	Addr netip.AddrPort
	// TrustedUntil is the time before which data goes to Addr alone; from then on it
	// goes both there and through the relay.
	TrustedUntil time.Time
	// Region is the relay region of the peer, 0 if unknown.
	Region int
	// Active says that there is a session: data was sent within SessionActive.
	Active bool
	// Flowing says that the machine knows that data is being sent right now. Else it
	// wants to hear of the next packet by Sent.
	Flowing bool
}

// Trusted reports whether data goes over UDP alone at time now.
func (r *Route) Trusted(now time.Time) bool {
	return r.Addr.IsValid() && now.Before(r.TrustedUntil)
}
