package control

import "github.com/ginnel/ginnel/wire/key"

// KeyResponse is the answer to GET /key?v=N (section 2).
type KeyResponse struct {
	// LegacyPublicKey is zero on modern servers.
	LegacyPublicKey key.MachinePublic `json:"legacyPublicKey"`
	// PublicKey is the server's Noise static key, never zero.
	PublicKey key.MachinePublic `json:"publicKey"`
}

// EarlyPayloadMagic starts the early payload; a big-endian uint32 length in bytes
// and the JSON of an EarlyNoise follow (section 3.7).
const EarlyPayloadMagic = "\xff\xff\xffTS"

// MaxEarlyPayload is the most bytes of early payload JSON a node accepts.
const MaxEarlyPayload = 10 << 20

// EarlyNoise is what the server sends inside Noise before HTTP/2 starts.
type EarlyNoise struct {
	// NodeKeyChallenge is a key made for this connection. No node answers it.
	NodeKeyChallenge key.ChallengePublic `json:"nodeKeyChallenge"`
}
