// Package control holds the messages a node and a coordination server exchange:
// the JSON bodies of the key, register, map and smaller requests, the framing of
// the map stream, and the capability names and versions that travel in them.
//
// It is types, their exact JSON shapes and a few pure functions over them. It
// opens no connection, reads no clock, and holds no state of a session: the Noise
// transport, the server's decisions and the node's merging of map frames live
// elsewhere.
//
// Facts come from the wire document control; "section" in a comment here means a
// section of that document. Two presence rules run through all types: a field
// without an omit option is always written; a list or map with omitzero tells null
// (nil, left out) from an explicit empty value, which is written; other lists and
// maps make no such difference. Pointers have omitempty, since omitzero would also
// leave out a pointer to a zero key or time. A zero time that is always written is
// "0001-01-01T00:00:00Z". Decoding ignores unknown members and the case of names,
// as encoding/json does.
package control
