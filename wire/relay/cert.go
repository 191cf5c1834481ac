package relay

import (
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/ginnel/ginnel/wire/key"
)

// MetaCertPrefix starts the common name of the extra certificate by which a relay
// tells its key inside the TLS handshake: wire document relay, section 2.6.
const MetaCertPrefix = "derpkey"

// MetaCommonName returns the common name of the meta certificate of a relay.
func MetaCommonName(server key.NodePublic) string { return MetaCertPrefix + server.UntypedHex() }

// ParseMetaCommonName reads the relay's key from a certificate's common name. It
// reports false for any other certificate.
func ParseMetaCommonName(cn string) (server key.NodePublic, ok bool) {
	digits, ok := strings.CutPrefix(cn, MetaCertPrefix)
	if !ok {
		return server, false
	}
	server, err := key.ParseNodePublicUntyped(digits)
	if err != nil || server.IsZero() {
		return key.NodePublic{}, false
	}
	return server, true
}

// PinPrefix starts a CertName that pins one certificate: wire document relay,
// section 2.5.
const PinPrefix = "sha256-raw:"

// FormatPin returns the CertName that pins the certificate with this SHA-256 of its
// DER form.
func FormatPin(sum [32]byte) string { return PinPrefix + hex.EncodeToString(sum[:]) }

// ParsePin reads a CertName. It reports false when certName is not a pin at all,
// and an error when it is a malformed one.
func ParsePin(certName string) (sum [32]byte, isPin bool, err error) {
	digits, ok := strings.CutPrefix(certName, PinPrefix)
	if !ok {
		return sum, false, nil
	}
	raw, err := hex.DecodeString(digits)
	if err != nil || len(raw) != len(sum) {
		return sum, true, fmt.Errorf("certificate pin: want %s and 64 hex digits", PinPrefix)
	}
	return [32]byte(raw), true, nil
}

// Words of the HTTP start: wire document relay, section 3.
const (
	UpgradeProtocol    = "DERP"            // Upgrade header of the raw start
	WebSocketProtocol  = "derp"            // subprotocol of the WebSocket start
	FastStartHeader    = "Derp-Fast-Start" // "1": no HTTP response wanted
	VersionHeader      = "Derp-Version"
	PublicKeyHeader    = "Derp-Public-Key"
	IdealNodeHeader    = "Ideal-Node"
	Path               = "/derp"
	ProbePath          = "/derp/probe"
	LatencyPath        = "/derp/latency-check"
	ChallengeHeader    = "X-Tailscale-Challenge"
	ResponseHeader     = "X-Tailscale-Response"
	ConnectivityPath   = "/generate_204"
	MaxWebSocketWrite  = 32 << 10 // longest WebSocket message to send, in bytes
	DefaultRelayPort   = 443
	DefaultSTUNPort    = 3478
	MaxChallengeLength = 64
)
