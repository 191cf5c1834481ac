// Package stun is the wire format of the two STUN messages that address discovery
// needs: the binding request and its success response (RFC 8489; wire document
// relay, section 14).
//
// It is pure and allocates nothing. It is no STUN server or client, and no general
// STUN library: no authentication, no TURN, no ICE attributes.
package stun
