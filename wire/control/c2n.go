package control

import (
	"net/netip"
	"time"
)

// The bodies of requests the server makes of a node through PingRequest (section
// 7.3).

// C2NUpdateResponse is the answer to /update.
type C2NUpdateResponse struct {
	Err       string `json:",omitempty"`
	Enabled   bool
	Supported bool
	Started   bool
}

// C2NPostureIdentityResponse is the answer to /posture/identity.
type C2NPostureIdentityResponse struct {
	SerialNumbers      []string `json:",omitempty"`
	IfaceHardwareAddrs []string `json:",omitempty"`
	PostureDisabled    bool     `json:",omitempty"`
}

// C2NSSHUsernamesRequest asks for local users: /ssh/usernames.
type C2NSSHUsernamesRequest struct {
	Exclude map[string]bool `json:",omitempty"`
	Max     int             `json:",omitempty"` // zero for about 10
}

// C2NSSHUsernamesResponse lists local users.
type C2NSSHUsernamesResponse struct {
	Usernames []string
}

// C2NTLSCertInfo is the answer to /tls-cert-status.
type C2NTLSCertInfo struct {
	Valid     bool      `json:",omitempty"`
	Error     string    `json:",omitempty"`
	Missing   bool      `json:",omitempty"`
	Expired   bool      `json:",omitempty"`
	NotBefore time.Time `json:",omitzero"`
	NotAfter  time.Time `json:",omitzero"`
}

// C2NVIPServicesResponse is the answer to /vip-services (section 6.11).
type C2NVIPServicesResponse struct {
	VIPServices []VIPService `json:",omitempty"`
	// ServicesHash is that of Hostinfo.
	ServicesHash string
}

// C2NAppConnectorRoutesResponse is the answer to /appconnector/routes: the
// addresses learned by name.
type C2NAppConnectorRoutesResponse struct {
	Domains map[string][]netip.Addr
}

// C2NWakeOnLANResponse is the answer to /wol.
type C2NWakeOnLANResponse struct {
	SentTo []string
	Errors []string
}

// C2NComponentLoggingResponse is the answer to /debug/component-logging.
type C2NComponentLoggingResponse struct {
	Error string `json:",omitempty"`
}

// C2NDebugNetmapRequest asks for the network map in force: /debug/netmap.
type C2NDebugNetmapRequest struct {
	// Candidate is a full frame to make another map of, or nil.
	Candidate *MapResponse `json:"candidate,omitempty"`
	// OmitFields are members to leave out of the answer.
	OmitFields []string `json:"omitFields,omitzero"`
}

// C2NDebugNetmapResponse holds network maps in a form of the node's own.
type C2NDebugNetmapResponse struct {
	Current   RawMessage `json:"current"`
	Candidate RawMessage `json:"candidate,omitempty"`
}
