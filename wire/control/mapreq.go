package control

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// CompressZstd asks in MapRequest.Compress for zstd frames.
const CompressZstd = "zstd"

// MapRequest is the body of POST /machine/map (section 5.1).
type MapRequest struct {
	Version CapabilityVersion
	// Compress is CompressZstd or empty.
	Compress  string `json:",omitempty"`
	KeepAlive bool   `json:",omitempty"`
	NodeKey   key.NodePublic
	// DiscoKey is zero while not yet known.
	DiscoKey key.DiscoPublic

	HardwareAttestationKey key.HardwareAttestationPublic `json:",omitzero"`
	// HardwareAttestationKeySignature is ECDSA over SHA-256 of the unix time in
	// seconds, "|" and the node key's text.
	HardwareAttestationKeySignature          []byte    `json:",omitempty"`
	HardwareAttestationKeySignatureTimestamp time.Time `json:",omitzero"`

	// Stream asks for the long poll.
	Stream bool `json:",omitempty"`
	// Hostinfo is the full current value, or nil for no change.
	Hostinfo *Hostinfo
	// MapSessionHandle and MapSessionSeq ask to resume a stream. Nodes do not
	// send them.
	MapSessionHandle string `json:",omitempty"`
	MapSessionSeq    int64  `json:",omitempty"`
	// Endpoints are the node's UDP endpoints; EndpointTypes says in the same
	// order where each comes from and may be shorter or absent.
	Endpoints     []netip.AddrPort `json:",omitempty"`
	EndpointTypes []EndpointType   `json:",omitempty"`
	// TKAHead is the tailnet-lock head hash, when lock is active.
	TKAHead string `json:",omitempty"`
	// ReadOnly asks for no side effects.
	ReadOnly  bool `json:",omitempty"`
	OmitPeers bool `json:",omitempty"`
	// DebugFlags are hints such as "warn-ip-forwarding-off"; unknown ones are
	// ignored.
	DebugFlags              []string `json:",omitempty"`
	ConnectionHandleForTest string   `json:",omitempty"`
}

// MapRequestKind is what a map request asks for, by section 5.2.
type MapRequestKind int

// The kinds of map request.
const (
	// MapOneShot stores what the request carries and asks for one full frame.
	MapOneShot MapRequestKind = iota
	// MapStream is the long poll. It carries no updates.
	MapStream
	// MapLiteUpdate stores what the request carries; the answer has no frames.
	MapLiteUpdate
	// MapRead asks for one full frame without side effects.
	MapRead
)

// Kind returns what the request asks for.
func (r *MapRequest) Kind() MapRequestKind {
	switch {
	case r.ReadOnly:
		return MapRead
	case r.Stream:
		return MapStream
	case r.OmitPeers:
		return MapLiteUpdate
	}
	return MapOneShot
}

// EndpointType says where a node knows one of its endpoints from.
type EndpointType int

// The endpoint types.
const (
	EndpointUnknown    EndpointType = 0
	EndpointLocal      EndpointType = 1
	EndpointSTUN       EndpointType = 2
	EndpointPortMapped EndpointType = 3
	// EndpointSTUN4LocalPort is the STUN IPv4 address with the fixed local port.
	EndpointSTUN4LocalPort EndpointType = 4
	// EndpointExplicit is configured by hand.
	EndpointExplicit EndpointType = 5
)

// String returns a short name for logs.
func (t EndpointType) String() string {
	switch t {
	case EndpointLocal:
		return "local"
	case EndpointSTUN:
		return "stun"
	case EndpointPortMapped:
		return "portmap"
	case EndpointSTUN4LocalPort:
		return "stun4localport"
	case EndpointExplicit:
		return "explicit"
	}
	return "unknown"
}
