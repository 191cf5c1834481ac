// Package natpmp is the wire format of the NAT Port Mapping Protocol (RFC 6886; wire
// document paths, section 17.2): how a host asks its gateway for the gateway's external
// address and for a port on it.
//
// It is pure: it appends and parses the messages of both sides. Asking again, and what
// to believe of an answer, is the user's business.
package natpmp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

const (
	// Port is the UDP port on which gateways listen.
	Port = 5351
	// AnnouncePort is the UDP port on which clients hear announcements, which gateways
	// send to 224.0.0.1 when they have started or their external address has changed.
	AnnouncePort = 5350

	version  = 0
	response = 0x80 // bit of the opcode
)

// Op is what a message is about.
type Op uint8

// The operations.
const (
	OpExternal Op = 0 // asks for the external address
	OpMapUDP   Op = 1
	OpMapTCP   Op = 2
)

// Result is what a gateway says of a request.
type Result uint16

// The results of RFC 6886, section 3.5.
const (
	Success            Result = 0
	UnsupportedVersion Result = 1
	NotAuthorized      Result = 2
	NetworkFailure     Result = 3
	OutOfResources     Result = 4
	UnsupportedOpcode  Result = 5
)

// String returns the result in words.
func (r Result) String() string {
	switch r {
	case Success:
		return "success"
	case UnsupportedVersion:
		return "unsupported version"
	case NotAuthorized:
		return "not authorized"
	case NetworkFailure:
		return "network failure"
	case OutOfResources:
		return "out of resources"
	case UnsupportedOpcode:
		return "unsupported opcode"
	}
	return fmt.Sprintf("result %d", uint16(r))
}

// The lengths of the messages in bytes.
const (
	externalRequestLen  = 2
	mapRequestLen       = 12
	externalResponseLen = 12
	mapResponseLen      = 16
	errorResponseLen    = 8 // at least; what follows depends on the gateway
)

// Errors of the parsers.
var (
	ErrLength  = errors.New("nat-pmp: wrong length")
	ErrVersion = errors.New("nat-pmp: not version 0")
	ErrOpcode  = errors.New("nat-pmp: unexpected opcode")
)

// Request is what a host asks. OpExternal uses no other field.
type Request struct {
	Op Op
	// Internal is the port on the host, External the one wished for on the gateway, 0
	// for any.
	Internal, External uint16
	// Lifetime of the mapping in seconds; 0 removes it.
	Lifetime uint32
}

// Append appends the request.
func (r Request) Append(b []byte) []byte {
	b = append(b, version, byte(r.Op))
	if r.Op == OpExternal {
		return b
	}
	b = append(b, 0, 0)
	b = binary.BigEndian.AppendUint16(b, r.Internal)
	b = binary.BigEndian.AppendUint16(b, r.External)
	return binary.BigEndian.AppendUint32(b, r.Lifetime)
}

// ParseRequest reads a request, as a gateway does. The error wraps ErrVersion or
// ErrOpcode for one that the gateway is to refuse by AppendRefusal, and ErrLength for
// one that deserves no answer.
func ParseRequest(b []byte) (Request, error) {
	switch {
	case len(b) < externalRequestLen:
		return Request{}, fmt.Errorf("%w: request of %d bytes", ErrLength, len(b))
	case b[1]&response != 0:
		return Request{}, fmt.Errorf("%w: a response", ErrLength) // never answer an answer
	case b[0] != version:
		return Request{}, fmt.Errorf("%w: version %d", ErrVersion, b[0])
	}
	r := Request{Op: Op(b[1])}
	switch r.Op {
	case OpExternal:
		if len(b) != externalRequestLen {
			return Request{}, fmt.Errorf("%w: address request of %d bytes", ErrLength, len(b))
		}
		return r, nil
	case OpMapUDP, OpMapTCP:
		if len(b) != mapRequestLen {
			return Request{}, fmt.Errorf("%w: mapping request of %d bytes", ErrLength, len(b))
		}
		r.Internal = binary.BigEndian.Uint16(b[4:])
		r.External = binary.BigEndian.Uint16(b[6:])
		r.Lifetime = binary.BigEndian.Uint32(b[8:])
		return r, nil
	}
	return Request{}, fmt.Errorf("%w: %d", ErrOpcode, b[1])
}

// Response is what a gateway answers. Fields after Epoch are set only on success.
type Response struct {
	Op     Op
	Result Result
	// Epoch is how many seconds ago the gateway began to keep mappings.
	Epoch uint32
	// Address is the external one, the answer to OpExternal.
	Address netip.Addr
	// Internal, External and Lifetime, in seconds, are the answer to the mapping
	// operations. After a removal, External and Lifetime are 0.
	Internal, External uint16
	Lifetime           uint32
}

// Append appends the response. An Address that is not IPv4 is sent as 0.0.0.0.
func (r Response) Append(b []byte) []byte {
	b = append(b, version, byte(r.Op)|response)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Result))
	b = binary.BigEndian.AppendUint32(b, r.Epoch)
	if r.Op == OpExternal {
		a4 := [4]byte{}
		if r.Address.Is4() {
			a4 = r.Address.As4()
		}
		return append(b, a4[:]...)
	}
	b = binary.BigEndian.AppendUint16(b, r.Internal)
	b = binary.BigEndian.AppendUint16(b, r.External)
	return binary.BigEndian.AppendUint32(b, r.Lifetime)
}

// AppendRefusal appends the answer to a request that ParseRequest did not accept for its
// version or opcode (RFC 6886, section 3.5).
func AppendRefusal(b, request []byte, result Result, epoch uint32) []byte {
	op := byte(0)
	if len(request) > 1 {
		op = request[1]
	}
	b = append(b, version, op|response)
	b = binary.BigEndian.AppendUint16(b, uint16(result))
	return binary.BigEndian.AppendUint32(b, epoch)
}

// ParseResponse reads a response. A success must have its exact length. One of another
// version is ErrVersion: the gateway speaks something newer.
func ParseResponse(b []byte) (Response, error) {
	if len(b) < errorResponseLen {
		return Response{}, fmt.Errorf("%w: response of %d bytes", ErrLength, len(b))
	}
	if b[0] != version {
		return Response{}, fmt.Errorf("%w: version %d", ErrVersion, b[0])
	}
	if b[1]&response == 0 {
		return Response{}, fmt.Errorf("%w: a request", ErrOpcode)
	}
	r := Response{
		Op: Op(b[1] &^ response), Result: Result(binary.BigEndian.Uint16(b[2:])), Epoch: binary.BigEndian.Uint32(b[4:]),
	}
	want := mapResponseLen
	switch r.Op {
	case OpExternal:
		want = externalResponseLen
	case OpMapUDP, OpMapTCP:
	default:
		return Response{}, fmt.Errorf("%w: %d", ErrOpcode, b[1])
	}
	if r.Result != Success {
		if len(b) > mapResponseLen {
			return Response{}, fmt.Errorf("%w: refusal of %d bytes", ErrLength, len(b))
		}
		return r, nil
	}
	if len(b) != want {
		return Response{}, fmt.Errorf("%w: response of %d bytes, not %d", ErrLength, len(b), want)
	}
	if r.Op == OpExternal {
		r.Address = netip.AddrFrom4([4]byte(b[8:12]))
		return r, nil
	}
	r.Internal = binary.BigEndian.Uint16(b[8:])
	r.External = binary.BigEndian.Uint16(b[10:])
	r.Lifetime = binary.BigEndian.Uint32(b[12:])
	return r, nil
}

// Lost reports whether a gateway has lost its mappings between two responses, the second
// elapsed after the first: its epoch is smaller than it should be by now (RFC 6886,
// section 3.6).
func Lost(before, now uint32, elapsed time.Duration) bool {
	expected := float64(before) + elapsed.Seconds()*7/8
	return float64(now) < expected-2
}
