package tailnet

import "strings"

// ChangeKind says what a Change is about.
type ChangeKind int

// The kinds of change.
const (
	// NodeAdded: New joined the tailnet. Old is nil.
	NodeAdded ChangeKind = iota + 1
	// NodeChanged: Old became New; Fields says in what.
	NodeChanged
	// NodeRemoved: Old is gone. New is nil.
	NodeRemoved
	// NodeExpired: the key of New ran out by the passing of time; Old equals
	// New. A key expired by a command is a NodeChanged with FieldKeyExpiry.
	NodeExpired
	// UserChanged: User is new, has another name, or is gone (UserGone set).
	UserChanged
)

// Fields is a set of parts of a Node.
type Fields uint32

// The parts of a Node that a NodeChanged may touch.
const (
	FieldKey Fields = 1 << iota
	FieldKeySignature
	FieldDisco
	FieldEndpoints
	FieldHomeDERP
	// FieldHostinfo is a change that peers may see. Host information that
	// differs only in relay latencies sets FieldLatency instead.
	FieldHostinfo
	FieldLatency
	FieldName
	FieldTags
	FieldUser
	FieldKeyExpiry
	FieldAuthorized
	FieldOnline
	FieldLastSeen
	FieldCap
	FieldLockKey
	FieldLockHead
	FieldEphemeral
	FieldAuthKey
)

var fieldNames = [...]string{"key", "key-signature", "disco", "endpoints", "home-derp", "hostinfo", "latency", "name", "tags",
	"user", "key-expiry", "authorized", "online", "last-seen", "cap", "lock-key", "lock-head", "ephemeral", "auth-key"}

// Has reports whether any of the given fields is in the set.
func (f Fields) Has(any Fields) bool { return f&any != 0 }

// Only reports whether the set holds nothing but (some of) the given fields.
func (f Fields) Only(these Fields) bool { return f&^these == 0 }

// String lists the fields for logs.
func (f Fields) String() string {
	var names []string
	for i, name := range fieldNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, ",")
}

// Change is one step of the model.
type Change struct {
	// Seq is the number of the command that made the change. It rises by one
	// with every command that is written to disk, for the life of the database;
	// changes that live in memory only (presence, the passing of an expiry)
	// carry the number of the command before them.
	Seq       uint64
	TailnetID TailnetID
	Kind      ChangeKind
	Fields    Fields
	Old, New  *Node
	User      *User
	UserGone  bool
}

// ChangeSet is what one publication brought: the changes in order and the
// snapshot that holds all of them.
type ChangeSet struct {
	Snapshot *Snapshot
	Changes  []Change
}
