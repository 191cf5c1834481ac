package netcheck

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/ginnel/ginnel/relay/client"
	"github.com/ginnel/ginnel/wire/control"
)

// fallback measures regions over HTTPS if no STUN answer comes soon, until ctx ends.
func (r *run) fallback(ctx context.Context) {
	if r.c.Send != nil {
		select {
		case <-time.After(httpsAfter):
		case <-ctx.Done():
			return
		}
		if r.gotUDP() {
			return
		}
	}
	var wg sync.WaitGroup
	for _, region := range sortedRegions(r.m, func(g *control.DERPRegion) bool { return measurable(g) && !g.Avoid }) {
		wg.Go(func() {
			d, err := r.c.httpsLatency(ctx, region)
			if err != nil {
				r.log.Debug("no HTTPS latency", "region", region.RegionCode, "error", err)
				return
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.https[region.RegionID] = d
		})
	}
	wg.Wait()
}

// httpsLatency measures one request to the first relay of a region, on a connection
// that is set up before (wire document relay, section 13).
func (c *Client) httpsLatency(ctx context.Context, region *control.DERPRegion) (time.Duration, error) {
	err := errors.New("region has no relay")
	for _, n := range region.Nodes {
		if n.STUNOnly {
			continue
		}
		var d time.Duration
		if d, err = c.nodeLatency(ctx, n); err == nil {
			return d, nil
		}
	}
	return 0, err
}

// nodeLatency measures one request to a relay.
func (c *Client) nodeLatency(ctx context.Context, n *control.DERPNode) (time.Duration, error) {
	conn, err := client.DialTLS(ctx, n, client.Options{DialContext: c.Dial})
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.NetConn().Close() })()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+n.HostName+"/derp/latency-check", nil)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := req.Write(conn); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	if resp.StatusCode > 299 {
		return 0, fmt.Errorf("latency check: status %d", resp.StatusCode)
	}
	return time.Since(start), nil
}
