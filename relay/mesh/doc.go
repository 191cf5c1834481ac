// Package mesh links the relays of one region: each dials the others, learns which
// clients are connected there, and forwards packets for them (wire document relay,
// section 10).
//
// A Link is one such connection, made again for ever when it breaks. The routes
// themselves are kept by the relay; packets that come from the other side arrive at
// the relay as those of an ordinary connection, not here.
package mesh
