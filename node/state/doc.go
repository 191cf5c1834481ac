// Package state keeps what a node must remember between runs: its machine key,
// its profiles with their preferences and identity, and the last network map.
//
// A Store is one JSON file of named byte strings (wire document node, section
// 1.7), replaced atomically and readable by its owner alone, or a piece of
// memory for nodes that must leave nothing behind. The package decides nothing
// about the node: it does not register, it makes no keys but the machine key,
// and it never replaces what it cannot read, because a new identity must not
// come out of a damaged disk.
package state
