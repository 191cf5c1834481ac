package relay

import "github.com/ginnel/ginnel/wire/key"

// Disconnect closes all connections of a client, for when Config.Verify would no
// longer admit it. It returns before they are gone, and says nothing of later ones:
// a client that Verify has admitted at the same moment may still come in.
func (s *Server) Disconnect(k key.NodePublic) { s.closePeer(k) }
