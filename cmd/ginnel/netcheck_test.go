package main

import (
	"encoding/json"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/node/local/api"
	"github.com/ginnel/ginnel/wire/control"
	"github.com/ginnel/ginnel/wire/stun"
)

func testRegions() *control.DERPMap {
	return &control.DERPMap{Regions: map[int]*control.DERPRegion{
		1: {RegionID: 1, RegionCode: "nyc", RegionName: "New York"}, 4: {RegionID: 4, RegionCode: "fra", RegionName: "Frankfurt"},
		7: {RegionID: 7, RegionCode: "x", RegionName: "Nowhere"},
	}}
}

func TestReportText(t *testing.T) {
	r := &api.NetcheckReport{Now: time.Date(2026, 1, 2, 15, 4, 5, 123456789, time.UTC), UDP: true, IPv4: true, OSHasIPv6: true,
		MappingVariesByDestIP: control.False, UPnP: control.True, PMP: control.False, PCP: control.True, CaptivePortal: control.True,
		PreferredDERP: 4, GlobalV4: netip.MustParseAddrPort("203.0.113.5:41234"),
		RegionLatency: map[int]time.Duration{1: 80 * time.Millisecond, 4: 10123456}}
	want := `
Report:
	* Time: 2026-01-02 15:04:05.123456789Z
	* UDP: true
	* IPv4: yes, 203.0.113.5:41234
	* IPv6: no, but OS has support
	* MappingVariesByDestIP: false
	* PortMapping: UPnP, PCP
	* CaptivePortal: true
	* Nearest DERP: Frankfurt
	* DERP latency:
		- fra: 10.1ms  (Frankfurt)
		- nyc: 80ms    (New York)
		-   x:         (Nowhere)
`
	if got := reportText(r, testRegions(), false); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if got := reportText(r, testRegions(), true); !strings.Contains(got, "fra: 10.1ms  (derp4, Frankfurt)") {
		t.Errorf("verbose: %s", got)
	}
	empty := reportText(&api.NetcheckReport{}, &control.DERPMap{}, false)
	for _, line := range []string{"* UDP: false\n", "* IPv4: (no addr found)\n", "* IPv6: no, unavailable in OS\n", "* MappingVariesByDestIP: \n",
		"* PortMapping: not checked\n", "* Nearest DERP: unknown (no response to latency probes)\n"} {
		if !strings.Contains(empty, line) {
			t.Errorf("empty report lacks %q: %s", line, empty)
		}
	}
	if strings.Contains(empty, "CaptivePortal") || strings.Contains(empty, "DERP latency") {
		t.Errorf("empty report says too much: %s", empty)
	}
}

func TestNetcheckByDaemon(t *testing.T) {
	d := newFake(t).running()
	regions, _ := json.Marshal(testRegions())
	d.answers["derpmap"] = string(regions)
	d.answers["netcheck"] = `{"Now":"2026-01-02T15:04:05Z","UDP":true,"PreferredDERP":4,"RegionLatency":{"4":1000000}}`
	if got := d.ginnel("netcheck"); got.code != 0 || !strings.Contains(got.out, "* Nearest DERP: Frankfurt\n") || got.err != "" {
		t.Errorf("got %+v", got)
	}
	var r api.NetcheckReport
	if got := d.ginnel("netcheck", "--format=json-line"); json.Unmarshal([]byte(got.out), &r) != nil || strings.Count(got.out, "\n") != 1 || r.PreferredDERP != 4 {
		t.Errorf("json-line: %+v", got)
	}
	if got := d.ginnel("netcheck", "--format=json"); json.Unmarshal([]byte(got.out), &r) != nil || strings.Count(got.out, "\n") < 10 {
		t.Errorf("json: %+v", got)
	}
	if got := d.ginnel("netcheck", "--format=xml"); got.code != 1 || !strings.HasPrefix(got.err, "ginnel netcheck: unknown output format \"xml\"") {
		t.Errorf("xml: %+v", got)
	}
}

// stunServer answers STUN requests on the loopback address until the test's end.
func stunServer(t *testing.T) *net.UDPAddr {
	t.Helper()
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { pc.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			if tx, err := stun.ParseRequest(buf[:n]); err == nil {
				pc.WriteTo(stun.AppendResponse(nil, tx, from.(*net.UDPAddr).AddrPort()), from)
			}
		}
	}()
	return pc.LocalAddr().(*net.UDPAddr)
}

func TestNetcheckWithoutDaemon(t *testing.T) {
	at := stunServer(t)
	path := filepath.Join(t.TempDir(), "map.json")
	text := `{ // one relay
	"Regions": {"900": {"RegionID": 900, "RegionCode": "me", "RegionName": "Here", "Nodes": [
		{"Name": "900a", "RegionID": 900, "HostName": "127.0.0.1", "IPv4": "127.0.0.1", "IPv6": "none", "STUNPort": ` + strconv.Itoa(at.Port) + `, "STUNOnly": true}]}, "9": null}}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	d := newFake(t)
	d.socket += ".absent"
	got := d.ginnel("netcheck", "--derp-map-file", path)
	if got.code != 0 || !strings.Contains(got.out, "* UDP: true\n") || !strings.Contains(got.out, "* IPv4: yes, 127.0.0.1:") || !strings.Contains(got.out, "-  me: ") {
		t.Errorf("got %+v", got)
	}
	got = d.ginnel("netcheck")
	if got.code != 0 || !strings.HasPrefix(got.err, "Warning: failed to connect to local ginneld") || !strings.Contains(got.out, "* UDP: false\n") {
		t.Errorf("without a map: %+v", got)
	}
	for content, want := range map[string]string{"{}": "has no regions", "[": "relay map ", `{"Regions":1}`: "cannot unmarshal"} {
		os.WriteFile(path, []byte(content), 0o600)
		if got := d.ginnel("netcheck", "--derp-map-file", path); got.code != 1 || !strings.Contains(got.err, want) {
			t.Errorf("map %s: %+v", content, got)
		}
	}
}
