package control

import (
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// The bodies of the smaller requests inside Noise (section 7.1).

// SetDNSRequest asks for a DNS record: POST /machine/set-dns. The answer is an
// empty object.
type SetDNSRequest struct {
	Version CapabilityVersion
	NodeKey key.NodePublic
	Name    string // "_acme-challenge." and the name of the certificate
	Type    string // "TXT"
	Value   string
}

// SetDNSResponse is the answer to a SetDNSRequest.
type SetDNSResponse struct{}

// TokenRequest asks for an identity token: POST /machine/id-token.
type TokenRequest struct {
	CapVersion CapabilityVersion
	NodeKey    key.NodePublic
	Audience   string
}

// TokenResponse holds a JWT.
type TokenResponse struct {
	IDToken string `json:"id_token"`
}

// QueryFeatureRequest asks how to turn a feature on: POST /machine/feature/query.
type QueryFeatureRequest struct {
	Feature string         `json:",omitempty"` // "serve" or "funnel"
	NodeKey key.NodePublic `json:",omitzero"`
}

// QueryFeatureResponse says that the feature is on, or where to turn it on.
type QueryFeatureResponse struct {
	Complete   bool   `json:",omitempty"`
	Text       string `json:",omitempty"`
	URL        string `json:",omitempty"`
	ShouldWait bool   `json:",omitempty"`
}

// SetDeviceAttributesRequest changes the node's own attributes: PATCH
// /machine/set-device-attr.
type SetDeviceAttributesRequest struct {
	Version CapabilityVersion
	NodeKey key.NodePublic
	// Update maps a name to a string, number or boolean, or to nil to delete.
	Update map[string]any
}

// AuditDisconnect is the action of a user turning the node off.
const AuditDisconnect = "DISCONNECT_NODE"

// AuditLogRequest records what a user did: POST /machine/audit-log.
type AuditLogRequest struct {
	Version   CapabilityVersion `json:",omitempty"`
	NodeKey   key.NodePublic    `json:",omitzero"`
	Action    string            `json:",omitempty"`
	Details   string            `json:",omitempty"`
	Timestamp time.Time         `json:",omitzero"`
}

// HealthChangeRequest reports trouble: POST /machine/update-health. Present nodes
// no longer send it.
type HealthChangeRequest struct {
	Subsys  string
	Error   string // empty for healthy again
	NodeKey key.NodePublic
}

// WebClientAuthResponse is the answer of the web client's sign-in requests: POST
// /machine/webclient/init/… and wait/….
type WebClientAuthResponse struct {
	ID       string `json:",omitempty"`
	URL      string `json:",omitempty"`
	Complete bool   `json:",omitempty"`
}

// RelayVerifyRequest asks whether a relay may admit a client: POST /verify, outside
// Noise (section 7.4).
type RelayVerifyRequest struct {
	NodePublic key.NodePublic
	// Source is the client's address without port, or empty.
	Source string
}

// RelayVerifyResponse is the answer.
type RelayVerifyResponse struct {
	Allow bool
}
