// Package maps turns the model and its changes into map responses: the full
// first frame of a stream and then, for every change, the smallest delta that
// brings a viewer's netmap up to date (wire document control, sections 5.5 to
// 5.8 and 10.1).
//
// A Hub keeps a short log of what changed. Every stream is a cursor into it:
// what a stream has not been told yet is merged from its cursor to the end of
// the log, so a slow stream gets fewer and larger frames and needs no queue of
// its own. Streams at the same cursor whose viewers see the same nodes get the
// same bytes, which are encoded and compressed once.
//
// The package decides what a node is told, not when it may connect: sessions,
// presence, keepalives and HTTP belong to server/control, and who may see whom
// comes in as a Visibility.
package maps
