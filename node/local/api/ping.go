package api

import (
	"fmt"

	"github.com/ginnel/ginnel/wire/control"
)

// PingType is a way to ping a peer.
type PingType string

// The ping types, as the server spells them too.
const (
	PingDisco   PingType = control.PingDisco
	PingTSMP    PingType = control.PingTSMP
	PingICMP    PingType = control.PingICMP
	PingPeerAPI PingType = control.PingPeerAPI
)

// ParsePingType returns the ping type of that spelling; case counts.
func ParsePingType(text string) (PingType, error) {
	switch t := PingType(text); t {
	case PingDisco, PingTSMP, PingICMP, PingPeerAPI:
		return t, nil
	}
	return "", fmt.Errorf("unknown ping type %.32q", text)
}

// PingResult is the outcome of a ping (wire document cli, section 3.3).
type PingResult struct {
	IP             string // what was asked for
	NodeIP         string // what answered
	NodeName       string
	Err            string // empty on success
	LatencySeconds float64
	// Endpoint is the address and port of a direct path; PeerRelay and the relay
	// region name the others.
	Endpoint       string
	PeerRelay      string
	DERPRegionID   int
	DERPRegionCode string
	PeerAPIPort    uint16 `json:",omitempty"`
	PeerAPIURL     string `json:",omitempty"`
	IsLocalIP      bool   `json:",omitempty"`
}

// ToPingResponse returns the result in the form posted to the server, for a ping
// of type t.
func (r *PingResult) ToPingResponse(t PingType) *control.PingResponse {
	return &control.PingResponse{
		Type:           string(t),
		IP:             r.IP,
		NodeIP:         r.NodeIP,
		NodeName:       r.NodeName,
		Err:            r.Err,
		LatencySeconds: r.LatencySeconds,
		Endpoint:       r.Endpoint,
		PeerRelay:      r.PeerRelay,
		DERPRegionID:   r.DERPRegionID,
		DERPRegionCode: r.DERPRegionCode,
		PeerAPIPort:    r.PeerAPIPort,
		IsLocalIP:      r.IsLocalIP,
	}
}
