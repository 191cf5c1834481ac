package tailnet

import "errors"

// Errors that a command may refuse with. The texts of those that a node can
// provoke reach its user as they are.
var (
	ErrAuthKeyInvalid = errors.New("invalid auth key")
	ErrAuthKeyExpired = errors.New("auth key expired")
	ErrAuthKeyUsed    = errors.New("auth key already used")
	ErrAuthKeyRevoked = errors.New("auth key revoked")
	// ErrWrongMachine: the node key is bound to another machine.
	ErrWrongMachine = errors.New("node key already in use by another machine")
	// ErrExtendExpiry: a node asked for a later expiry than it has.
	ErrExtendExpiry = errors.New("extending key is not allowed")
	ErrLoginDenied  = errors.New("login was refused by an administrator")
	// ErrLoginUnknown: decided already, pushed out by newer ones, or too old.
	ErrLoginUnknown = errors.New("no such pending login; it may have been decided already or have expired")
	ErrTags         = errors.New("requested tags are invalid or not permitted")
	ErrPoolEmpty    = errors.New("no free address left in the configured ranges")

	// ErrTooLarge: a node says more of itself than is kept.
	ErrTooLarge = errors.New("too large")

	ErrKeyMissing     = errors.New("machine key or node key missing")
	ErrNodeUnknown    = errors.New("no such node")
	ErrUserUnknown    = errors.New("no such user")
	ErrUserExists     = errors.New("a user with that login name exists already")
	ErrUserHasNodes   = errors.New("the user still owns nodes")
	ErrAuthKeyUnknown = errors.New("no such auth key")
	ErrNameTaken      = errors.New("another node has that name")
	ErrNameInvalid    = errors.New("not a valid name")
	ErrClosed         = errors.New("the server is shutting down")
	// ErrConflict: another writer changed the database since it was loaded.
	ErrConflict = errors.New("the database was changed by another server")
)
