// Package mesh brings up what the benchmarks measure, inside a rig: a
// coordination server and nodes joined to it, Ginnel's own or official ones, all
// as the built programs. It steers them by their command lines alone.
package mesh
