package maps

import (
	"fmt"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Unknown returns the map for a node key that no node of the model has, framed: the
// node itself, with a key that expired long ago, and nobody else. A node does not
// give its key up for being refused a map, but it has its user log in again when it
// reads this. The node's ID is 0, which no node of the model has.
func (h *Hub) Unknown(node key.NodePublic, machine key.MachinePublic, o Options) []byte {
	raw := node.Raw32()
	body := mustJSON(&control.MapResponse{
		Node: &control.Node{
			// Nodes file what they store of a login by this, so it must not be empty.
			StableID:  control.StableNodeID(fmt.Sprintf("unknown-%x", raw[:8])),
			Name:      "unknown." + h.cfg.BaseDomain + ".",
			Key:       node,
			KeyExpiry: time.Unix(0, 0).UTC(),
			Machine:   machine,
			Expired:   true,
		},
		DERPMap:     h.cfg.DERPMap(),
		Domain:      h.cfg.Domain,
		ControlTime: time.Now().UTC(),
	})
	return h.Frame(body, o.Compress)
}
