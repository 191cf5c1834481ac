package tailnet

import (
	"context"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// noteEphemeral keeps the removal timers of ephemeral nodes in step with a
// published change.
func (s *Service) noteEphemeral(c Change) {
	switch c.Kind {
	case NodeRemoved:
		s.stopEphemeral(c.Old.ID)
	case NodeAdded:
		s.watchEphemeral(c.New)
	case NodeChanged:
		if c.Fields.Has(FieldOnline | FieldEphemeral | FieldKey) {
			s.watchEphemeral(c.New)
		}
	}
}

// watchEphemeral starts the removal timer of a node that is ephemeral and
// offline anew, and stops that of any other.
func (s *Service) watchEphemeral(n *Node) {
	s.stopEphemeral(n.ID)
	if !n.Ephemeral || n.Online {
		return
	}
	id := n.ID
	s.ephemeral[id] = time.AfterFunc(s.o.EphemeralTimeout, func() { s.removeEphemeral(id) })
}

func (s *Service) stopEphemeral(id control.NodeID) {
	if t := s.ephemeral[id]; t != nil {
		t.Stop()
		delete(s.ephemeral, id)
	}
}

// removeEphemeral removes an ephemeral node unless it is back. A timer that
// fires just as it is stopped does no harm: the node is looked at again.
func (s *Service) removeEphemeral(id control.NodeID) {
	err := s.do(context.Background(), func(t *tx) error {
		n := t.Node(id)
		if n == nil || !n.Ephemeral || n.Online {
			return nil
		}
		t.removeNode(n)
		t.record(Actor{Kind: ActorServer}, n.TailnetID, "node.delete", string(n.StableID),
			map[string]any{"name": n.GivenName, "why": "ephemeral node offline"})
		return nil
	})
	if err != nil && err != ErrClosed {
		s.log.Error("removing an ephemeral node failed", "node", id, "err", err)
	}
}
