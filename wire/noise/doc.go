// Package noise is the ts2021 handshake and its transport records: Noise IK
// over X25519, ChaCha20-Poly1305 and BLAKE2s, with the message layouts of the
// wire document control, sections 3.4 to 3.6.
//
// It turns byte slices into byte slices. It owns no connection, reads no clock
// and starts no goroutine; package internal/noiseconn puts it on a net.Conn.
// It is not a general Noise library: one pattern, one cipher suite.
package noise
