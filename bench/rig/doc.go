// Package rig is the machinery of the benchmarks that run real programs: hosts
// and links (of netlab), programs running on them, and what those cost in
// processor time and memory.
//
// It measures; it knows nothing of Ginnel.
package rig
