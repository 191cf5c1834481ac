package netmap

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
)

// ErrNoNode is returned for a stream whose first frame does not describe the
// node itself.
var ErrNoNode = errors.New("first map frame lacked the node itself")

// Changes says what a frame changed. The zero value is nothing.
type Changes struct {
	// First is set by the first frame of a stream: everything is new.
	First bool
	Self  bool
	// Peers are the IDs of peers added or changed in any way, Removed of those
	// that are gone. Both are sorted.
	Peers, Removed []control.NodeID

	DERPMap, DNS, Filter, Users, SSHPolicy, TKA bool
	// Other is set for a change of anything else in the Map.
	Other bool
}

// Any reports whether anything changed.
func (c *Changes) Any() bool {
	return c.First || c.Self || len(c.Peers) > 0 || len(c.Removed) > 0 ||
		c.DERPMap || c.DNS || c.Filter || c.Users || c.SSHPolicy || c.TKA || c.Other
}

// Builder makes Maps of the frames of one map stream. Its zero value is ready;
// each new stream needs a new one. It is not safe for concurrent use.
type Builder struct {
	current *Map // nil before the first frame
}

// Map returns the latest Map, or nil before the first frame.
func (b *Builder) Map() *Map { return b.current }

// Apply takes one frame that arrived at local time now and returns the Map after
// it, which is the one before when the frame changed nothing. It takes over what
// resp points to. It fails with ErrNoNode, changing nothing, when the first frame
// that is not a keepalive has no Node.
func (b *Builder) Apply(resp *control.MapResponse, now time.Time) (*Map, Changes, error) {
	prev := b.current
	if prev == nil && (resp.Node == nil || resp.KeepAlive) {
		if resp.KeepAlive {
			return nil, Changes{}, nil
		}
		return nil, Changes{}, ErrNoNode
	}
	var next Map
	var ch Changes
	if prev == nil {
		next = Map{
			DNS: &control.DNSConfig{}, Users: map[control.UserID]control.UserProfile{},
			lookup: newLookup(nil), ClockTrusted: true,
		}
		ch.First = true
	} else {
		next = *prev
	}
	applyTime(&next, &ch, resp.ControlTime, now)
	if !resp.KeepAlive {
		resp.DropNil()
		applySelf(&next, &ch, resp.Node)
		applyPeers(&next, &ch, resp, now)
		applyUsers(&next, &ch, resp.UserProfiles)
		applyFilters(&next, &ch, resp)
		applyRest(&next, &ch, resp)
	}
	if !ch.Any() {
		return prev, ch, nil
	}
	b.current = &next
	return b.current, ch, nil
}

// applyTime learns the difference of the clocks.
func applyTime(m *Map, ch *Changes, control, now time.Time) {
	if control.IsZero() {
		return
	}
	skew := control.Sub(now)
	if skew.Abs() <= maxSkew {
		skew = 0
	} else if m.Skew != 0 && (skew-m.Skew).Abs() <= maxSkew/2 {
		skew = m.Skew // jitter of the network is no news
	}
	trusted := !now.Add(skew).Before(oldestTrustedTime)
	if skew != m.Skew || trusted != m.ClockTrusted {
		m.Skew, m.ClockTrusted = skew, trusted
		ch.Other = true
	}
}

func applySelf(m *Map, ch *Changes, self *control.Node) {
	if self == nil {
		return
	}
	normalise(self)
	if len(self.Capabilities) > 0 {
		merged := maps.Clone(self.CapMap)
		if merged == nil {
			merged = control.NodeCapMap{}
		}
		for _, c := range self.Capabilities {
			if !merged.Has(c) {
				merged[c] = nil
			}
		}
		self.CapMap = merged
	}
	m.Self = self
	ch.Self = true
}

func applyUsers(m *Map, ch *Changes, profiles []control.UserProfile) {
	cloned := false
	for _, u := range profiles {
		if old, ok := m.Users[u.ID]; ok && equalProfile(old, u) {
			continue
		}
		if !cloned {
			m.Users = maps.Clone(m.Users)
			cloned = true
		}
		m.Users[u.ID] = u
		ch.Users = true
	}
}

func equalProfile(a, b control.UserProfile) bool {
	return a.ID == b.ID && a.LoginName == b.LoginName && a.DisplayName == b.DisplayName &&
		a.ProfilePicURL == b.ProfilePicURL && slices.Equal(a.Groups, b.Groups)
}

func applyFilters(m *Map, ch *Changes, resp *control.MapResponse) {
	if resp.PacketFilter == nil && len(resp.PacketFilters) == 0 {
		return
	}
	filters := maps.Clone(m.filters)
	if filters == nil {
		filters = map[string][]control.FilterRule{}
	}
	if resp.PacketFilter != nil {
		filters[control.BaseFilter] = resp.PacketFilter
	}
	if rules, ok := resp.PacketFilters[control.ClearAll]; ok && rules == nil {
		clear(filters)
	}
	for name, rules := range resp.PacketFilters {
		switch {
		case name == control.ClearAll:
		case rules == nil:
			delete(filters, name)
		default:
			filters[name] = rules
		}
	}
	m.filters = filters
	m.Filter = []control.FilterRule{}
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		m.Filter = append(m.Filter, filters[name]...)
	}
	ch.Filter = true
}

// applyRest takes the fields that simply replace what was before.
func applyRest(m *Map, ch *Changes, resp *control.MapResponse) {
	if resp.DERPMap != nil {
		m.DERPMap = m.DERPMap.Merge(resp.DERPMap)
		ch.DERPMap = true
	}
	if resp.DNSConfig != nil {
		m.DNS = resp.DNSConfig
		ch.DNS = true
	}
	if resp.SSHPolicy != nil {
		m.SSHPolicy = resp.SSHPolicy
		ch.SSHPolicy = true
	}
	if resp.TKAInfo != nil {
		m.TKAInfo = resp.TKAInfo
		ch.TKA = true
	}
	if resp.Domain != "" && resp.Domain != m.Domain {
		m.Domain = resp.Domain
		ch.Other = true
	}
	if resp.DomainDataPlaneAuditLogID != "" && resp.DomainDataPlaneAuditLogID != m.AuditLogID {
		m.AuditLogID = resp.DomainDataPlaneAuditLogID
		ch.Other = true
	}
	if v, ok := resp.CollectServices.Get(); ok && v != m.CollectServices {
		m.CollectServices = v
		ch.Other = true
	}
	if resp.Health != nil && !slices.Equal(resp.Health, m.Health) {
		m.Health = resp.Health
		ch.Other = true
	}
	applyMessages(m, ch, resp.DisplayMessages)
}

func applyMessages(m *Map, ch *Changes, patch map[control.DisplayMessageID]*control.DisplayMessage) {
	if len(patch) == 0 {
		return
	}
	messages := maps.Clone(m.DisplayMessages)
	if messages == nil {
		messages = map[control.DisplayMessageID]*control.DisplayMessage{}
	}
	if v, ok := patch[control.ClearAll]; ok && v == nil {
		clear(messages)
	}
	for id, msg := range patch {
		switch {
		case id == control.ClearAll:
		case msg == nil:
			delete(messages, id)
		default:
			messages[id] = msg
		}
	}
	m.DisplayMessages = messages
	ch.Other = true
}
