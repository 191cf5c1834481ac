// Package gateway makes a router of the virtual internet speak the protocols by which
// hosts ask for port mappings, NAT-PMP, PCP and UPnP IGD, well or badly, as real ones do.
package gateway
