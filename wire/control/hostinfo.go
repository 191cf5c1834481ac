package control

import (
	"maps"
	"net/netip"
	"reflect"
	"slices"
)

// Hostinfo is what a node tells of itself and its host (section 6.4). All members
// are left out when zero.
type Hostinfo struct {
	IPNVersion    string `json:",omitempty"` // long version
	FrontendLogID string `json:",omitempty"`
	BackendLogID  string `json:",omitempty"`
	// OS is "linux", "windows", "macOS", "iOS", "android", "freebsd" and so on.
	OS              string  `json:",omitempty"`
	OSVersion       string  `json:",omitempty"`
	Container       OptBool `json:",omitzero"`
	Env             string  `json:",omitempty"`
	Distro          string  `json:",omitempty"`
	DistroVersion   string  `json:",omitempty"`
	DistroCodeName  string  `json:",omitempty"`
	App             string  `json:",omitempty"`
	Desktop         OptBool `json:",omitzero"`
	Package         string  `json:",omitempty"`
	DeviceModel     string  `json:",omitempty"`
	PushDeviceToken string  `json:",omitempty"`
	// Hostname is the first label of the host's name or what the user chose, not
	// sanitised; see SanitizeHostname.
	Hostname        string `json:",omitempty"`
	ShieldsUp       bool   `json:",omitempty"`
	ShareeNode      bool   `json:",omitempty"`
	NoLogsNoSupport bool   `json:",omitempty"`
	// RemoteConfig hands control of the preferences to the admin.
	RemoteConfig bool `json:",omitempty"`
	// WireIngress is set only while IngressEnabled is not.
	WireIngress    bool `json:",omitempty"`
	IngressEnabled bool `json:",omitempty"`
	AllowsUpdate   bool `json:",omitempty"`
	PeerRelay      bool `json:",omitempty"`

	Machine   string `json:",omitempty"`
	GoArch    string `json:",omitempty"`
	GoArchVar string `json:",omitempty"`
	GoVersion string `json:",omitempty"`

	// RoutableIPs are the routes the node offers, sorted and unique; both default
	// routes make an exit node.
	RoutableIPs []netip.Prefix `json:",omitempty"`
	// RequestTags are the tags the user asked for, sorted and unique.
	RequestTags []string  `json:",omitempty"`
	WoLMACs     []string  `json:",omitempty"`
	Services    []Service `json:",omitempty"`
	NetInfo     *NetInfo  `json:",omitempty"`
	// SSHHostKeys is not empty on a node running the built-in SSH server.
	SSHHostKeys     []string `json:"sshHostKeys,omitempty"`
	Cloud           string   `json:",omitempty"`
	Userspace       OptBool  `json:",omitzero"`
	UserspaceRouter OptBool  `json:",omitzero"`
	AppConnector    OptBool  `json:",omitzero"`
	// ServicesHash is the hex SHA-256 of the list of hosted services.
	ServicesHash string `json:",omitempty"`
	// ExitNodeID is the exit node in use.
	ExitNodeID     StableNodeID `json:",omitempty"`
	Location       *Location    `json:",omitempty"`
	TPM            *TPMInfo     `json:",omitempty"`
	StateEncrypted OptBool      `json:",omitzero"`
}

// Service is something a node listens for.
type Service struct {
	Proto       ServiceProto
	Port        uint16
	Description string `json:",omitempty"`
}

// ServiceProto is the protocol of a Service.
type ServiceProto string

// The service protocols. Peers need the peer API ones for file sharing, exit-node
// DNS and peer pings; ServicePeerAPIDNS has port 1.
const (
	ServiceTCP        ServiceProto = "tcp"
	ServiceUDP        ServiceProto = "udp"
	ServicePeerAPI4   ServiceProto = "peerapi4"
	ServicePeerAPI6   ServiceProto = "peerapi6"
	ServicePeerAPIDNS ServiceProto = "peerapi-dns-proxy"
	ServiceEgg        ServiceProto = "egg"
)

// TPMInfo describes the host's TPM.
type TPMInfo struct {
	Manufacturer    string `json:",omitempty"`
	Vendor          string `json:",omitempty"`
	Model           int    `json:",omitempty"`
	FirmwareVersion uint64 `json:",omitempty"`
	SpecRevision    int    `json:",omitempty"`
	FamilyIndicator string `json:",omitempty"`
}

// NetInfo is what a node found out about its network (section 6.5).
type NetInfo struct {
	MappingVariesByDestIP OptBool `json:",omitzero"`
	WorkingIPv6           OptBool `json:",omitzero"`
	OSHasIPv6             OptBool `json:",omitzero"`
	WorkingUDP            OptBool `json:",omitzero"`
	WorkingICMPv4         OptBool `json:",omitzero"`
	HavePortMap           bool    `json:",omitempty"`
	UPnP                  OptBool `json:",omitzero"`
	PMP                   OptBool `json:",omitzero"`
	PCP                   OptBool `json:",omitzero"`
	// PreferredDERP is the home relay's region; it becomes Node.HomeDERP.
	PreferredDERP int `json:",omitempty"`
	// LinkType is "wired", "wifi", "mobile" or empty.
	LinkType string `json:",omitempty"`
	// DERPLatency is in seconds by region number and "-v4" or "-v6".
	DERPLatency  map[string]float64 `json:",omitempty"`
	FirewallMode string             `json:",omitempty"`
}

// Location is where a node stands (section 6.7).
type Location struct {
	Country     string  `json:",omitempty"`
	CountryCode string  `json:",omitempty"` // ISO 3166-1 alpha-2, upper case
	City        string  `json:",omitempty"`
	CityCode    string  `json:",omitempty"`
	Latitude    float64 `json:",omitempty"` // degrees
	Longitude   float64 `json:",omitempty"` // degrees
	// Priority ranks exit nodes, the highest first; zero is none.
	Priority int `json:",omitempty"`
}

// Clone returns a deep copy, nil for nil.
func (h *Hostinfo) Clone() *Hostinfo {
	if h == nil {
		return nil
	}
	c := *h
	c.RoutableIPs = slices.Clone(h.RoutableIPs)
	c.RequestTags = slices.Clone(h.RequestTags)
	c.WoLMACs = slices.Clone(h.WoLMACs)
	c.Services = slices.Clone(h.Services)
	c.NetInfo = h.NetInfo.Clone()
	c.SSHHostKeys = slices.Clone(h.SSHHostKeys)
	c.Location = clonePtr(h.Location)
	c.TPM = clonePtr(h.TPM)
	return &c
}

// Equal reports whether two values say the same; nil equals only nil.
func (h *Hostinfo) Equal(other *Hostinfo) bool { return reflect.DeepEqual(h, other) }

// Clone returns a deep copy, nil for nil.
func (n *NetInfo) Clone() *NetInfo {
	if n == nil {
		return nil
	}
	c := *n
	c.DERPLatency = maps.Clone(n.DERPLatency)
	return &c
}

// EqualButLatency reports whether two values say the same, but for DERPLatency,
// whose changes are noise; nil equals only nil.
func (n *NetInfo) EqualButLatency(other *NetInfo) bool {
	if n == nil || other == nil {
		return n == other
	}
	a, b := *n, *other
	a.DERPLatency, b.DERPLatency = nil, nil
	return reflect.DeepEqual(a, b)
}
