// Package pcp is the wire format of the Port Control Protocol, version 2 (RFC 6887; wire
// document paths, section 17.3), as far as mappings need it: the ANNOUNCE and MAP
// operations. With MAP a host asks its gateway for a port on an external IPv4 address, or
// for a hole in its IPv6 firewall.
//
// It is pure: it appends and parses the messages of both sides. Asking again, and what to
// believe of an answer, is the user's business; above all that it has the nonce of the
// request.
package pcp

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
	// send to 224.0.0.1 and ff02::1 when they have started.
	AnnouncePort = 5350
	// MaxLen is the length of the longest message in bytes (RFC 6887, section 7).
	MaxLen = 1100

	version   = 2
	response  = 0x80 // bit of the opcode
	headerLen = 24
	mapLen    = 36 // after the header
)

// Op is what a message is about.
type Op uint8

// The operations.
const (
	OpAnnounce Op = 0
	OpMap      Op = 1
)

// UDP is the protocol number for Map.
const UDP = 17

// Result is what a gateway says of a request.
type Result uint8

// The results of RFC 6887, section 7.4.
const (
	Success               Result = 0
	UnsuppVersion         Result = 1
	NotAuthorized         Result = 2
	MalformedRequest      Result = 3
	UnsuppOpcode          Result = 4
	UnsuppOption          Result = 5
	MalformedOption       Result = 6
	NetworkFailure        Result = 7
	NoResources           Result = 8
	UnsuppProtocol        Result = 9
	UserExQuota           Result = 10
	CannotProvideExternal Result = 11
	AddressMismatch       Result = 12
	ExcessiveRemotePeers  Result = 13
)

var resultNames = [...]string{
	"success", "unsupported version", "not authorized", "malformed request", "unsupported opcode", "unsupported option",
	"malformed option", "network failure", "no resources", "unsupported protocol", "quota exceeded",
	"cannot provide the external address", "address mismatch", "too many remote peers",
}

// String returns the result in words.
func (r Result) String() string {
	if int(r) < len(resultNames) {
		return resultNames[r]
	}
	return fmt.Sprintf("result %d", uint8(r))
}

// Errors of the parsers.
var (
	ErrLength  = errors.New("pcp: wrong length")
	ErrVersion = errors.New("pcp: not version 2")
	ErrOpcode  = errors.New("pcp: unexpected opcode")
	ErrOption  = errors.New("pcp: malformed option")
)

// Nonce ties an answer to its request, and later requests to the mapping. It should be
// random, and the same for the life of a mapping.
type Nonce [12]byte

// Map is the part of OpMap.
type Map struct {
	Nonce    Nonce
	Protocol uint8
	// Internal is the port on the host.
	Internal uint16
	// External is the address and port, wished for in a request and given in a response.
	// Without a wish it is 0.0.0.0 or :: and port 0. IPv4 addresses are not mapped ones.
	External netip.AddrPort
}

// Request is what a host asks.
type Request struct {
	Op Op
	// Lifetime of the mapping in seconds; 0 removes it.
	Lifetime uint32
	// Client is the host's address, which must be the source of the datagram.
	Client netip.Addr
	Map    Map // of OpMap
}

// Append appends the request.
func (r Request) Append(b []byte) []byte {
	b = append(b, version, byte(r.Op), 0, 0)
	b = binary.BigEndian.AppendUint32(b, r.Lifetime)
	b = appendAddr(b, r.Client)
	if r.Op == OpMap {
		b = r.Map.append(b)
	}
	return b
}

func (m Map) append(b []byte) []byte {
	b = append(b, m.Nonce[:]...)
	b = append(b, m.Protocol, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, m.Internal)
	b = binary.BigEndian.AppendUint16(b, m.External.Port())
	return appendAddr(b, m.External.Addr())
}

// appendAddr appends 16 bytes; no address becomes ::.
func appendAddr(b []byte, a netip.Addr) []byte {
	a16 := [16]byte{}
	if a.IsValid() {
		a16 = a.As16()
	}
	return append(b, a16[:]...)
}

func addr(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)).Unmap() }

// parseMap reads the part of OpMap and looks over the options that follow, of which none
// is known here.
func parseMap(b []byte) (m Map, err error) {
	if len(b) < mapLen {
		return m, fmt.Errorf("%w: MAP of %d bytes", ErrLength, headerLen+len(b))
	}
	copy(m.Nonce[:], b)
	m.Protocol = b[12]
	m.Internal = binary.BigEndian.Uint16(b[16:])
	m.External = netip.AddrPortFrom(addr(b[20:36]), binary.BigEndian.Uint16(b[18:]))
	return m, checkOptions(b[mapLen:])
}

// checkOptions checks that b is a sequence of options: code, reserved, length of the data
// in 2 bytes, data padded to 4.
func checkOptions(b []byte) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return fmt.Errorf("%w: %d bytes left", ErrOption, len(b))
		}
		n := 4 + (int(binary.BigEndian.Uint16(b[2:]))+3)&^3
		if n > len(b) {
			return fmt.Errorf("%w: option %d of %d bytes where %d are left", ErrOption, b[0], n, len(b))
		}
		b = b[n:]
	}
	return nil
}

// checkLen checks what is common to all messages.
func checkLen(b []byte, least int) error {
	if len(b) < least || len(b) > MaxLen || len(b)%4 != 0 {
		return fmt.Errorf("%w: %d bytes", ErrLength, len(b))
	}
	return nil
}

// ParseRequest reads a request, as a gateway does. The error wraps ErrVersion, ErrOpcode
// or ErrOption for one that the gateway is to refuse by AppendRefusal, and ErrLength for
// one that deserves no answer or a refusal as malformed.
func ParseRequest(b []byte) (Request, error) {
	if len(b) >= 2 && b[1]&response != 0 {
		return Request{}, fmt.Errorf("%w: a response", ErrLength) // never answer an answer
	}
	if len(b) >= 2 && b[0] != version {
		return Request{}, fmt.Errorf("%w: version %d", ErrVersion, b[0])
	}
	if err := checkLen(b, headerLen); err != nil {
		return Request{}, err
	}
	r := Request{Op: Op(b[1]), Lifetime: binary.BigEndian.Uint32(b[4:]), Client: addr(b[8:24])}
	var err error
	switch r.Op {
	case OpAnnounce:
		err = checkOptions(b[headerLen:])
	case OpMap:
		r.Map, err = parseMap(b[headerLen:])
	default:
		err = fmt.Errorf("%w: %d", ErrOpcode, b[1])
	}
	if err != nil {
		return Request{}, err
	}
	return r, nil
}

// Response is what a gateway answers.
type Response struct {
	Op     Op
	Result Result
	// Lifetime of the mapping in seconds; with an error, how long it is expected to last.
	Lifetime uint32
	// Epoch is how many seconds ago the gateway began to keep mappings.
	Epoch uint32
	// Map is that of OpMap. In an error it repeats the request, if it is there at all.
	Map Map
}

// Append appends the response.
func (r Response) Append(b []byte) []byte {
	b = append(b, version, byte(r.Op)|response, 0, byte(r.Result))
	b = binary.BigEndian.AppendUint32(b, r.Lifetime)
	b = binary.BigEndian.AppendUint32(b, r.Epoch)
	b = append(b, make([]byte, 12)...)
	if r.Op == OpMap {
		b = r.Map.append(b)
	}
	return b
}

// AppendRefusal appends the answer to a request that could not be parsed: the request
// itself, cut and padded to a legal length, with a response's header.
func AppendRefusal(b, request []byte, result Result, lifetime, epoch uint32) []byte {
	start := len(b)
	b = append(b, request[:min(len(request), MaxLen)]...)
	for n := len(b) - start; n < headerLen || n%4 != 0; n++ {
		b = append(b, 0)
	}
	h := b[start:]
	h[0], h[1], h[2], h[3] = version, h[1]|response, 0, byte(result)
	binary.BigEndian.PutUint32(h[4:], lifetime)
	binary.BigEndian.PutUint32(h[8:], epoch)
	clear(h[12:headerLen])
	return b
}

// ParseResponse reads a response. One of another version is ErrVersion: the gateway
// speaks something older, such as NAT-PMP. A refusal needs no more than the header.
func ParseResponse(b []byte) (Response, error) {
	if len(b) >= 2 && b[0] != version {
		return Response{}, fmt.Errorf("%w: version %d", ErrVersion, b[0])
	}
	if err := checkLen(b, headerLen); err != nil {
		return Response{}, err
	}
	if b[1]&response == 0 {
		return Response{}, fmt.Errorf("%w: a request", ErrOpcode)
	}
	r := Response{
		Op: Op(b[1] &^ response), Result: Result(b[3]),
		Lifetime: binary.BigEndian.Uint32(b[4:]), Epoch: binary.BigEndian.Uint32(b[8:]),
	}
	var err error
	switch {
	case r.Op == OpAnnounce:
		err = checkOptions(b[headerLen:])
	case r.Op != OpMap:
		err = fmt.Errorf("%w: %d", ErrOpcode, b[1])
	case r.Result != Success && len(b) < headerLen+mapLen:
	default:
		r.Map, err = parseMap(b[headerLen:])
	}
	if err != nil {
		return Response{}, err
	}
	return r, nil
}

// Lost reports whether a gateway has lost its mappings between two responses, the second
// elapsed after the first: its epoch did not advance as the clock did (RFC 6887, section
// 8.5).
func Lost(before, now uint32, elapsed time.Duration) bool {
	if int64(now) < int64(before)-1 {
		return true
	}
	client, server := elapsed.Seconds(), float64(now)-float64(before)
	return client+2 < server-server/16 || server+2 < client-client/16
}
