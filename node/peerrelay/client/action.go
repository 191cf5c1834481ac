package client

import (
	"net/netip"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// ActionKind says what an Action asks for.
type ActionKind uint8

// The actions.
const (
	// SendAllocate asks for Request to be sent to the node Server through its relay
	// region or, if that is this node, to be answered at once.
	SendAllocate ActionKind = iota + 1
	// SendVia asks for a call-me-maybe-via message with Endpoint to Peer, through its
	// relay region.
	SendVia
	// SendBind and SendAnswer ask for a bind or answer message Bind, sealed for Relay, to
	// To behind a Geneve header with the control bit.
	SendBind
	SendAnswer
	// SendPing and SendPong ask for a ping or pong with TxID, sealed for Peer, to To behind
	// a Geneve header without the control bit. The source in a pong is To.Addr.
	SendPing
	SendPong
	// Ready says that packets to Peer get through by To, with a round trip of Latency, on
	// the session of Endpoint.
	Ready
	// GaveUp says that a relay is of no use for Peer now, and Why: Server, if it never
	// answered, or else that of Endpoint.
	GaveUp
)

// Action is one thing that the driver of a Machine is to do.
type Action struct {
	Kind     ActionKind
	Peer     Peer
	Server   key.NodePublic
	Request  disco.AllocateRequest
	Endpoint *disco.RelayEndpoint // not to be changed
	To       Addr
	Relay    key.DiscoPublic
	Bind     disco.Bind
	TxID     disco.TxID
	Latency  time.Duration
	Why      Reason
}

// Addr is an address of a relay together with a session there.
type Addr struct {
	netip.AddrPort
	VNI uint32
}

// Peer is a node that is to be reached.
type Peer struct {
	Node  key.NodePublic
	Disco key.DiscoPublic
}

// Path says how a peer is reached now.
type Path struct {
	// Direct says that there is a trusted path without any relay.
	Direct bool
	// Relay and VNI are the session of the best path, zero if that is none.
	Relay key.DiscoPublic
	VNI   uint32
	// Trusted says that this path is trusted.
	Trusted bool
}

// Reason says why a relay was given up.
type Reason uint8

// The reasons.
const (
	// NoAllocation is a server that did not answer the request for a session.
	NoAllocation Reason = iota + 1
	// NoChallenge is one none of whose addresses answered a bind request.
	NoChallenge
	// NoPong is one that answered, but no ping came through to the peer and back.
	NoPong
	// Replaced is a session that a newer one on the same server took the place of.
	Replaced
)

var reasonNames = [...]string{"", "no allocation", "no challenge", "no pong", "replaced"}

// String returns the reason in words.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "reason " + strconv.Itoa(int(r))
}
