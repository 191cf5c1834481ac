package maps

import (
	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Class names what a viewer may see. Viewers of one class see the same nodes,
// themselves aside, and so share the frames that tell of changes.
type Class struct {
	Tailnet tailnet.TailnetID
	// Group tells classes of one tailnet apart.
	Group uint64
}

// Visibility says who may see whom. Its answers depend on nothing but the
// arguments: a node's class changes only when the node does.
type Visibility interface {
	// Class returns the class of a viewer.
	Class(viewer *tailnet.Node) Class
	// Sees reports whether viewers of the class are told of node. That a
	// viewer is never its own peer needs no answer here.
	Sees(c Class, node *tailnet.Node) bool
	// Filters returns the named packet filters of a viewer.
	Filters(viewer *tailnet.Node) map[string][]control.FilterRule
}

// AllowAll is the Visibility of a tailnet without a policy: every approved
// device sees and reaches every other. A device that waits for approval sees
// and is seen by nobody.
//
// A new device is seen from its first update on, which brings its disco key and
// its home relay. Without them peers have no way to it (wire document control,
// section 6.3), and what they answer to its first packet would be lost; with them
// in the first mention, the first ping to or from it is answered.
type AllowAll struct{}

const (
	groupWaiting  = 0
	groupApproved = 1
)

// Class implements Visibility.
func (AllowAll) Class(viewer *tailnet.Node) Class {
	c := Class{Tailnet: viewer.TailnetID, Group: groupWaiting}
	if viewer.Authorized {
		c.Group = groupApproved
	}
	return c
}

// Sees implements Visibility.
func (AllowAll) Sees(c Class, node *tailnet.Node) bool {
	return c.Group == groupApproved && node.TailnetID == c.Tailnet && node.Authorized && !node.Disco.IsZero()
}

// Filters implements Visibility.
func (AllowAll) Filters(viewer *tailnet.Node) map[string][]control.FilterRule {
	rules := []control.FilterRule{} // empty blocks all; nil would mean no change
	if viewer.Authorized {
		rules = append(rules, control.FilterRule{
			SrcIPs:   []string{"*"},
			DstPorts: []control.NetPortRange{{IP: "*", Ports: control.AllPorts}},
		})
	}
	return map[string][]control.FilterRule{control.BaseFilter: rules}
}
