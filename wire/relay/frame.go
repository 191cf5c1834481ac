package relay

import (
	"encoding/binary"
	"fmt"
)

// FrameType is the first byte of a frame.
type FrameType byte

// Frame types: wire document relay, section 6.
const (
	FrameServerKey     FrameType = 0x01 // server: magic and its public key
	FrameClientInfo    FrameType = 0x02 // client: its key and a sealed ClientInfo
	FrameServerInfo    FrameType = 0x03 // server: a sealed ServerInfo
	FrameSendPacket    FrameType = 0x04 // client: destination key and data
	FrameRecvPacket    FrameType = 0x05 // server: source key and data
	FrameKeepAlive     FrameType = 0x06 // server: empty
	FrameNotePreferred FrameType = 0x07 // client: one byte, whether this relay is its home
	FramePeerGone      FrameType = 0x08 // server: key and reason
	FramePeerPresent   FrameType = 0x09 // server, to watchers: key, address, flags
	FrameForwardPacket FrameType = 0x0a // mesh: source, destination and data
	FrameWatchConns    FrameType = 0x10 // mesh: asks for presence notices
	FrameClosePeer     FrameType = 0x11 // mesh: closes a client
	FramePing          FrameType = 0x12 // both ways: 8 bytes to be echoed
	FramePong          FrameType = 0x13 // both ways: the echo
	FrameHealth        FrameType = 0x14 // server: text, empty when well
	FrameRestarting    FrameType = 0x15 // server: is about to restart
)

// String returns the name of the frame type, or its number when unknown.
func (t FrameType) String() string {
	if int(t) < len(frameNames) && frameNames[t] != "" {
		return frameNames[t]
	}
	return fmt.Sprintf("frame 0x%02x", byte(t))
}

var frameNames = [...]string{
	FrameServerKey:     "ServerKey",
	FrameClientInfo:    "ClientInfo",
	FrameServerInfo:    "ServerInfo",
	FrameSendPacket:    "SendPacket",
	FrameRecvPacket:    "RecvPacket",
	FrameKeepAlive:     "KeepAlive",
	FrameNotePreferred: "NotePreferred",
	FramePeerGone:      "PeerGone",
	FramePeerPresent:   "PeerPresent",
	FrameForwardPacket: "ForwardPacket",
	FrameWatchConns:    "WatchConns",
	FrameClosePeer:     "ClosePeer",
	FramePing:          "Ping",
	FramePong:          "Pong",
	FrameHealth:        "Health",
	FrameRestarting:    "Restarting",
}

// HeaderLen is the length in bytes of a frame header: type[1] and the length of
// the payload[4], which does not count the header.
const HeaderLen = 5

// AppendHeader appends the header of a frame of type t with a payload of n bytes.
func AppendHeader(dst []byte, t FrameType, n int) []byte {
	dst = append(dst, byte(t))
	return binary.BigEndian.AppendUint32(dst, uint32(n))
}

// PutHeader writes into b, which must hold at least HeaderLen bytes.
func PutHeader(b []byte, t FrameType, n int) {
	_ = b[HeaderLen-1]
	b[0] = byte(t)
	binary.BigEndian.PutUint32(b[1:], uint32(n))
}

// ParseHeader reads the header at the start of b. It reports false when b is
// shorter than HeaderLen.
func ParseHeader(b []byte) (t FrameType, n uint32, ok bool) {
	if len(b) < HeaderLen {
		return 0, 0, false
	}
	return FrameType(b[0]), binary.BigEndian.Uint32(b[1:]), true
}

// AppendFrame appends a whole frame.
func AppendFrame(dst []byte, t FrameType, payload []byte) []byte {
	return append(AppendHeader(dst, t, len(payload)), payload...)
}

// lengthError is the error of a payload whose length the protocol refuses.
func lengthError(t FrameType, got int, want string) error {
	return fmt.Errorf("relay frame %v: payload of %d bytes, want %s", t, got, want)
}
