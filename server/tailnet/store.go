package tailnet

import (
	"context"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// Store keeps the model. Since the Service validates every command against the
// model in memory, a store only loads all of it and commits batches.
type Store interface {
	// Load returns everything that commits have left.
	Load(ctx context.Context) (*State, error)
	// Commit makes the batch durable, all of it or nothing, before it returns.
	// When the stored sequence number is not b.Base it writes nothing and
	// returns ErrConflict.
	Commit(ctx context.Context, b *Batch) error
	// Audit returns the newest audit records of a tailnet, newest first, at
	// most limit, all with a Seq below before when that is not 0.
	Audit(ctx context.Context, t TailnetID, before uint64, limit int) ([]AuditRecord, error)
	// PruneAudit looks at the oldest audit records of all tailnets, at most
	// limit, and removes those made before a time. It returns how many.
	PruneAudit(ctx context.Context, before time.Time, limit int) (int, error)
	// NoteOnline notes which nodes are online, in place of the note before. It is
	// no part of the model: it has no sequence number, and it costs the same
	// however much is stored of each node.
	NoteOnline(ctx context.Context, o Online) error
}

// Online says which nodes were online at a time.
type Online struct {
	At    time.Time
	Nodes []control.NodeID // in order
}

// State is the whole model at rest.
type State struct {
	Seq      uint64
	Counters Counters
	Nodes    []*Node
	Users    []*User
	AuthKeys []*AuthKey
	// Online is the last note of who was online, zero without one.
	Online Online
}

// Batch is what one transaction writes: the rows in order, then the audit
// records.
type Batch struct {
	// Base is the sequence number that the batch builds on, Seq the one that
	// it leaves.
	Base, Seq uint64
	Counters  Counters
	Ops       []Op
	Audit     []AuditRecord
}

// Op is one row to write. Exactly one member is set. Putting a row replaces the
// row with the same ID; deleting a row that is not there does nothing.
type Op struct {
	PutNode       *Node
	DeleteNode    control.NodeID
	PutUser       *User
	DeleteUser    control.UserID
	PutAuthKey    *AuthKey
	DeleteAuthKey int64
}
