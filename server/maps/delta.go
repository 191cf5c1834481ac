package maps

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// deltaKey names a delta of the present head.
type deltaKey struct {
	from  uint64
	class Class
}

// delta is what changed over a run of log entries, as one class sees it.
type delta struct {
	hub     *Hub
	class   Class
	snap    *tailnet.Snapshot // after the last entry
	entries []entry

	prepare sync.Once
	now     time.Time
	touches []touch  // by node ID
	general [][]byte // members for everybody, JSON: name and value by turns
	rebuild bool     // users have appeared or changed
	shared  encoded  // for viewers that are not touched; without a body there is nothing to tell
}

// touch is what happened to one node.
type touch struct {
	id       control.NodeID
	old, new *tailnet.Node // nil while there was none
	fields   tailnet.Fields
	expired  bool // its key ran out
	op       op
}

// opKind says how viewers are told of a touch.
type opKind int

const (
	opNone   opKind = iota
	opUpsert        // PeersChanged
	opRemove        // PeersRemoved
	opPatch         // PeersChangedPatch
	opOnline        // OnlineChange, always to true
)

type op struct {
	kind    opKind
	json    []byte // of opUpsert and opPatch
	profile []byte // UserProfile that viewers may lack, or nil
}

// merge computes the delta.
func (d *delta) merge() {
	d.now = time.Now()
	var users map[control.UserID]*tailnet.User
	index := map[control.NodeID]int{}
	derpMap := false
	for _, e := range d.entries {
		derpMap = derpMap || e.derpMap
		for _, c := range e.changes {
			if c.TailnetID != d.class.Tailnet {
				continue
			}
			if c.Kind == tailnet.UserChanged {
				if users == nil {
					users = map[control.UserID]*tailnet.User{}
				}
				users[c.User.ID] = c.User
				if c.UserGone {
					delete(users, c.User.ID)
				}
				continue
			}
			d.touch(index, c)
		}
	}
	slices.SortFunc(d.touches, func(a, b touch) int { return cmp.Compare(a.id, b.id) })
	for i := range d.touches {
		d.touches[i].op = d.operation(&d.touches[i])
	}
	d.addGeneral(derpMap, users)
	d.rebuild = len(d.general) > 0 || d.newOwner()
	d.shared.body = d.body(0, nil)
}

// touch adds one change of a node to what happened to it before.
func (d *delta) touch(index map[control.NodeID]int, c tailnet.Change) {
	n := c.New
	if n == nil {
		n = c.Old
	}
	i, ok := index[n.ID]
	if !ok {
		i = len(d.touches)
		index[n.ID] = i
		d.touches = append(d.touches, touch{id: n.ID, old: c.Old})
	}
	t := &d.touches[i]
	t.new = c.New
	t.fields |= c.Fields
	t.expired = t.expired || c.Kind == tailnet.NodeExpired
}

// touched returns what happened to a node, or nil.
func (d *delta) touched(id control.NodeID) *touch {
	i, ok := slices.BinarySearchFunc(d.touches, id, func(t touch, id control.NodeID) int { return cmp.Compare(t.id, id) })
	if !ok {
		return nil
	}
	return &d.touches[i]
}

// operation decides how viewers of the class are told of a touch.
func (d *delta) operation(t *touch) op {
	vis := d.hub.cfg.Visibility
	was := t.old != nil && vis.Sees(d.class, t.old)
	is := t.new != nil && vis.Sees(d.class, t.new)
	switch {
	case !was && !is:
		return op{}
	case !is:
		return op{kind: opRemove}
	case !was || d.needsWhole(t):
		o := op{kind: opUpsert, json: d.hub.nodes.peer(t.new, d.now)}
		if !was || ownerID(t.old) != ownerID(t.new) {
			o.profile = mustJSON(OwnerProfile(d.snap, t.new))
		}
		return o
	}
	return patch(t.old, t.new)
}

// needsWhole reports whether a change of a peer cannot be told by a patch (wire
// document control, sections 5.6 and 5.7).
func (d *delta) needsWhole(t *touch) bool {
	const never = tailnet.FieldName | tailnet.FieldTags | tailnet.FieldUser
	switch {
	case t.expired, t.fields.Has(never):
		return true
	case t.fields.Has(tailnet.FieldKeyExpiry) && (t.old.Expired(d.now) || t.new.Expired(d.now)):
		return true // Expired is in no patch
	case t.new.HomeDERP == 0 && t.old.HomeDERP != 0, t.new.Cap == 0 && t.old.Cap != 0,
		len(t.new.KeySignature) == 0 && len(t.old.KeySignature) != 0:
		return true // a patch cannot take these away
	}
	return t.fields.Has(tailnet.FieldHostinfo) && !peerHostinfo(t.old.Hostinfo).Equal(peerHostinfo(t.new.Hostinfo))
}

// patch returns what a peer must be told of the difference between two versions
// of a node that share all that no patch can tell.
func patch(a, b *tailnet.Node) op {
	p := control.PeerChange{NodeID: b.ID}
	any := false // but for Online
	if a.Key != b.Key {
		p.Key, any = &b.Key, true
	}
	if !bytes.Equal(a.KeySignature, b.KeySignature) {
		p.KeySignature, any = b.KeySignature, true
	}
	if a.Disco != b.Disco {
		p.DiscoKey, any = &b.Disco, true
	}
	if a.HomeDERP != b.HomeDERP {
		p.DERPRegion, any = b.HomeDERP, true
	}
	if a.Cap != b.Cap {
		p.Cap, any = b.Cap, true
	}
	if !a.KeyExpiry.Equal(b.KeyExpiry) {
		p.KeyExpiry, any = &b.KeyExpiry, true
	}
	if !slices.Equal(a.Endpoints, b.Endpoints) && (any || a.Online != b.Online || !covers(a.Endpoints, b.Endpoints)) {
		p.Endpoints, any = endpoints(b), true
	}
	if a.Online != b.Online {
		if b.Online && !any {
			return op{kind: opOnline}
		}
		online := b.Online
		p.Online, p.LastSeen, any = &online, lastSeen(b), true
	}
	if !any {
		return op{}
	}
	return op{kind: opPatch, json: mustJSON(&p)}
}

// addGeneral adds what everybody is told: a new relay map, users with another
// name. A user whose nodes the class does not see stays untold.
func (d *delta) addGeneral(derpMap bool, users map[control.UserID]*tailnet.User) {
	if derpMap {
		d.general = append(d.general, []byte("DERPMap"), mustJSON(d.hub.cfg.DERPMap()))
	}
	if len(users) == 0 {
		return
	}
	seen := map[control.UserID]bool{}
	for n := range d.snap.Nodes(d.class.Tailnet) {
		if users[n.UserID] != nil && !n.Tagged() && d.hub.cfg.Visibility.Sees(d.class, n) {
			seen[n.UserID] = true
		}
	}
	var profiles []control.UserProfile
	for id, u := range users {
		if seen[id] {
			profiles = append(profiles, profile(u))
		}
	}
	if len(profiles) > 0 {
		slices.SortFunc(profiles, func(a, b control.UserProfile) int { return cmp.Compare(a.ID, b.ID) })
		list := mustJSON(profiles)
		d.general = append(d.general, []byte("UserProfiles"), list[1:len(list)-1])
	}
}

// newOwner reports whether a user appears of whom viewers of the class have seen no
// node so far.
func (d *delta) newOwner() bool {
	isNew := map[control.UserID]bool{}
	for i := range d.touches {
		if t := &d.touches[i]; t.op.profile != nil {
			isNew[ownerID(t.new)] = true
		}
	}
	if len(isNew) == 0 {
		return false
	}
	for n := range d.snap.Nodes(d.class.Tailnet) {
		if id := ownerID(n); isNew[id] && d.hub.cfg.Visibility.Sees(d.class, n) {
			if t := d.touched(n.ID); t == nil || t.op.profile == nil {
				if delete(isNew, id); len(isNew) == 0 {
					return false
				}
			}
		}
	}
	return true
}

// body returns the JSON for a viewer, without the touch of the node except (0
// for none) and with self, the JSON of the viewer's own node, when not nil. It
// returns nil when there is nothing to tell.
func (d *delta) body(except control.NodeID, self []byte) []byte {
	o := newObject(nil)
	if self != nil {
		o.raw("Node", self)
	}
	var upserts, removes, patches, profiles [][]byte
	var online []byte
	for i := range d.touches {
		t := &d.touches[i]
		if t.id == except {
			continue
		}
		switch t.op.kind {
		case opUpsert:
			upserts = append(upserts, t.op.json)
			if t.op.profile != nil && !slices.ContainsFunc(profiles, func(p []byte) bool { return string(p) == string(t.op.profile) }) {
				profiles = append(profiles, t.op.profile)
			}
		case opRemove:
			removes = append(removes, strconv.AppendInt(nil, int64(t.id), 10))
		case opPatch:
			patches = append(patches, t.op.json)
		case opOnline:
			online = append(online, ",\""+strconv.FormatInt(int64(t.id), 10)+"\":true"...)
		}
	}
	for i := 0; i < len(d.general); i += 2 {
		if string(d.general[i]) == "UserProfiles" {
			profiles = append(profiles, d.general[i+1])
			continue
		}
		o.raw(string(d.general[i]), d.general[i+1])
	}
	if d.rebuild && profiles != nil {
		// What viewers know already has them put their map together anew. Official
		// nodes of version 1.102 show the users of the last map that they did so
		// for, and who came after them as a number.
		o.value("Domain", d.hub.cfg.Domain)
	}
	o.list("PeersRemoved", removes)
	o.list("PeersChanged", upserts)
	if online != nil {
		online[0] = '{'
		o.raw("OnlineChange", append(online, '}'))
	}
	o.list("PeersChangedPatch", patches)
	o.list("UserProfiles", profiles)
	if o.empty {
		return nil
	}
	return o.end()
}

// own returns the frame for a viewer that is not told what others are: t is
// what happened to the viewer itself, or nil.
func (d *delta) own(ctx context.Context, s *Stream, t *touch) ([]byte, error) {
	h := d.hub
	var self []byte
	if t != nil {
		if t.new == nil {
			return nil, ErrNoNode
		}
		if class := h.cfg.Visibility.Class(t.new); class != s.class {
			// It sees other nodes than before: all of the map anew.
			s.class = class
			return h.full(ctx, d.snap, t.new, s.opts, d.nobody())
		}
		if t.expired || t.fields.Has(selfFields) {
			self = mustJSON(h.selfNode(t.new, d.now))
		}
	}
	var body []byte
	if !s.opts.OmitPeers {
		body = d.body(s.id, self)
	} else if self != nil {
		body = mustJSON(map[string]json.RawMessage{"Node": self})
	}
	if body == nil {
		return nil, nil
	}
	h.stats.encoded.Add(1)
	return h.appendFrame(nil, body, s.opts.Compress), nil
}

// selfFields are those that a node is told of itself. The rest it told the
// server, or does not look at.
const selfFields = tailnet.FieldKey | tailnet.FieldKeySignature | tailnet.FieldName | tailnet.FieldTags |
	tailnet.FieldUser | tailnet.FieldKeyExpiry | tailnet.FieldAuthorized

// nobody lists every node that a viewer may have been told of, for the case that
// from now on it sees none: an empty list of peers says nothing.
func (d *delta) nobody() []control.NodeID {
	var ids []control.NodeID
	for n := range d.snap.Nodes(d.class.Tailnet) {
		ids = append(ids, n.ID)
	}
	for _, t := range d.touches {
		if t.new == nil {
			ids = append(ids, t.id)
		}
	}
	slices.Sort(ids)
	return ids
}
