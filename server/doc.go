// Package server is the coordination server as a whole: configuration, listeners,
// TLS, the embedded relay and STUN, the admin socket, health and metrics, around
// the model of package tailnet and the protocol of package control.
//
// Every listening address serves plain HTTP and TLS on the same port: the first
// byte of a connection tells which. So one port is enough for nodes, relay and
// people, with or without a certificate.
//
// What the protocol says and how the model changes is not decided here.
package server
