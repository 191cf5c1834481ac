// Package interop runs Ginnel against the published programs that speak the
// same protocols, each way: their node with our server and relay, our node
// with their test server and relay, and the codecs of both on the same bytes.
//
// It is a module of its own, so that nothing here can become a dependency of
// Ginnel. It holds tests only.
package interop
