// Package api holds the JSON shapes of the daemon's local API: states,
// preferences and their edits, status, the notification bus, pings and reports.
//
// It is types and pure functions over them, used by the daemon that serves the
// API and by the client that calls it. It makes no request, serves none, and
// decides nothing about access. Facts come from the wire documents cli and node;
// sections are named with their document.
package api
