package control

import "net/netip"

// The types in PingRequest.Types but the empty one, which asks for a HEAD of URL.
const (
	PingC2N     = "c2n"
	PingDisco   = "disco"
	PingTSMP    = "TSMP"
	PingICMP    = "ICMP"
	PingPeerAPI = "peerapi"
)

// PingRequest asks the node to show a sign of life, to ping a peer, or to answer a
// request of the server (section 6.17).
type PingRequest struct {
	// URL is unique to the request; a repeat of the last one is ignored.
	URL string
	// URLIsNoise says to ask for URL inside Noise.
	URLIsNoise bool `json:",omitempty"`
	Log        bool `json:",omitempty"`
	// Types is empty, PingC2N, or a comma list of the other types.
	Types string     `json:",omitempty"`
	IP    netip.Addr `json:",omitzero"`
	// Payload is the HTTP/1.x request of PingC2N.
	Payload []byte `json:",omitempty"`
}

// PingResponse is the result of one ping, posted to PingRequest.URL.
type PingResponse struct {
	Type           string
	IP             string  `json:",omitempty"` // what was asked for
	NodeIP         string  `json:",omitempty"` // what answered
	NodeName       string  `json:",omitempty"`
	Err            string  `json:",omitempty"`
	LatencySeconds float64 `json:",omitempty"`
	// Endpoint is the address and port of a direct path.
	Endpoint string `json:",omitempty"`
	// PeerRelay is "ip:port:vni:n" of a path through a peer relay.
	PeerRelay      string `json:",omitempty"`
	DERPRegionID   int    `json:",omitempty"`
	DERPRegionCode string `json:",omitempty"`
	PeerAPIPort    uint16 `json:",omitempty"`
	IsLocalIP      bool   `json:",omitempty"`
}
