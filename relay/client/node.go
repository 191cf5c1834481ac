package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/ginnel/ginnel/wire/control"
)

// DialTLS opens a TLS connection to one relay for a request beside the relay protocol,
// with the relay's certificate verified as that of any relay (wire document relay,
// sections 2.4 and 2.5). Of the options it uses DialContext, Proxy, TLSConfig and
// PreferIPv6. It takes at most ten seconds.
func DialTLS(ctx context.Context, node *control.DERPNode, o Options) (*tls.Conn, error) {
	o.fill()
	targets := nodeTargets(&control.DERPRegion{Nodes: []*control.DERPNode{node}})
	if len(targets) == 0 {
		return nil, errors.New("relay client: the node is no relay")
	}
	t := targets[0]
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, err := dialTarget(ctx, &o, t)
	if err != nil {
		return nil, fmt.Errorf("relay client: %s: %w", t.hostPort(), err)
	}
	conn, _, err := startTLS(ctx, &o, t, raw)
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("relay client: %w", err)
	}
	return conn, nil
}
