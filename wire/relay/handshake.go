package relay

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/ginnel/ginnel/wire/key"
)

// magic starts a ServerKey payload: "DERP" and a key sign.
const magic = "DERP\xf0\x9f\x94\x91"

// minServerKey is the magic and a key.
const minServerKey = len(magic) + KeyLen

// AppendServerKey appends the ServerKey frame, the first that a relay sends.
func AppendServerKey(dst []byte, server key.NodePublic) []byte {
	dst = AppendHeader(dst, FrameServerKey, minServerKey)
	dst = append(dst, magic...)
	return server.AppendTo(dst)
}

// ParseServerKey reads the payload of a ServerKey frame, ignoring what follows the
// key.
func ParseServerKey(payload []byte) (server key.NodePublic, err error) {
	if len(payload) < minServerKey || len(payload) > MaxServerKey {
		return server, lengthError(FrameServerKey, len(payload), "40 to 1024")
	}
	if string(payload[:len(magic)]) != magic {
		return server, errors.New("relay frame ServerKey: wrong magic, this is no relay")
	}
	return keyAt(payload[len(magic):]), nil
}

// ClientInfo is what a client says of itself in the handshake.
type ClientInfo struct {
	MeshKey     key.MeshKey // zero unless the client is a relay of the same mesh
	Version     int         // protocol version
	CanAckPings bool        // the client answers Ping frames
	IsProber    bool        // a monitoring client
	AppName     string      // opaque, for statistics
}

// clientInfoJSON is the sealed form of ClientInfo: wire document relay, section 5.2.
type clientInfoJSON struct {
	MeshKey     string `json:"meshKey,omitempty"`
	Version     int    `json:"version,omitempty"`
	CanAckPings bool
	IsProber    bool   `json:",omitempty"`
	AppName     string `json:",omitempty"`
}

// AppendClientInfo appends the ClientInfo frame of the client holding priv, sealed
// for the relay server.
func AppendClientInfo(dst []byte, priv key.NodePrivate, server key.NodePublic, info ClientInfo) ([]byte, error) {
	text, err := json.Marshal(clientInfoJSON{
		MeshKey:     info.MeshKey.SecretText(),
		Version:     info.Version,
		CanAckPings: info.CanAckPings,
		IsProber:    info.IsProber,
		AppName:     info.AppName,
	})
	if err != nil {
		return dst, fmt.Errorf("relay frame ClientInfo: %w", err)
	}
	box := priv.SealTo(server, text)
	if box == nil {
		return dst, errors.New("relay frame ClientInfo: cannot seal for this server key")
	}
	dst = AppendHeader(dst, FrameClientInfo, KeyLen+len(box))
	dst = priv.Public().AppendTo(dst)
	return append(dst, box...), nil
}

// ParseClientInfo opens the payload of a ClientInfo frame with the relay's private
// key. That the box opens proves that the client holds the key it names.
func ParseClientInfo(payload []byte, server key.NodePrivate) (client key.NodePublic, info ClientInfo, err error) {
	if len(payload) < MinClientInfo || len(payload) > MaxClientInfo {
		return client, info, lengthError(FrameClientInfo, len(payload), "56 to 262144")
	}
	client = keyAt(payload)
	text, ok := server.OpenFrom(client, payload[KeyLen:])
	if !ok {
		return client, info, errors.New("relay frame ClientInfo: box does not open")
	}
	var j clientInfoJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return client, info, fmt.Errorf("relay frame ClientInfo: %w", err)
	}
	info = ClientInfo{Version: j.Version, CanAckPings: j.CanAckPings, IsProber: j.IsProber, AppName: j.AppName}
	if j.MeshKey != "" {
		if info.MeshKey, err = parseMeshKey(j.MeshKey); err != nil {
			return client, ClientInfo{}, fmt.Errorf("relay frame ClientInfo: %w", err)
		}
	}
	return client, info, nil
}

// parseMeshKey reads the 64 digits as they are on the wire; all zeros mean no key.
func parseMeshKey(text string) (key.MeshKey, error) {
	if len(text) == 2*KeyLen && bytes.Count([]byte(text), []byte("0")) == 2*KeyLen {
		return key.MeshKey{}, nil
	}
	if len(text) != 2*KeyLen {
		return key.MeshKey{}, fmt.Errorf("mesh key of %d characters, want %d", len(text), 2*KeyLen)
	}
	return key.ParseMeshKey(text)
}

// ServerInfo is what a relay says of itself in the handshake.
type ServerInfo struct {
	Version int `json:"version,omitempty"` // protocol version
	// The client is asked to send no more than this many bytes a second, with
	// bursts of so many bytes; zero means no limit.
	TokenBucketBytesPerSecond int `json:",omitempty"`
	TokenBucketBytesBurst     int `json:",omitempty"`
}

// AppendServerInfo appends the ServerInfo frame, sealed for client.
func AppendServerInfo(dst []byte, priv key.NodePrivate, client key.NodePublic, info ServerInfo) ([]byte, error) {
	text, err := json.Marshal(info)
	if err != nil {
		return dst, fmt.Errorf("relay frame ServerInfo: %w", err)
	}
	box := priv.SealTo(client, text)
	if box == nil {
		return dst, errors.New("relay frame ServerInfo: cannot seal for this client key")
	}
	return AppendFrame(dst, FrameServerInfo, box), nil
}

// ParseServerInfo opens the payload of a ServerInfo frame with the client's private
// key.
func ParseServerInfo(payload []byte, client key.NodePrivate, server key.NodePublic) (ServerInfo, error) {
	var info ServerInfo
	if len(payload) < nonceLen || len(payload) > MaxServerInfo {
		return info, lengthError(FrameServerInfo, len(payload), "24 to 1048600")
	}
	text, ok := client.OpenFrom(server, payload)
	if !ok {
		return info, errors.New("relay frame ServerInfo: box does not open")
	}
	if err := json.Unmarshal(text, &info); err != nil {
		return ServerInfo{}, fmt.Errorf("relay frame ServerInfo: %w", err)
	}
	return info, nil
}
