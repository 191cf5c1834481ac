// Package admin is the administrator's interface of the coordination server:
// JSON over HTTP on a unix socket in the data directory, and its client.
//
// Whoever may connect may do everything. The socket is for its owner alone, and
// the server also asks the kernel who connects: root and its own user may. It
// is not the public API; that one has tokens and roles.
package admin
