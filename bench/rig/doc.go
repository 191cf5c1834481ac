// Package rig is the machinery of the benchmarks that run real programs: hosts
// made of Linux network namespaces, links between them, programs running on
// them, and what those cost in processor time and memory.
//
// It measures; it knows nothing of Ginnel. Everything that it makes carries the
// process's id in its name and is removed by Close. It needs root and the
// programs ip and nft.
package rig
