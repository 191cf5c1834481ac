//go:build linux

package mesh

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"github.com/ginnel/ginnel/bench/rig"
	"github.com/ginnel/ginnel/wire/control"
)

const (
	derperRegion = 901
	derperPort   = 8443
)

// StartDerper runs the official relay on the host, under its IPv4 address, with
// a certificate of its own making. It returns the relay and the file with the
// relay map for a server's --derp-map.
func StartDerper(ctx context.Context, bin Programs, r *rig.Rig, host *rig.Host, addr string) (*rig.Process, string, error) {
	dir := filepath.Join(r.Dir(), "derper")
	p, err := host.Start("derper", nil, bin.path("derper"), "-c", filepath.Join(dir, "derper.json"),
		"-a", addr+":"+strconv.Itoa(derperPort), "-hostname", addr, "-certmode", "manual", "-certdir", dir,
		"-http-port", "-1", "-stun=false")
	if err != nil {
		return nil, "", err
	}
	var pin [sha256.Size]byte
	err = p.Until(ctx, "the relay serves TLS", func() error {
		conn, err := host.Dial(ctx, "tcp", addr+":"+strconv.Itoa(derperPort))
		if err != nil {
			return err
		}
		defer conn.Close()
		// The certificate is what is being asked for: the relay map pins it.
		tc := tls.Client(conn, &tls.Config{ServerName: addr, InsecureSkipVerify: true})
		if err := tc.HandshakeContext(ctx); err != nil {
			return err
		}
		pin = sha256.Sum256(tc.ConnectionState().PeerCertificates[0].Raw)
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	region := &control.DERPRegion{RegionID: derperRegion, RegionCode: "official", RegionName: "official relay", Nodes: []*control.DERPNode{{
		Name: "official-1", RegionID: derperRegion, HostName: addr, IPv4: netip.MustParseAddr(addr).String(), IPv6: "none",
		CertName: fmt.Sprintf("sha256-raw:%x", pin), DERPPort: derperPort, STUNPort: -1,
	}}}
	text, err := json.Marshal(control.DERPMap{Regions: map[int]*control.DERPRegion{derperRegion: region}})
	if err != nil {
		return nil, "", err
	}
	file := filepath.Join(r.Dir(), "derpmap.json")
	return p, file, os.WriteFile(file, text, 0o600)
}
