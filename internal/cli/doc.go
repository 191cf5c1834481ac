// Package cli runs trees of commands as people expect of a command line: flags
// before or after the arguments, help texts, suggestions for what was misspelt,
// and completion for shells.
//
// The commands themselves are values of the ffcli library; what they do is not
// known here, and nothing is printed that was not asked for.
package cli
