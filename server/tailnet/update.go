package tailnet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// Bounds of what is kept of one node. Nothing honest comes near them.
const (
	maxEndpoints    = 64
	maxHostinfo     = 64 << 10 // bytes of JSON
	maxKeySignature = 8 << 10  // bytes
	maxLockHead     = 128      // bytes
)

// checkSize refuses what has more bytes than are kept.
func checkSize(what string, size, limit int) error {
	if size <= limit {
		return nil
	}
	return fmt.Errorf("%s of %d bytes is %w: the server keeps %d", what, size, ErrTooLarge, limit)
}

// checkHostinfo returns the size of host information in bytes, and refuses what is
// larger than what is kept.
func checkHostinfo(h *control.Hostinfo) (int, error) {
	text, err := json.Marshal(h)
	if err != nil {
		return 0, fmt.Errorf("host information: %w", err)
	}
	return len(text), checkSize("host information", len(text), maxHostinfo)
}

// NodeUpdate is what a node reports about itself in a map request.
type NodeUpdate struct {
	// Hostinfo nil keeps the one before; without NetInfo it keeps that.
	Hostinfo *control.Hostinfo
	// Endpoints are taken as given, also when there are none.
	Endpoints []Endpoint
	// Disco zero keeps the one before.
	Disco key.DiscoPublic
	// Cap zero keeps the one before.
	Cap control.CapabilityVersion
	// LockHead is taken as given.
	LockHead string
}

// UpdateNode stores what a node reports about itself. Without a difference
// nothing is written and nobody is told; new relay latencies alone are told but
// not written. Endpoints with a zone and link-local IPv6 endpoints are dropped, and
// what is too many. The error is ErrTooLarge for more of the rest than is kept.
func (s *Service) UpdateNode(ctx context.Context, id control.NodeID, u NodeUpdate) (*Node, error) {
	u.Endpoints = usableEndpoints(u.Endpoints)
	err := checkSize("tailnet-lock head", len(u.LockHead), maxLockHead)
	if u.Hostinfo != nil {
		_, tooLarge := checkHostinfo(u.Hostinfo)
		err = errors.Join(err, tooLarge)
	}
	if err != nil {
		return nil, err
	}
	return run(ctx, s, func(t *tx) (*Node, error) {
		old, err := t.node(id)
		if err != nil {
			return nil, err
		}
		n := *old
		if u.Hostinfo != nil {
			t.takeHostinfo(&n, u.Hostinfo)
		}
		if !u.Disco.IsZero() {
			n.Disco = u.Disco
		}
		if u.Cap != 0 {
			n.Cap = u.Cap
		}
		n.Endpoints, n.LockHead = u.Endpoints, u.LockHead
		switch fields := diff(old, &n); {
		case fields == 0:
			return old, nil
		case fields.Only(FieldLatency):
			t.setVolatile(old, &n)
		default:
			n.LastSeen = t.laterSeen(old, t.now)
			t.setNode(old, &n)
		}
		return &n, nil
	})
}

// usableEndpoints returns the endpoints that peers could send to, without
// duplicates.
func usableEndpoints(in []Endpoint) []Endpoint {
	seen := make(map[netip.AddrPort]bool, len(in))
	var out []Endpoint
	for _, e := range in {
		a := e.Addr.Addr()
		if !e.Addr.IsValid() || e.Addr.Port() == 0 || a.Zone() != "" || a.Is6() && a.IsLinkLocalUnicast() || seen[e.Addr] {
			continue
		}
		seen[e.Addr] = true
		if out = append(out, e); len(out) == maxEndpoints {
			break
		}
	}
	return slices.Clip(out)
}

// SetOnline notes that a node has a map session. It lives in memory only and
// stops the removal of an ephemeral node. A node that is online stays so.
func (s *Service) SetOnline(ctx context.Context, id control.NodeID) error {
	run := func(t *tx) error {
		old, err := t.node(id)
		if err != nil {
			return err
		}
		n := *old
		n.Online = true
		t.setVolatile(old, &n)
		return nil
	}
	return s.submit(ctx, &request{run: run, volatile: run, done: make(chan struct{})})
}

// SetOffline notes that a node's last map session has ended at lastSeen, which
// is stored. An ephemeral node is removed after Options.EphemeralTimeout unless
// it comes back. Should the disk refuse, the node is offline all the same.
func (s *Service) SetOffline(ctx context.Context, id control.NodeID, lastSeen time.Time) error {
	off := func(t *tx) (old, n *Node, err error) {
		if old, err = t.node(id); err != nil {
			return nil, nil, err
		}
		c := *old
		c.Online, c.LastSeen = false, t.laterSeen(old, lastSeen)
		return old, &c, nil
	}
	r := &request{done: make(chan struct{})}
	r.run = func(t *tx) error {
		old, n, err := off(t)
		if err == nil {
			t.setNode(old, n)
		}
		return err
	}
	r.volatile = func(t *tx) error {
		old, n, err := off(t)
		if err == nil {
			t.setVolatile(old, n)
		}
		return err
	}
	return s.submit(ctx, r)
}

// maxClockStep is how far a clock may be set back before what it said earlier no
// longer counts.
const maxClockStep = 10 * time.Minute

// laterSeen returns when a node was last seen, given that it was at that time. It
// never goes back, but from a time so far ahead that the clock must have been wrong.
func (t *tx) laterSeen(n *Node, at time.Time) time.Time {
	if at = normalTime(at); n.LastSeen.After(at) && !n.LastSeen.After(t.now.Add(maxClockStep)) {
		return n.LastSeen
	}
	return at
}

// NoteSeen stores when nodes were last connected, by ID. It makes nobody offline:
// it is for a server that ends, whose nodes will be back. Unknown nodes do not
// count.
func (s *Service) NoteSeen(ctx context.Context, seen map[control.NodeID]time.Time) error {
	return s.do(ctx, func(t *tx) error {
		for _, id := range slices.Sorted(maps.Keys(seen)) {
			if old := t.Node(id); old != nil {
				n := *old
				n.LastSeen = t.laterSeen(old, seen[id])
				t.setNode(old, &n)
			}
		}
		return nil
	})
}
