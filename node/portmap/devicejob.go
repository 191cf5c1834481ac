package portmap

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/upnp"
)

// candidate is a device that answered a search.
type candidate struct {
	upnp.Answer
	own bool // the answer came from the gateway's address
}

// add remembers a device to ask, once.
func (r *round) add(c candidate, now time.Time) {
	same := func(o candidate) bool { return o.Location == c.Location && o.Server == c.Server }
	if len(r.candidates) >= maxCandidates || slices.ContainsFunc(r.candidates, same) {
		return
	}
	r.candidates = append(r.candidates, c)
	if r.tryAt.IsZero() && !r.busy {
		r.tryAt = now.Add(gatherTime)
	}
}

// tryDevices asks the devices that answered and were not asked yet, the gateway itself
// first, then newer versions.
func (r *round) tryDevices(now time.Time) {
	list := slices.Clone(r.candidates[r.tried:])
	if r.busy || len(list) == 0 {
		return
	}
	r.tried = len(r.candidates)
	slices.SortStableFunc(list, func(a, b candidate) int {
		if a.own != b.own {
			if a.own {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(b.USN, a.USN), cmp.Compare(a.Location, b.Location), cmp.Compare(a.Server, b.Server))
	})
	list = slices.CompactFunc(list, func(a, b candidate) bool { return a.Location == b.Location })
	list = list[:min(len(list), maxDevices)]
	s, port := r.s, r.s.port
	r.device(func(ctx context.Context, d *device) (grant, error) {
		return d.find(ctx, list, port, r.wanted.Load)
	}, func(g grant, err error) {
		now := time.Now()
		if err == nil {
			s.devices = list
			s.seen[UPnP] = now
			_ = r.grant(g, now)
		}
		if s.round == r && r.tried < len(r.candidates) {
			r.tryDevices(now)
		}
	})
}

// callDevice renews or checks the mapping with the device that granted it.
func (r *round) callDevice(time.Time) {
	s, h := r.s, r.s.held
	r.device(func(ctx context.Context, d *device) (grant, error) {
		if r.kind == check {
			return grant{}, d.intact(ctx, h)
		}
		return d.add(ctx, h.device, h.external.Port(), r.wanted.Load)
	}, func(g grant, err error) {
		now := time.Now()
		if err == nil {
			s.seen[UPnP] = now
		}
		switch {
		case r.kind == check && err == nil:
			s.misses, s.checkAt = 0, now.Add(checkEvery)
			s.end()
		case r.kind == check:
			s.checkAt = now.Add(checkRetry)
			s.lost(now, err.Error())
			s.end()
		case err != nil || !r.grant(g, now):
			if s.round == r {
				s.failed(now)
			}
		}
	})
}

// device runs ask aside, and done in the loop unless the round is over by then. A mapping
// that comes too late is released.
func (r *round) device(ask func(context.Context, *device) (grant, error), done func(grant, error)) {
	r.busy = true
	s, m := r.s, r.s.m
	d := m.device(s.key.gateway, s.internal())
	m.job(func() {
		ctx, cancel := context.WithTimeout(m.ctx, jobTime)
		defer cancel()
		g, err := ask(ctx, d)
		posted := m.post(func() {
			r.busy = false
			switch {
			case s.round == r:
				done(g, err)
				s.settle(time.Now())
			case err == nil && g.via != "":
				s.lateGrant(g, time.Now())
			}
		})
		if !posted && err == nil && g.via != "" {
			d.clean(g.device, upnp.Mapping{Protocol: upnp.UDP, External: g.external.Port(), Internal: g.internal})
		}
	})
}
