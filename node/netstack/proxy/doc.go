// Package proxy lets programs on this machine reach the mesh through a node in
// userspace mode: a SOCKS5 server (RFC 1928: CONNECT, no authentication) and an
// HTTP proxy (CONNECT and absolute URIs), on listeners of their own or together
// on one, where the first byte of a connection tells which it is.
//
// Names and addresses of the mesh are dialled through the mesh, all others
// through the operating system. There is no access control: listen on loopback
// addresses only.
package proxy
