package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"

	"github.com/tailscale/hujson"

	"github.com/ginnel/ginnel/wire/control"
)

// relayPlace is where nodes find the embedded relay.
type relayPlace struct {
	region int
	host   string
	port   int
	// certName pins the certificate; empty where the host has one that nodes
	// trust anyway.
	certName string
	// stunPort is -1 for no STUN.
	stunPort int
}

// readDERPMap reads a relay map from an operator's file.
func readDERPMap(file string) (*control.DERPMap, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if text, err = hujson.Standardize(text); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	var m control.DERPMap
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := checkDERPMap(&m); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &m, nil
}

// checkDERPMap refuses what nodes would stumble over.
func checkDERPMap(m *control.DERPMap) error {
	if len(m.Regions) == 0 {
		return errors.New(`no relay regions: the file must look like {"Regions": {"901": {"RegionID": 901, ...}}}`)
	}
	names := map[string]bool{}
	for id, r := range m.Regions {
		switch {
		case r == nil:
			return fmt.Errorf("region %d is null", id)
		case id < 1 || id > 65535 || r.RegionID != id:
			return fmt.Errorf("region %d: RegionID is %d; both must be the same, from 1 to 65535", id, r.RegionID)
		case len(r.Nodes) == 0:
			return fmt.Errorf("region %d has no Nodes", id)
		}
		for i, n := range r.Nodes {
			switch {
			case n == nil || n.Name == "" || n.HostName == "":
				return fmt.Errorf("region %d: node %d needs a Name and a HostName", id, i+1)
			case n.RegionID != id:
				return fmt.Errorf("region %d: node %q says RegionID %d", id, n.Name, n.RegionID)
			case names[n.Name]:
				return fmt.Errorf("region %d: another node has the Name %q too", id, n.Name)
			}
			names[n.Name] = true
		}
	}
	return nil
}

// relayMap joins the embedded relay, nil for none, and the operator's regions.
func relayMap(own *relayPlace, extra *control.DERPMap) (*control.DERPMap, error) {
	m := &control.DERPMap{Regions: map[int]*control.DERPRegion{}, OmitDefaultRegions: true}
	if extra != nil {
		m.HomeParams = extra.HomeParams
		maps.Copy(m.Regions, extra.Regions)
	}
	if own == nil {
		return m, nil
	}
	if m.Regions[own.region] != nil {
		return nil, fmt.Errorf("derp-map: region %d is the embedded relay's; choose another number there, or with --relay-region", own.region)
	}
	m.Regions[own.region] = own.derpRegion()
	return m, nil
}

func (p *relayPlace) derpRegion() *control.DERPRegion {
	n := &control.DERPNode{
		Name:     fmt.Sprintf("%da", p.region),
		RegionID: p.region,
		HostName: p.host,
		CertName: p.certName,
		DERPPort: p.port,
		STUNPort: p.stunPort,
	}
	if a, err := netip.ParseAddr(p.host); err == nil {
		n.IPv4, n.IPv6 = a.String(), "none"
		if a.Is6() {
			n.IPv4, n.IPv6 = "none", a.String()
		}
	}
	return &control.DERPRegion{
		RegionID:   p.region,
		RegionCode: "ginnel",
		RegionName: "Ginnel",
		Nodes:      []*control.DERPNode{n},
	}
}
