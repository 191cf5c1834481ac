//go:build linux

package mesh

import (
	"context"
	"path/filepath"

	"github.com/ginnel/ginnel/bench/rig"
)

// StartRelay runs a relay of its own, ginnel-relay, that admits everybody, and
// waits until it listens on the numeric address, which may be "127.0.0.1:443".
func StartRelay(ctx context.Context, bin Programs, r *rig.Rig, host *rig.Host, addr string) (*rig.Process, error) {
	p, err := host.Start("ginnel-relay", nil, bin.path("ginnel-relay"), "--listen", addr, "--http-listen", "", "--stun-listen", "",
		"--data-dir", filepath.Join(r.Dir(), "ginnel-relay"), "--hostname", "127.0.0.1")
	if err != nil {
		return nil, err
	}
	return p, p.Until(ctx, "the relay listens", func() error {
		conn, err := host.Dial(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	})
}
