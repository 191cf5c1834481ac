package relay

// KeyLen is the length in bytes of a public key inside a frame.
const KeyLen = 32

// Limits of wire document relay, section 4, in bytes.
const (
	// MaxPacketData is the most data one relayed packet carries.
	MaxPacketData = 64 << 10
	// MaxSendPacket is the longest SendPacket (and RecvPacket) payload.
	MaxSendPacket = KeyLen + MaxPacketData
	// MaxForwardPacket is the longest ForwardPacket payload.
	MaxForwardPacket = 2*KeyLen + MaxPacketData
	// MaxClientFrame is the longest payload that a client accepts from a relay.
	MaxClientFrame = 1 << 20
	// MaxServerKey is the longest ServerKey payload that a client accepts.
	MaxServerKey = 1024
	// MinClientInfo is a key and a nonce, without any box.
	MinClientInfo = KeyLen + nonceLen
	// MaxClientInfo is the longest ClientInfo payload that a relay accepts.
	MaxClientInfo = 256 << 10
	// MaxServerInfo is the longest ServerInfo payload that a client accepts.
	MaxServerInfo = nonceLen + 1<<20
	// MinPing and MaxPing bound a Ping payload at the relay.
	MinPing = PingLen
	MaxPing = 1000
	// MaxUnknownFrame is the longest payload of an unknown frame type that is read
	// and thrown away; a longer one closes the connection. The protocol sets no
	// bound at the relay; this one is what a client accepts.
	MaxUnknownFrame = MaxClientFrame
)

// nonceLen is the length of the nonce in front of a NaCl box.
const nonceLen = 24

// ProtocolVersion is the relay protocol version spoken here: wire document relay,
// section 5.4.
const ProtocolVersion = 2
