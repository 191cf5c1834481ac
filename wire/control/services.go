package control

import (
	"net/netip"
	"strings"
)

// VIPService is a service a node hosts under an address of its own (section 6.11).
type VIPService struct {
	// Name is "svc:" and a DNS label.
	Name   string
	Ports  []ProtoPortRange
	Active bool
}

// ServiceDetails describes a service a node may use; it is the value of the
// capabilities that start with AttrServicesPrefix.
type ServiceDetails struct {
	Name        string
	DisplayName string           `json:",omitempty"`
	Addrs       []netip.Addr     `json:",omitempty"`
	Ports       []ProtoPortRange `json:",omitempty"`
	// Actions and their Attributes are written when empty but not nil.
	Actions []ServiceAction `json:",omitzero"`
}

// ServiceAction is a way to open a service, such as "http" or "ssh".
type ServiceAction struct {
	Type        string
	Port        uint16
	DisplayName string                `json:",omitempty"`
	Attributes  map[string]RawMessage `json:",omitzero"`
}

// AppConnectorAttr is a value of AttrAppConnectors (section 6.12). It applies to a
// node when Connectors holds "*" or one of the node's tags.
type AppConnectorAttr struct {
	Name       string         `json:"name,omitempty"`
	Domains    []string       `json:"domains,omitempty"`
	Routes     []netip.Prefix `json:"routes,omitempty"`
	Connectors []string       `json:"connectors,omitempty"`
}

// ValidServiceName reports whether name is "svc:" and a lower-case DNS label of at
// most 63 bytes.
func ValidServiceName(name string) bool {
	label, ok := strings.CutPrefix(name, "svc:")
	return ok && label != "" && label == SanitizeHostname(label)
}
