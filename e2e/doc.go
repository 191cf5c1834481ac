// Package e2e tests Ginnel as its users run it: the built programs, as root,
// with real TUN devices, in networks made of namespaces. Each file is one
// thing that must hold whatever the parts do inside: paths, restarts, roaming,
// scale, bad input.
//
// It holds tests only; the networks come from package lab. Tests wait for
// conditions and never for time to pass.
package e2e
