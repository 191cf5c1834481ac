// Package netlab builds small networks out of Linux network namespaces: hosts,
// switches, links, and routers that translate addresses. Tests, benchmarks and
// the demo run real programs in them.
//
// Namespaces have no names: each lives as long as this process holds it, or a
// program runs in it. The kernel ends the programs with this process, so
// nothing is left behind however it ends, and the machine's own interfaces,
// routes and rules are never touched. It is no simulator: links are perfect
// unless a rule says otherwise, and clocks are real.
//
// It needs root and the programs ip and nft; Missing tells.
package netlab
