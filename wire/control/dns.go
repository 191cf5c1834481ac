package control

import (
	"encoding/json"
	"net/netip"
	"slices"
)

// DNSConfig is the DNS settings of a node (section 6.6). The empty value is all
// off.
type DNSConfig struct {
	// Resolvers are global and override those of the host.
	Resolvers []Resolver `json:",omitempty"`
	// Routes sends names under a suffix elsewhere.
	Routes DNSRoutes `json:",omitempty"`
	// FallbackResolvers are the default where an exit node without DNS is in use.
	FallbackResolvers []Resolver `json:",omitempty"`
	// Domains are search domains without a final dot.
	Domains []string `json:",omitempty"`
	// Proxied turns MagicDNS on.
	Proxied bool `json:",omitempty"`
	// Nameservers is obsolete.
	Nameservers []netip.Addr `json:",omitempty"`
	// CertDomains are the names the node may get certificates for, without a
	// final dot.
	CertDomains  []string    `json:",omitempty"`
	ExtraRecords []DNSRecord `json:",omitempty"`
	// ExitNodeFilteredSet are lower-case names an exit node must not answer for;
	// a leading dot matches a suffix.
	ExitNodeFilteredSet []string `json:",omitempty"`
	// TempCorpIssue13969 is ignored.
	TempCorpIssue13969 string `json:",omitempty"`
}

// DNSRoutes sends names under a suffix, without a leading dot, to resolvers. An
// empty list is answered by the node itself. Its JSON never holds a null list,
// which official nodes would lose.
type DNSRoutes map[string][]Resolver

// MarshalJSON writes the routes with an empty list for a nil one.
func (r DNSRoutes) MarshalJSON() ([]byte, error) {
	out := make(map[string][]Resolver, len(r))
	for suffix, resolvers := range r {
		if resolvers == nil {
			resolvers = []Resolver{}
		}
		out[suffix] = resolvers
	}
	return json.Marshal(out)
}

// Resolver is a DNS server.
type Resolver struct {
	// Addr is an address, an address and port, "https://…" for DNS over HTTPS, or
	// "http://…" for DNS over HTTP through the tunnel.
	Addr                string       `json:",omitempty"`
	BootstrapResolution []netip.Addr `json:",omitempty"`
	UseWithExitNode     bool         `json:",omitempty"`
}

// DNSRecord is an extra name the node answers. Type is empty, "A" or "AAAA", and
// Value an address.
type DNSRecord struct {
	Name  string
	Type  string `json:",omitempty"`
	Value string
}

// Clone returns a deep copy, nil for nil.
func (c *DNSConfig) Clone() *DNSConfig {
	if c == nil {
		return nil
	}
	d := *c
	d.Resolvers = cloneResolvers(c.Resolvers)
	if c.Routes != nil {
		d.Routes = make(DNSRoutes, len(c.Routes))
		for suffix, resolvers := range c.Routes {
			d.Routes[suffix] = cloneResolvers(resolvers)
		}
	}
	d.FallbackResolvers = cloneResolvers(c.FallbackResolvers)
	d.Domains = slices.Clone(c.Domains)
	d.Nameservers = slices.Clone(c.Nameservers)
	d.CertDomains = slices.Clone(c.CertDomains)
	d.ExtraRecords = slices.Clone(c.ExtraRecords)
	d.ExitNodeFilteredSet = slices.Clone(c.ExitNodeFilteredSet)
	return &d
}

// cloneResolvers returns a deep copy, nil for nil.
func cloneResolvers(list []Resolver) []Resolver {
	out := slices.Clone(list)
	for i := range out {
		out[i].BootstrapResolution = slices.Clone(out[i].BootstrapResolution)
	}
	return out
}
