package peerrelay

import "sync/atomic"

// index finds sessions by VNI. Reading takes no lock; writers exclude each other. It is a
// tree of three levels, one byte of the VNI each, whose nodes come and go as needed.
type index struct {
	root [256]atomic.Pointer[branch]
}

type branch struct {
	leaves [256]atomic.Pointer[leaf]
	used   int // leaves; writers only
}

type leaf struct {
	sessions [256]atomic.Pointer[session]
	used     int // sessions; writers only
}

// get returns the session with the VNI, nil if there is none.
func (x *index) get(vni uint32) *session {
	b := x.root[vni>>16&0xff].Load()
	if b == nil {
		return nil
	}
	l := b.leaves[vni>>8&0xff].Load()
	if l == nil {
		return nil
	}
	return l.sessions[vni&0xff].Load()
}

// put adds a session under its VNI, which is free.
func (x *index) put(s *session) {
	root := &x.root[s.vni>>16&0xff]
	b := root.Load()
	if b == nil {
		b = new(branch)
		root.Store(b)
	}
	slot := &b.leaves[s.vni>>8&0xff]
	l := slot.Load()
	if l == nil {
		l = new(leaf)
		slot.Store(l)
		b.used++
	}
	l.sessions[s.vni&0xff].Store(s)
	l.used++
}

// remove takes out a session that is there.
func (x *index) remove(s *session) {
	root := &x.root[s.vni>>16&0xff]
	b := root.Load()
	slot := &b.leaves[s.vni>>8&0xff]
	l := slot.Load()
	l.sessions[s.vni&0xff].Store(nil)
	if l.used--; l.used > 0 {
		return
	}
	slot.Store(nil)
	if b.used--; b.used == 0 {
		root.Store(nil)
	}
}
