// Package archtest holds the house rules of this repository and checks them
// against its source: which layer may import which, what the pure layers must
// not touch, which modules stay out, what needs a comment, how long files and
// functions may grow, which tests may be skipped, and which words have no place
// in the text.
//
// It reads source with go/parser and nothing else. It is not a style linter
// (gofmt and go vet are) and it knows nothing about behaviour. The rules
// themselves are the tables of rules.go; docs/architecture.md repeats them for
// people, and a test compares the two.
package archtest
