package maps

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// Peers are told of endpoints that are new to them, not of the ports that a NAT
// makes up anew, nor of endpoints that are gone; who looks later gets the newest.
func TestEndpointNoise(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		s, _ := w.open(a)
		home := 0
		latency := 0.1
		report := func(endpoints ...string) {
			t.Helper()
			var list []tailnet.Endpoint
			for _, text := range endpoints {
				e := tailnet.Endpoint{Addr: netip.MustParseAddrPort(text[2:])}
				switch text[0] {
				case 'l':
					e.Type = control.EndpointLocal
				case 's':
					e.Type = control.EndpointSTUN
				}
				list = append(list, e)
			}
			hi := &control.Hostinfo{OS: "linux", Hostname: "b", NetInfo: &control.NetInfo{PreferredDERP: home, DERPLatency: map[string]float64{"1": latency}}}
			if _, err := w.svc.UpdateNode(t.Context(), b.ID, tailnet.NodeUpdate{Endpoints: list, Hostinfo: hi}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		patch := func(members string) string { return `{"PeersChangedPatch":[{"NodeID":2,` + members + `}]}` }
		want := func(text string) {
			t.Helper()
			if got := w.text(s); got != text {
				t.Errorf("told %s, want %s", got, text)
			}
		}
		report("l 10.0.0.2:1")
		want(patch(`"Endpoints":["10.0.0.2:1"]`))
		report("l 10.0.0.2:1", "s 192.0.2.1:10") // the first address from outside
		want(patch(`"Endpoints":["10.0.0.2:1","192.0.2.1:10"]`))
		report("l 10.0.0.2:1", "s 192.0.2.1:11")
		want("")
		report("s 192.0.2.1:12", "s 192.0.2.1:13", "l 10.0.0.2:1")
		want("")
		report("l 10.0.0.2:1")
		want("")
		latency = 0.2
		report("l 10.0.0.2:1")
		want("")
		_, m := w.open(a)
		if got := m.Peers[0].Endpoints; len(got) != 1 || got[0].String() != "10.0.0.2:1" {
			t.Errorf("the full map has endpoints %v", got)
		}
		report("l 10.0.0.2:1", "s 192.0.2.1:14") // peers may have dropped it meanwhile
		want(patch(`"Endpoints":["10.0.0.2:1","192.0.2.1:14"]`))
		report("l 10.0.0.2:1", "s 192.0.2.2:14")
		want(patch(`"Endpoints":["10.0.0.2:1","192.0.2.2:14"]`))
		report("l 10.0.0.2:2", "s 192.0.2.2:14") // a local port is no NAT's
		want(patch(`"Endpoints":["10.0.0.2:2","192.0.2.2:14"]`))
		report("? 192.0.2.2:14")
		want("")
		report("? 192.0.2.2:15") // who says no types is told in full
		want(patch(`"Endpoints":["192.0.2.2:15"]`))
		home = 7 // with other news the endpoints go along
		report("l 10.0.0.2:2")
		want(patch(`"DERPRegion":7,"Endpoints":["10.0.0.2:2"]`))
		report() // it can be reached by relays only
		want(patch(`"Endpoints":[]`))
		if err := w.svc.SetOnline(t.Context(), b.ID); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		want(`{"OnlineChange":{"2":true}}`)
		// Merged into one frame, steps that are noise one by one still are.
		report("s 192.0.2.9:1")
		want(patch(`"Endpoints":["192.0.2.9:1"]`))
		for _, port := range []string{"2", "3", "4"} {
			report("s 192.0.2.9:" + port)
		}
		want("")
	})
}
