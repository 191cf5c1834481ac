//go:build linux

package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/ginnel/ginnel/e2e/lab"
	"github.com/ginnel/ginnel/wire/control"
)

// TestMixedFamilies joins a machine that has IPv6 only, one that has IPv6 and
// IPv4 behind a home router, and one that has IPv4 only. Each pair talks: by the
// family that both have, and through the relay where there is none.
func TestMixedFamilies(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	internet := l.Switch("net")
	s := dualStackServer(t, l, internet)
	key := s.authKey("--reusable")

	home := homeHost(l, internet, "home", "203.0.113.12")
	hostSix, hostFour := l.Host("six"), l.Host("four")
	hostSix.Plug(internet, "2001:db8::6/64")
	hostSix.DefaultRoute("2001:db8::12") // the home router: nothing else lies beyond
	hostFour.Plug(internet, "203.0.113.4/24")
	hostFour.DefaultRoute("203.0.113.1")

	overSix := *s
	overSix.url = "http://[2001:db8::1]:8080"
	six := join(t, l, &overSix, hostSix, key)
	both := join(t, l, s, home, key)
	four := join(t, l, s, hostFour, key)
	serveEcho(t, hostSix)
	serveEcho(t, hostFour)
	for _, c := range []struct {
		from, to *node
		via      string
	}{
		{both, six, "[2001:db8::6]:"},
		{six, both, "[2001:db8:12::2]:"},
		{both, four, "203.0.113.4:"},
		{four, both, "203.0.113.12:"},
		{six, four, "DERP(dual)"},
		{four, six, "DERP(dual)"},
	} {
		c.from.waitReach(c.to)
		c.from.waitPath(c.to, c.via)
	}
	for _, from := range []*node{both, four} {
		openStream(t, from, six.ip4).bulk(1 << 20)
		openStream(t, from, six.ip6).bulk(1 << 20)
	}
	openStream(t, six, four.ip4).bulk(1 << 20)
}

// dualStackServer runs a server and a relay that are reached by both families.
func dualStackServer(t *testing.T, l *lab.Lab, internet *lab.Switch) *server {
	t.Helper()
	host := l.Host("server")
	host.Plug(internet, "203.0.113.1/24", "2001:db8::1/64")
	host.DefaultRoute("2001:db8::12")
	_, entry := startRelay(t, l, host, "203.0.113.1", "951", "dual")
	var regions control.DERPMap
	for id, text := range entry {
		region := new(control.DERPRegion)
		number, err := strconv.Atoi(id)
		if err == nil {
			err = json.Unmarshal(text, region)
		}
		if err != nil {
			t.Fatal(err)
		}
		region.Nodes[0].IPv6 = "2001:db8::1"
		regions.Regions = map[int]*control.DERPRegion{number: region}
	}
	file := filepath.Join(l.Dir(), "relays.json")
	text, err := json.Marshal(regions)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return startServer(t, l, host, "203.0.113.1", "--derp-map", file, "--relay=false", "--stun=") // the relay has STUN
}
