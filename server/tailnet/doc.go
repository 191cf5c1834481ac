// Package tailnet is the model of the network at the centre and the commands
// that change it.
//
// The model is a Snapshot: immutable, published through an atomic pointer, read
// without locks. Service holds the commands, the only way the model changes.
// One goroutine runs them: a command is validated against the newest state, its
// rows, its audit record and its change sequence number are committed by the
// Store in one transaction, then the new Snapshot is published and subscribers
// are told what changed. Commands that arrive while a commit is under way share
// the next one; each caller is answered only after the commit that holds its
// command.
//
// What nodes report about themselves (endpoints, host information, presence) is
// committed in the same way but leaves no audit record, since nobody decided it.
//
// The package knows nothing of the wire protocol's endpoints, of map responses
// or of databases; it speaks the protocol's plain types where a type of its own
// would only repeat them.
package tailnet
