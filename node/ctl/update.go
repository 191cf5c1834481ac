package ctl

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/key"
)

// updateTimeout bounds one lite update.
const updateTimeout = 30 * time.Second

// Local is what the server is told of the node, beside its keys. Values handed to
// a Client are not to be changed afterwards.
type Local struct {
	Hostinfo      *control.Hostinfo // never nil once set
	DiscoKey      key.DiscoPublic
	Endpoints     []netip.AddrPort
	EndpointTypes []control.EndpointType // as long as Endpoints
}

func (l Local) equal(o Local) bool {
	return l.DiscoKey == o.DiscoKey && slices.Equal(l.Endpoints, o.Endpoints) &&
		slices.Equal(l.EndpointTypes, o.EndpointTypes) && l.Hostinfo.Equal(o.Hostinfo)
}

// localState returns the latest Local.
func (c *Client) localState() Local {
	c.localMu.Lock()
	defer c.localMu.Unlock()
	return c.local
}

// SetLocal says what the server is to know of the node from now on. While logged
// in the server is told of changes, until it has confirmed them.
func (c *Client) SetLocal(l Local) {
	c.localMu.Lock()
	defer c.localMu.Unlock()
	if l.equal(c.local) {
		return
	}
	c.local = l
	c.localGen++
	close(c.localChanged)
	c.localChanged = make(chan struct{})
}

// localAfter returns the present Local, its generation, and a channel that is
// closed when there is a newer one.
func (c *Client) localAfter() (Local, uint64, <-chan struct{}) {
	c.localMu.Lock()
	defer c.localMu.Unlock()
	return c.local, c.localGen, c.localChanged
}

// update keeps the server informed until ctx ends: one lite update at first, and
// one after every change, each repeated until it is confirmed.
func (c *Client) update(ctx context.Context, nodeKey key.NodePublic) {
	var pause backoff
	confirmed, any := uint64(0), false
	for ctx.Err() == nil {
		local, generation, changed := c.localAfter()
		if any && confirmed == generation {
			select {
			case <-ctx.Done():
			case <-changed:
			}
			continue
		}
		wake := c.linkWake()
		err := c.sendUpdate(ctx, nodeKey, local)
		if err == nil {
			confirmed, any = generation, true
			pause.reset()
			continue
		}
		if ctx.Err() == nil {
			c.log.Debug("telling the server about this node failed", "err", err)
		}
		wait := pause.next()
		var limited *RateLimitedError
		if errors.As(err, &limited) {
			wait = limited.Wait
		}
		sleep(ctx, wait, wake)
	}
}

func (c *Client) sendUpdate(ctx context.Context, nodeKey key.NodePublic, local Local) error {
	ctx, cancel := context.WithTimeoutCause(ctx, updateTimeout, errSilent)
	defer cancel()
	err := c.transport.post(ctx, "/machine/map", &control.MapRequest{
		Version: control.CurrentCapabilityVersion, OmitPeers: true,
		NodeKey: nodeKey, DiscoKey: local.DiscoKey, Hostinfo: local.Hostinfo,
		Endpoints: local.Endpoints, EndpointTypes: local.EndpointTypes,
	}, nil, nodeKey)
	if errors.Is(err, errSilent) {
		c.transport.drop()
	}
	return err
}
