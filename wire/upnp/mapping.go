package upnp

import (
	"fmt"
	"net/netip"
	"strconv"
)

// The actions of services that map ports.
const (
	ActionAdd      = "AddPortMapping"
	ActionAddAny   = "AddAnyPortMapping" // version 2: the gateway may choose another port
	ActionDelete   = "DeletePortMapping"
	ActionLookup   = "GetSpecificPortMappingEntry"
	ActionExternal = "GetExternalIPAddress"
	ActionStatus   = "GetStatusInfo"
)

// UDP is a mapping's protocol.
const UDP = "UDP"

// MaxLease is the longest lease in seconds (WANIPConnection:2, section 2.3.20). 0 is a
// permanent one.
const MaxLease = 604800

// Mapping is a port mapping.
type Mapping struct {
	Protocol    string // UDP or TCP
	External    uint16
	Internal    netip.AddrPort
	Description string
	// Lease in seconds, 0 for a permanent one.
	Lease uint32
}

func (m Mapping) key() Args {
	return Args{{"NewRemoteHost", ""}, {"NewExternalPort", port(m.External)}, {"NewProtocol", m.Protocol}}
}

func port(p uint16) string { return strconv.Itoa(int(p)) }

// Add returns the call that adds the mapping, by ActionAdd or ActionAddAny.
func (m Mapping) Add(service, action string) Call {
	return Call{service, action, append(m.key(),
		Arg{"NewInternalPort", port(m.Internal.Port())}, Arg{"NewInternalClient", m.Internal.Addr().String()},
		Arg{"NewEnabled", "1"}, Arg{"NewPortMappingDescription", m.Description},
		Arg{"NewLeaseDuration", strconv.FormatUint(uint64(m.Lease), 10)})}
}

// Delete returns the call that removes the mapping.
func (m Mapping) Delete(service string) Call { return Call{service, ActionDelete, m.key()} }

// Lookup returns the call that looks the mapping up.
func (m Mapping) Lookup(service string) Call { return Call{service, ActionLookup, m.key()} }

// ParseMapping reads the arguments of a call about a mapping, as a device does.
func ParseMapping(c Call) (m Mapping, err error) {
	m.Protocol = c.Args.Get("NewProtocol")
	if m.External, err = parsePort(c.Args.Get("NewExternalPort")); err != nil {
		return m, fmt.Errorf("%s: %w", c.Action, err)
	}
	if c.Action != ActionAdd && c.Action != ActionAddAny {
		return m, nil
	}
	m.Description = c.Args.Get("NewPortMappingDescription")
	if m.Internal, err = internal(c.Args); err != nil {
		return m, fmt.Errorf("%s: %w", c.Action, err)
	}
	lease, err := strconv.ParseUint(c.Args.Get("NewLeaseDuration"), 10, 32)
	if err != nil {
		return m, fmt.Errorf("%s: upnp: lease %.20q", c.Action, c.Args.Get("NewLeaseDuration"))
	}
	m.Lease = uint32(lease)
	return m, nil
}

// internal reads where a mapping leads to.
func internal(a Args) (netip.AddrPort, error) {
	p, err := parsePort(a.Get("NewInternalPort"))
	if err != nil {
		return netip.AddrPort{}, err
	}
	ip, err := netip.ParseAddr(a.Get("NewInternalClient"))
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("upnp: internal client: %w", err)
	}
	return netip.AddrPortFrom(ip, p), nil
}

// ReservedPort reads the answer to ActionAddAny: the external port that was given.
func ReservedPort(a Args) (uint16, error) { return parsePort(a.Get("NewReservedPort")) }

// Internal reads the answer to ActionLookup: where the mapping leads to.
func Internal(a Args) (netip.AddrPort, error) { return internal(a) }

// ExternalAddr reads the answer to ActionExternal.
func ExternalAddr(a Args) (netip.Addr, error) {
	ip, err := netip.ParseAddr(a.Get("NewExternalIPAddress"))
	if err != nil || !ip.Unmap().Is4() {
		return netip.Addr{}, fmt.Errorf("upnp: %.40q is no external address", a.Get("NewExternalIPAddress"))
	}
	return ip.Unmap(), nil
}

// Connected reads the answer to ActionStatus: whether the gateway is connected.
func Connected(a Args) bool {
	s := a.Get("NewConnectionStatus")
	return s == "Connected" || s == "Up"
}
