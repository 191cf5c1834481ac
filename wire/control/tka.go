package control

import "github.com/ginnel/ginnel/wire/key"

// TKAInfo is the state of tailnet lock in a map frame (section 6.14). The empty
// value is on with an unknown head.
type TKAInfo struct {
	// Head is the hash text of the newest update.
	Head     string `json:",omitempty"`
	Disabled bool   `json:",omitempty"`
}

// The requests below are GETs with a JSON body under /machine/tka/ (section 7.2).
// Byte strings hold serialised updates (AUM) and signatures, hash texts are of
// section 13.1 and empty for none.

// TKAInitBeginRequest starts to turn lock on: init/begin.
type TKAInitBeginRequest struct {
	Version    CapabilityVersion
	NodeKey    key.NodePublic
	GenesisAUM []byte
}

// TKAInitBeginResponse lists the nodes to sign.
type TKAInitBeginResponse struct {
	NeedSignatures []TKASignInfo
}

// TKASignInfo is a node to sign.
type TKASignInfo struct {
	NodeID     NodeID
	NodePublic key.NodePublic
	// RotationPubkey is the node's raw tailnet-lock key.
	RotationPubkey []byte
}

// TKAInitFinishRequest turns lock on: init/finish. The answer is empty.
type TKAInitFinishRequest struct {
	Version    CapabilityVersion
	NodeKey    key.NodePublic
	Signatures map[NodeID][]byte
	// SupportDisablement is a disablement secret for the server, or nil.
	SupportDisablement []byte `json:",omitempty"`
}

// TKABootstrapRequest asks for what a node needs to turn lock on or off:
// bootstrap.
type TKABootstrapRequest struct {
	Version CapabilityVersion
	NodeKey key.NodePublic
	Head    string
}

// TKABootstrapResponse holds the first update, or the secret that turns lock off.
type TKABootstrapResponse struct {
	GenesisAUM        []byte `json:",omitempty"`
	DisablementSecret []byte `json:",omitempty"`
}

// TKASyncOfferRequest offers the node's chain: sync/offer.
type TKASyncOfferRequest struct {
	Version   CapabilityVersion
	NodeKey   key.NodePublic
	Head      string
	Ancestors []string
}

// TKASyncOfferResponse is the server's chain and what the node lacks of it.
type TKASyncOfferResponse struct {
	Head        string
	Ancestors   []string
	MissingAUMs [][]byte
}

// TKASyncSendRequest sends what the server lacks: sync/send.
type TKASyncSendRequest struct {
	Version CapabilityVersion
	NodeKey key.NodePublic
	// Head is the node's after it applied what it got.
	Head        string
	MissingAUMs [][]byte
	// Interactive says that a person waits for the answer.
	Interactive bool
}

// TKASyncSendResponse is the server's head afterwards.
type TKASyncSendResponse struct {
	Head string
}

// TKADisableRequest turns lock off: disable. The answer is empty.
type TKADisableRequest struct {
	Version           CapabilityVersion
	NodeKey           key.NodePublic
	Head              string
	DisablementSecret []byte
}

// TKASignRequest hands in a signature, which names its node key: sign. The answer
// is empty.
type TKASignRequest struct {
	Version   CapabilityVersion
	NodeKey   key.NodePublic
	Signature []byte
}

// TKAAffectedSigsRequest asks for the signatures a key made: affected-sigs.
type TKAAffectedSigsRequest struct {
	Version CapabilityVersion
	NodeKey key.NodePublic
	KeyID   []byte
}

// TKAAffectedSigsResponse lists them.
type TKAAffectedSigsResponse struct {
	Signatures [][]byte
}
