package control

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// RegisterRequest is the body of POST /machine/register (section 4.1).
type RegisterRequest struct {
	Version CapabilityVersion
	// NodeKey is the key to register; a new one on rotation.
	NodeKey key.NodePublic
	// OldNodeKey is the key before, or zero. It stays set once the node has ever
	// rotated and so is no sign that it rotates now.
	OldNodeKey key.NodePublic
	// NLKey is the node's tailnet-lock key.
	NLKey key.LockPublic
	// Auth holds the means of signing in without a browser, or is nil.
	Auth *RegisterAuth `json:",omitempty"`
	// Expiry is zero for no wish. A past time with the current key is a logout; a
	// future time asks for a sooner expiry.
	Expiry time.Time
	// Followup is empty or the AuthURL whose login the request waits for.
	Followup string
	// Hostinfo is the full current value, or nil.
	Hostinfo  *Hostinfo
	Ephemeral bool `json:",omitempty"`
	// NodeKeySignature is the tailnet-lock signature of NodeKey, or nil.
	NodeKeySignature []byte
	// SignatureType, Timestamp, DeviceCert and Signature are of the device
	// certificate, when there is one: a concatenated DER chain and an RSA-PSS
	// signature with SHA-256.
	SignatureType SignatureType `json:",omitzero"`
	Timestamp     time.Time     `json:",omitzero"`
	DeviceCert    []byte        `json:",omitempty"`
	Signature     []byte        `json:",omitempty"`
	// Tailnet is a recommended tailnet; the prefix "required:" makes it mandatory.
	Tailnet string `json:",omitempty"`
}

// LogValue returns what tells one request from another, without the secrets that
// its JSON holds.
func (r RegisterRequest) LogValue() slog.Value {
	auth := "no auth"
	if r.Auth != nil {
		auth = r.Auth.String()
	}
	return slog.GroupValue(
		slog.Int("version", int(r.Version)),
		slog.String("nodeKey", r.NodeKey.ShortString()),
		slog.String("oldNodeKey", r.OldNodeKey.ShortString()),
		slog.String("auth", auth),
		slog.Bool("followup", r.Followup != ""),
	)
}

// RegisterAuth is the means of signing in without a browser. At most one member
// is set.
type RegisterAuth struct {
	AuthKey     string       `json:",omitempty"`
	Oauth2Token *Oauth2Token `json:",omitempty"`
}

// String names what is set and never the secret.
func (a RegisterAuth) String() string {
	switch {
	case a.AuthKey != "":
		return "auth key (redacted)"
	case a.Oauth2Token != nil:
		return redactedToken
	}
	return "no auth"
}

// Format writes the same as String, whatever the verb.
func (a RegisterAuth) Format(f fmt.State, _ rune) { io.WriteString(f, a.String()) }

// LogValue is the same as String.
func (a RegisterAuth) LogValue() slog.Value { return slog.StringValue(a.String()) }

// Oauth2Token is a token of an identity provider, sent by old Android nodes.
type Oauth2Token struct {
	AccessToken  string    `json:"access_token"`
	TokenType    string    `json:"token_type,omitempty"`
	RefreshToken string    `json:"refresh_token,omitempty"`
	Expiry       time.Time `json:"expiry,omitzero"`
}

// Format writes a fixed word, whatever the verb, and never the token.
func (Oauth2Token) Format(f fmt.State, _ rune) { io.WriteString(f, redactedToken) }

// LogValue is a fixed word, never the token.
func (Oauth2Token) LogValue() slog.Value { return slog.StringValue(redactedToken) }

// redactedToken is what a token prints as.
const redactedToken = "oauth2 token (redacted)"

// RegisterResponse is the answer to a RegisterRequest (section 4.2). A node reads
// Error, NodeKeySignature, NodeKeyExpired and AuthURL in that order; none of them
// set is success.
type RegisterResponse struct {
	User  User
	Login Login
	// NodeKeyExpired tells the node to make a new key and register again.
	NodeKeyExpired bool
	// MachineAuthorized is only logged; Node.MachineAuthorized in the map counts.
	MachineAuthorized bool
	// AuthURL is where a pending login goes on, or empty.
	AuthURL string
	// NodeKeySignature is the present signature, to be wrapped for a new key.
	NodeKeySignature []byte
	// Error is a refusal, shown to the user as it is, or empty.
	Error string
}

// SignatureType is the scheme of a device-certificate signature. Its JSON form is
// text.
type SignatureType int

// The signature types.
const (
	SignatureNone SignatureType = iota
	SignatureUnknown
	SignatureV1
	SignatureV2
)

// String returns the wire text of the type.
func (s SignatureType) String() string {
	switch s {
	case SignatureNone:
		return "signature-none"
	case SignatureUnknown:
		return "signature-unknown"
	case SignatureV1:
		return "signature-v1"
	case SignatureV2:
		return "signature-v2"
	}
	return fmt.Sprintf("signature-unknown(%d)", int(s))
}

// MarshalText returns the wire text. It never fails.
func (s SignatureType) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the wire text. Text that is none of the known types becomes
// SignatureUnknown, so that a newer scheme does not spoil the whole request. It
// never fails.
func (s *SignatureType) UnmarshalText(text []byte) error {
	switch string(text) {
	case "signature-none":
		*s = SignatureNone
	case "signature-v1":
		*s = SignatureV1
	case "signature-v2":
		*s = SignatureV2
	default:
		*s = SignatureUnknown
	}
	return nil
}
