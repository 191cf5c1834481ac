// Package netmon watches the machine's network: which interfaces and addresses
// there are, which one leads out, and whether the machine slept. A [Monitor]
// tells of changes, classified by what they mean for connections (wire document
// paths, section 19).
//
// It changes nothing and talks to no one; what to do about a change is the
// listener's business.
package netmon
