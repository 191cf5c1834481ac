package control

import (
	"fmt"
	"strconv"
	"strings"
)

// ProtoPortRange is ports of an IP protocol. Its text is "*", "<port>", "<a>-<b>",
// or one of these after a protocol's name or number and a colon; the zero value is
// the empty string (section 6.8).
type ProtoPortRange struct {
	// Proto is an IP protocol number, zero for any.
	Proto int
	Ports PortRange
}

// protoNames are the names of protocols; the first of several for one number is
// the one written. Wire document policy, section 3.2.
var protoNames = []struct {
	name   string
	number int
}{
	{"icmp", 1}, {"icmpv4", 1}, {"igmp", 2}, {"ipv4", 4}, {"ip-in-ip", 4}, {"tcp", 6}, {"egp", 8}, {"igp", 9},
	{"udp", 17}, {"dccp", 33}, {"gre", 47}, {"esp", 50}, {"ah", 51}, {"ipv6-icmp", 58}, {"icmpv6", 58},
	{"tsmp", 99}, {"sctp", 132},
}

// String returns the text form.
func (p ProtoPortRange) String() string {
	if p == (ProtoPortRange{}) {
		return ""
	}
	var b strings.Builder
	if p.Proto != 0 {
		b.WriteString(protoText(p.Proto))
		b.WriteByte(':')
	}
	switch {
	case p.Ports == AllPorts:
		b.WriteByte('*')
	case p.Ports.First == p.Ports.Last:
		fmt.Fprintf(&b, "%d", p.Ports.First)
	default:
		fmt.Fprintf(&b, "%d-%d", p.Ports.First, p.Ports.Last)
	}
	return b.String()
}

// protoText returns the name of an IP protocol, or its number.
func protoText(number int) string {
	for _, p := range protoNames {
		if p.number == number {
			return p.name
		}
	}
	return strconv.Itoa(number)
}

// MarshalText returns the text form. It never fails.
func (p ProtoPortRange) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads the text form; p is unchanged on error.
func (p *ProtoPortRange) UnmarshalText(text []byte) error {
	got, err := ParseProtoPortRange(string(text))
	if err != nil {
		return err
	}
	*p = got
	return nil
}

// ParseProtoPortRange reads the text form. It fails for an unknown protocol name, a
// protocol number outside 0 to 255, and ports that are not decimal, over 65535 or
// in the wrong order.
func ParseProtoPortRange(text string) (ProtoPortRange, error) {
	var p ProtoPortRange
	if text == "" {
		return p, nil
	}
	proto, ports, ok := strings.Cut(text, ":")
	if !ok {
		proto, ports = "", text
	} else {
		n, err := parseProto(proto)
		if err != nil {
			return p, fmt.Errorf("port range %.64q: %w", text, err)
		}
		p.Proto = n
	}
	var err error
	if p.Ports, err = parsePorts(ports); err != nil {
		return ProtoPortRange{}, fmt.Errorf("port range %.64q: %w", text, err)
	}
	return p, nil
}

// parseProto reads a protocol's name, in any case, or number.
func parseProto(text string) (int, error) {
	for _, p := range protoNames {
		if strings.EqualFold(p.name, text) {
			return p.number, nil
		}
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("unknown protocol %.32q", text)
	}
	return int(n), nil
}

// parsePorts reads "*", a port, or a range of ports.
func parsePorts(text string) (PortRange, error) {
	if text == "*" {
		return AllPorts, nil
	}
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	a, err := strconv.ParseUint(first, 10, 16)
	if err != nil {
		return PortRange{}, fmt.Errorf("bad port %.32q", first)
	}
	b, err := strconv.ParseUint(last, 10, 16)
	if err != nil {
		return PortRange{}, fmt.Errorf("bad port %.32q", last)
	}
	if a > b {
		return PortRange{}, fmt.Errorf("ports %d and %d are in the wrong order", a, b)
	}
	return PortRange{First: uint16(a), Last: uint16(b)}, nil
}
