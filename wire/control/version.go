package control

// CapabilityVersion says what a node or server understands. It travels in the
// query of the key request, as the Noise protocol version and in each request,
// and must fit 16 bits (section 8).
type CapabilityVersion int

// Capability versions, named by what a peer of at least that version does.
const (
	// CurrentCapabilityVersion is what Ginnel nodes announce.
	CurrentCapabilityVersion CapabilityVersion = 145
	// MinimumCapabilityVersion is the oldest version Ginnel servers admit. All
	// below it in this list then holds of every node.
	MinimumCapabilityVersion CapabilityVersion = 113

	// VersionNoise is the first version that reaches the server over Noise on any
	// HTTPS port; older ones get an empty answer to the key request.
	VersionNoise CapabilityVersion = 39
	// VersionEarlyPayload accepts the early payload before HTTP/2.
	VersionEarlyPayload CapabilityVersion = 49
	// VersionReadOnlyStream makes streaming map requests carry no updates.
	VersionReadOnlyStream CapabilityVersion = 68
	// VersionNamedPacketFilters reads MapResponse.PacketFilters.
	VersionNamedPacketFilters CapabilityVersion = 81
	// VersionFilterSourceCaps reads "cap:" sources in filter rules.
	VersionFilterSourceCaps CapabilityVersion = 109
	// VersionHomeDERP reads the integer Node.HomeDERP.
	VersionHomeDERP CapabilityVersion = 111
	// VersionNullAllowedIPs takes a null Node.AllowedIPs as Addresses.
	VersionNullAllowedIPs CapabilityVersion = 112

	// VersionNoMeasureNoHome reads DERPRegion.NoMeasureNoHome.
	VersionNoMeasureNoHome CapabilityVersion = 115
	// VersionMagicDNSAAAA reads the magicdns-aaaa attribute.
	VersionMagicDNSAAAA CapabilityVersion = 116
	// VersionDisplayMessages reads MapResponse.DisplayMessages; older nodes read
	// Health.
	VersionDisplayMessages CapabilityVersion = 117
	// VersionLocationPriority reads Location.Priority.
	VersionLocationPriority CapabilityVersion = 119
	// VersionPeerRelay can relay for peers.
	VersionPeerRelay CapabilityVersion = 121
	// VersionExitNodeID reports Hostinfo.ExitNodeID.
	VersionExitNodeID CapabilityVersion = 122
	// VersionUseWithExitNode reads Resolver.UseWithExitNode.
	VersionUseWithExitNode CapabilityVersion = 125
	// VersionSeamlessRenewal keeps the tunnel up on the old key during a new login.
	VersionSeamlessRenewal CapabilityVersion = 126
	// VersionHardwareAttestation signs map requests with a hardware key.
	VersionHardwareAttestation CapabilityVersion = 130
	// VersionAutoUpdateAttribute reads the default-auto-update attribute.
	VersionAutoUpdateAttribute CapabilityVersion = 131
	// VersionCacheNetworkMaps reads the cache-network-maps attribute.
	VersionCacheNetworkMaps CapabilityVersion = 135
	// VersionRegisterRateLimit understands status 429 on register.
	VersionRegisterRateLimit CapabilityVersion = 137
	// VersionRemoteLocalAPI answers the server's local API requests.
	VersionRemoteLocalAPI CapabilityVersion = 142
	// VersionDiscoKeyAdvertisement advertises disco keys to peers around handshakes.
	VersionDiscoKeyAdvertisement CapabilityVersion = 144
)

// Supported reports whether v is in the range Ginnel servers admit: at least
// MinimumCapabilityVersion and within 16 bits.
func (v CapabilityVersion) Supported() bool {
	return v >= MinimumCapabilityVersion && v <= 1<<16-1
}
