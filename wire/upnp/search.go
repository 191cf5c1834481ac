package upnp

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// SearchPort is the UDP port of SSDP.
const SearchPort = 1900

// SearchGroup is the multicast group of SSDP.
var SearchGroup = netip.AddrFrom4([4]byte{239, 255, 255, 250})

// What to search for.
const (
	SearchAll      = "ssdp:all"
	SearchGateway  = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"
	SearchGateway2 = "urn:schemas-upnp-org:device:InternetGatewayDevice:2"
	gatewayPart    = ":InternetGatewayDevice:"
)

// The limits of SSDP messages.
const (
	MaxSearch   = 4096 // bytes of a message
	maxHeaders  = 64
	maxLocation = 512
)

// Errors of the parsers.
var (
	ErrNotSSDP  = errors.New("ssdp: not the message looked for")
	ErrTooLarge = errors.New("upnp: too large")
	ErrXML      = errors.New("upnp: malformed document")
)

// AppendSearch appends a search for a target, such as SearchGateway, to which devices
// answer within wait seconds.
func AppendSearch(b []byte, target string, wait int) []byte {
	return fmt.Appendf(b, "M-SEARCH * HTTP/1.1\r\nHOST: %v:%d\r\nST: %s\r\nMAN: \"ssdp:discover\"\r\nMX: %d\r\n\r\n",
		SearchGroup, SearchPort, target, wait)
}

// ParseSearch reads a search, as a device does, and returns its target.
func ParseSearch(b []byte) (target string, err error) {
	first, headers, err := parseHeaders(b)
	if err != nil {
		return "", err
	}
	if first != "M-SEARCH * HTTP/1.1" || headers["man"] != `"ssdp:discover"` {
		return "", fmt.Errorf("%w: %.40q", ErrNotSSDP, first)
	}
	if headers["st"] == "" {
		return "", fmt.Errorf("%w: search for nothing", ErrNotSSDP)
	}
	return headers["st"], nil
}

// Answer is a device's answer to a search.
type Answer struct {
	// Location is the URL of the device's description.
	Location string
	// Server is the device's software, USN its unique name, and Target what it is.
	Server, USN, Target string
}

// IsGateway reports whether the answer is about an Internet gateway.
func (a Answer) IsGateway() bool {
	return strings.Contains(a.Target, gatewayPart) || strings.Contains(a.USN, gatewayPart)
}

// Append appends the answer.
func (a Answer) Append(b []byte) []byte {
	return fmt.Appendf(b, "HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: %s\r\nUSN: %s\r\nEXT:\r\nSERVER: %s\r\nLOCATION: %s\r\n\r\n",
		a.Target, a.USN, a.Server, a.Location)
}

// ParseAnswer reads an answer to a search. It must have a location.
func ParseAnswer(b []byte) (Answer, error) {
	first, headers, err := parseHeaders(b)
	if err != nil {
		return Answer{}, err
	}
	if !strings.HasPrefix(first, "HTTP/1.") || len(first) < 12 || first[8] != ' ' || first[9:12] != "200" {
		return Answer{}, fmt.Errorf("%w: %.40q", ErrNotSSDP, first)
	}
	a := Answer{Location: headers["location"], Server: headers["server"], USN: headers["usn"], Target: headers["st"]}
	if a.Location == "" || len(a.Location) > maxLocation {
		return Answer{}, fmt.Errorf("%w: location of %d bytes", ErrNotSSDP, len(a.Location))
	}
	return a, nil
}

// parseHeaders reads a message of SSDP. Of a header that is there twice the first counts;
// names become lower-case. Bare line feeds are tolerated.
func parseHeaders(b []byte) (first string, headers map[string]string, err error) {
	if len(b) > MaxSearch {
		return "", nil, fmt.Errorf("%w: message of %d bytes", ErrTooLarge, len(b))
	}
	headers = map[string]string{}
	for i, line := range strings.SplitN(string(b), "\n", maxHeaders+2) {
		line = strings.TrimSuffix(line, "\r")
		switch {
		case i > maxHeaders:
			return "", nil, fmt.Errorf("%w: more than %d headers", ErrTooLarge, maxHeaders)
		case i == 0:
			first = line
			continue
		case line == "":
			return first, headers, nil
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if name = strings.ToLower(strings.TrimSpace(name)); headers[name] == "" {
			headers[name] = strings.TrimSpace(value)
		}
	}
	return first, headers, nil
}

// parsePort reads a port other than 0.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(strings.TrimSpace(s), 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("upnp: %.20q is no port", s)
	}
	return uint16(n), nil
}
