package server

import (
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/key"
)

// evict takes nodes off the embedded relay that may no longer use it: nodes that are
// gone, expired or not approved, and keys that a node has left behind. Relays
// elsewhere ask when a node connects and do not learn of it.
func (s *Server) evict(cs tailnet.ChangeSet) {
	const loses = tailnet.FieldKey | tailnet.FieldKeyExpiry | tailnet.FieldAuthorized
	for _, c := range cs.Changes {
		switch c.Kind {
		case tailnet.NodeRemoved, tailnet.NodeExpired:
		case tailnet.NodeChanged:
			if !c.Fields.Has(loses) {
				continue
			}
		default:
			continue
		}
		if !mayRelay(cs.Snapshot, c.Old.Key) {
			s.disconnect(c.Old.Key)
		}
	}
}

// disconnect takes one key off the embedded relay.
func (s *Server) disconnect(k key.NodePublic) {
	s.log.Debug("closing relay connections", "client", k.ShortString())
	s.relay.Disconnect(k)
}
