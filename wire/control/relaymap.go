package control

import (
	"maps"
	"slices"
)

// DERPMap is the relays a node may use (section 6.9), whole or as a change to the
// one before; see Merge.
type DERPMap struct {
	// HomeParams nil keeps the previous.
	HomeParams *DERPHomeParams `json:",omitempty"`
	// Regions by number. Nil keeps the previous; empty means no relays.
	Regions map[int]*DERPRegion
	// OmitDefaultRegions uses only these regions; it goes with Regions.
	OmitDefaultRegions bool `json:"omitDefaultRegions,omitempty"`
}

// DERPHomeParams influences which region a node takes as its home.
type DERPHomeParams struct {
	// RegionScore multiplies the latency of a region before it is compared. Nil
	// keeps the previous scores; empty resets all to 1.
	RegionScore map[int]float64 `json:",omitzero"`
}

// DERPRegion is relays that stand close together and know of each other's clients.
type DERPRegion struct {
	// RegionID is positive, at most 65535 in practice; 900 to 999 are for
	// self-hosters.
	RegionID   int
	RegionCode string  // short label
	RegionName string  // long label
	Latitude   float64 `json:",omitempty"` // degrees
	Longitude  float64 `json:",omitempty"` // degrees
	// Avoid is deprecated; read it as NoMeasureNoHome.
	Avoid bool `json:",omitempty"`
	// NoMeasureNoHome keeps the region from being measured or made home; it may
	// still be dialled for a peer whose home it is.
	NoMeasureNoHome bool `json:",omitempty"`
	// Nodes are in order of priority.
	Nodes []*DERPNode
}

// DERPNode is one relay.
type DERPNode struct {
	// Name is a globally unique label such as "1b", not a host name.
	Name     string
	RegionID int
	// HostName is a DNS name or an address.
	HostName string
	// CertName is empty to verify HostName, another name to verify that, or
	// "sha256-raw:" and the 64 hex digits of the only certificate accepted.
	CertName string `json:",omitempty"`
	// IPv4 and IPv6 are empty to resolve HostName, an address to use, or "none"
	// to not use the family.
	IPv4 string `json:",omitempty"`
	IPv6 string `json:",omitempty"`
	// STUNPort is 0 for 3478 and -1 for no STUN.
	STUNPort int `json:",omitempty"`
	// STUNOnly marks a node that does not relay.
	STUNOnly bool `json:",omitempty"`
	// DERPPort is 0 for 443.
	DERPPort int `json:",omitempty"`
	// InsecureForTests turns off all verification of TLS.
	InsecureForTests bool   `json:",omitempty"`
	STUNTestIP       string `json:",omitempty"`
	// CanPort80 says that port 80 answers /generate_204.
	CanPort80 bool `json:",omitempty"`
}

// Clone returns a deep copy without nil regions and nodes, nil for nil.
func (m *DERPMap) Clone() *DERPMap {
	if m == nil {
		return nil
	}
	c := *m
	if m.HomeParams != nil {
		c.HomeParams = &DERPHomeParams{RegionScore: maps.Clone(m.HomeParams.RegionScore)}
	}
	if m.Regions != nil {
		c.Regions = make(map[int]*DERPRegion, len(m.Regions))
		for id, region := range m.Regions {
			if region != nil {
				c.Regions[id] = region.Clone()
			}
		}
	}
	return &c
}

// Clone returns a deep copy without nil nodes, nil for nil.
func (r *DERPRegion) Clone() *DERPRegion {
	if r == nil {
		return nil
	}
	c := *r
	c.Nodes = slices.Clone(r.Nodes)
	c.Nodes = slices.DeleteFunc(c.Nodes, func(n *DERPNode) bool { return n == nil })
	for i, n := range c.Nodes {
		c.Nodes[i] = clonePtr(n)
	}
	return &c
}

// Merge returns the map in force after delta arrives while m was, by the rules of
// section 6.9: nil Regions keep the previous regions and OmitDefaultRegions, nil
// HomeParams or scores keep the previous scores, and nil regions are dropped. It
// changes neither map and shares nothing with them. Either may be nil.
func (m *DERPMap) Merge(delta *DERPMap) *DERPMap {
	if delta == nil {
		return m.Clone()
	}
	out, prev := delta.Clone(), m.Clone()
	if prev == nil {
		return out
	}
	if out.Regions == nil {
		out.Regions = prev.Regions
		out.OmitDefaultRegions = prev.OmitDefaultRegions
	}
	if out.HomeParams == nil || out.HomeParams.RegionScore == nil {
		out.HomeParams = prev.HomeParams
	}
	return out
}
