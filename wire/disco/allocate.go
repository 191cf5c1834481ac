package disco

import (
	"encoding/binary"

	"github.com/ginnel/ginnel/wire/key"
)

const allocateRequestLen = 2*keyLen + generationLen

const generationLen = 4

// AllocateRequest asks a peer relay for an allocation for two clients, of which the
// sender is one. It travels through the relay region only.
type AllocateRequest struct {
	Clients    [2]key.DiscoPublic
	Generation uint32 // repeated in the response
}

// Append appends the inner message.
func (m *AllocateRequest) Append(dst []byte) []byte {
	dst = append(dst, byte(TypeAllocateRequest), version)
	dst = m.Clients[0].AppendTo(dst)
	dst = m.Clients[1].AppendTo(dst)
	return binary.BigEndian.AppendUint32(dst, m.Generation)
}

// Parse reads the body of a message of the given version. Another version gives an
// empty message.
func (m *AllocateRequest) Parse(ver byte, body []byte) error {
	*m = AllocateRequest{}
	if ver != version {
		return nil
	}
	if len(body) < allocateRequestLen {
		return shortError(TypeAllocateRequest, len(body), allocateRequestLen)
	}
	m.Clients[0] = key.DiscoPublicFromRaw32([keyLen]byte(body))
	m.Clients[1] = key.DiscoPublicFromRaw32([keyLen]byte(body[keyLen:]))
	m.Generation = binary.BigEndian.Uint32(body[2*keyLen:])
	return nil
}

// AllocateResponse grants an AllocateRequest.
type AllocateResponse struct {
	Generation uint32
	Endpoint   RelayEndpoint
}

// Append appends the inner message.
func (m *AllocateResponse) Append(dst []byte) []byte {
	dst = append(dst, byte(TypeAllocateResponse), version)
	dst = binary.BigEndian.AppendUint32(dst, m.Generation)
	return m.Endpoint.append(dst)
}

// Parse reads the body of a message of the given version, reusing the address list of
// m. Another version gives an empty message.
func (m *AllocateResponse) Parse(ver byte, body []byte) error {
	m.Generation = 0
	m.Endpoint.reset()
	if ver != version {
		return nil
	}
	if len(body) < generationLen {
		return shortError(TypeAllocateResponse, len(body), generationLen)
	}
	m.Generation = binary.BigEndian.Uint32(body)
	return m.Endpoint.parse(body[generationLen:])
}
