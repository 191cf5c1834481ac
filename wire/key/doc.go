// Package key holds the key types of the Ginnel wire: machine, node, disco,
// challenge, tailnet-lock, hardware-attestation and relay-mesh keys, each with
// its own Go type so that one can never be passed where another is meant.
//
// It knows how keys are generated, compared, printed, written as text and used
// to seal small boxes. It is not a key store, it does no network or file I/O,
// and it does not implement the Noise handshake or WireGuard; those take raw
// bytes from here.
//
// Private keys print as a fixed redacted word under every fmt verb and in slog,
// cannot be compared with ==, and have a text form only where the protocol
// stores one. The text forms are those of the wire document control, section 1.
package key
