// Package idle measures what a node costs that does nothing: the memory of an
// idle ginneld with a number of peers, all real nodes that it has exchanged
// packets with once, and the size of the program.
package idle
