// Package lab builds small networks out of Linux network namespaces for the
// end-to-end tests: hosts, switches, routers with address translation, and the
// real programs running in them.
//
// Everything that it makes carries the test process's id in its name, lives in
// namespaces (the machine's own interfaces, routes and rules are never
// touched), and is removed when the test ends, failed or not; what a killed
// test left behind is removed by the next one. It needs root and the programs
// ip and nft. It is no simulator: links are perfect unless a rule says
// otherwise, and clocks are real.
package lab
