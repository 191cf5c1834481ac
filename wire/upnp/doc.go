// Package upnp is the wire format of UPnP Internet Gateway Devices, versions 1 and 2, as
// far as port mappings need it (UPnP Device Architecture 1.1; WANIPConnection:1 and :2;
// wire document paths, section 17.4): searching gateways by SSDP, the description of a
// device reduced to its services, and the SOAP calls that add, remove and look up
// mappings.
//
// It is pure: it appends and parses the messages of both sides. HTTP, and what to believe
// of an answer, is the user's business. Everything that is parsed is bounded in size,
// depth and number.
package upnp
