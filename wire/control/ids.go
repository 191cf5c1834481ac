package control

import "encoding/json"

// NodeID is the number of a node: positive, at most 2^53-1, never reused. Zero is
// invalid (section 6.1).
type NodeID int64

// UserID is the number of a user: positive, at most 2^53-1, never reused.
type UserID int64

// LoginID is the number of a login of a user. Nodes ignore it.
type LoginID int64

// StableNodeID is the opaque, non-empty, unique text by which people and stored
// settings name a node.
type StableNodeID string

// RawMessage is a JSON value carried as it is. A nil RawMessage is written null.
type RawMessage = json.RawMessage
