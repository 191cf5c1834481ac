// Package local serves a node's local API: HTTP over a Unix socket, by which the
// command line and other programs on the machine look at the node and steer it
// (wire document cli, section 5).
//
// Who may do what follows from the credentials of the calling process, never from
// anything in the request. Requests that a web browser may have been tricked into
// making are refused. The package decides nothing about the node itself.
package local
