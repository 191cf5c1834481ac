package relay

import (
	"testing"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// Disconnect ends every connection of one key and no other.
func TestDisconnect(t *testing.T) {
	s := newServer(t, Config{})
	priv := key.NewNode()
	first, second := connect(t, s, priv, wire.ClientInfo{}), connect(t, s, priv, wire.ClientInfo{})
	other := connect(t, s, key.NewNode(), wire.ClientInfo{})
	s.Disconnect(key.NewNode().Public()) // nobody
	s.Disconnect(priv.Public())
	first.expectClosed()
	second.expectClosed()
	other.sync()
}
