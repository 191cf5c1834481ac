package tailnet

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// MemoryStore is a Store that lasts as long as the process, for tests and
// demonstrations. The zero value is empty and ready.
type MemoryStore struct {
	mu       sync.Mutex
	seq      uint64
	counters Counters
	nodes    map[control.NodeID]*Node
	users    map[control.UserID]*User
	authKeys map[int64]*AuthKey
	audit    []AuditRecord
	online   Online
}

// Load implements Store.
func (m *MemoryStore) Load(context.Context) (*State, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &State{
		Seq:      m.seq,
		Counters: m.counters,
		Nodes:    slices.Collect(maps.Values(m.nodes)),
		Users:    slices.Collect(maps.Values(m.users)),
		AuthKeys: slices.Collect(maps.Values(m.authKeys)),
		Online:   m.online,
	}, nil
}

// Commit implements Store.
func (m *MemoryStore) Commit(_ context.Context, b *Batch) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if b.Base != m.seq {
		return ErrConflict
	}
	if m.nodes == nil {
		m.nodes = map[control.NodeID]*Node{}
		m.users = map[control.UserID]*User{}
		m.authKeys = map[int64]*AuthKey{}
	}
	m.seq, m.counters = b.Seq, b.Counters
	for _, op := range b.Ops {
		m.apply(op)
	}
	m.audit = append(m.audit, b.Audit...)
	return nil
}

func (m *MemoryStore) apply(op Op) {
	switch {
	case op.PutNode != nil:
		n := *op.PutNode
		n.Online = false
		m.nodes[n.ID] = &n
	case op.DeleteNode != 0:
		delete(m.nodes, op.DeleteNode)
	case op.PutUser != nil:
		m.users[op.PutUser.ID] = op.PutUser
	case op.DeleteUser != 0:
		delete(m.users, op.DeleteUser)
	case op.PutAuthKey != nil:
		m.authKeys[op.PutAuthKey.ID] = op.PutAuthKey
	case op.DeleteAuthKey != 0:
		delete(m.authKeys, op.DeleteAuthKey)
	}
}

// NoteOnline implements Store.
func (m *MemoryStore) NoteOnline(_ context.Context, o Online) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.online = o
	return nil
}

// PruneAudit implements Store.
func (m *MemoryStore) PruneAudit(_ context.Context, before time.Time, limit int) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldest := m.audit[:min(limit, len(m.audit))]
	kept := slices.DeleteFunc(slices.Clone(oldest), func(r AuditRecord) bool { return r.At.Before(before) })
	removed := len(oldest) - len(kept)
	m.audit = append(kept, m.audit[len(oldest):]...)
	return removed, nil
}

// Audit implements Store.
func (m *MemoryStore) Audit(_ context.Context, t TailnetID, before uint64, limit int) ([]AuditRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []AuditRecord
	for _, r := range slices.Backward(m.audit) {
		if len(out) == limit {
			break
		}
		if r.TailnetID == t && (before == 0 || r.Seq < before) {
			out = append(out, r)
		}
	}
	return out, nil
}
