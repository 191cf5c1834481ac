package upnp

import (
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestSearch(t *testing.T) {
	b := AppendSearch(nil, SearchAll, 2)
	want := "M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nST: ssdp:all\r\nMAN: \"ssdp:discover\"\r\nMX: 2\r\n\r\n"
	if string(b) != want {
		t.Errorf("search\n%s", b)
	}
	if target, err := ParseSearch(b); err != nil || target != SearchAll {
		t.Errorf("search parses to %q, %v", target, err)
	}
	for _, bad := range []string{"", "NOTIFY * HTTP/1.1\r\n\r\n", "M-SEARCH * HTTP/1.1\r\nST: x\r\n\r\n", "M-SEARCH * HTTP/1.1\r\nMAN: \"ssdp:discover\"\r\n\r\n"} {
		if _, err := ParseSearch([]byte(bad)); !errors.Is(err, ErrNotSSDP) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// answerText is shaped like what a common gateway sends.
const answerText = "HTTP/1.1 200 OK\r\ncache-control: max-age=120\r\nST: urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\n" +
	"USN: uuid:0b4e-1::urn:schemas-upnp-org:device:InternetGatewayDevice:2\r\nEXT:\r\nServer: Linux/5.4 UPnP/1.1 Gate/2.3\r\n" +
	"LOCATION: http://192.168.1.1:5000/rootDesc.xml\r\nOPT: \"http://schemas.upnp.org/upnp/1/0/\"; ns=01\r\n\r\n"

func TestAnswer(t *testing.T) {
	a, err := ParseAnswer([]byte(answerText))
	want := Answer{
		Location: "http://192.168.1.1:5000/rootDesc.xml", Server: "Linux/5.4 UPnP/1.1 Gate/2.3",
		USN: "uuid:0b4e-1::" + SearchGateway2, Target: SearchGateway2,
	}
	if err != nil || a != want || !a.IsGateway() {
		t.Errorf("answer parses to %+v, %v", a, err)
	}
	if again, err := ParseAnswer(a.Append(nil)); err != nil || again != a {
		t.Errorf("%+v became %+v, %v", a, again, err)
	}
	if _, err := ParseAnswer([]byte(strings.ReplaceAll(answerText, "\r\n", "\n"))); err != nil {
		t.Errorf("bare line feeds: %v", err)
	}
	for _, bad := range []string{
		"", "HTTP/1.1 404 Not Found\r\nLocation: http://x/\r\n\r\n", "HTTP/1.1 200 OK\r\nST: x\r\n\r\n", "HTTP/1.1",
		"HTTP/1.1 200 OK\r\nLocation: http://x/" + strings.Repeat("x", 600) + "\r\n\r\n",
	} {
		if _, err := ParseAnswer([]byte(bad)); !errors.Is(err, ErrNotSSDP) {
			t.Errorf("%.60q: %v", bad, err)
		}
	}
	for _, huge := range []string{strings.Repeat("x", MaxSearch+1), "HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 100)} {
		if _, err := ParseAnswer([]byte(huge)); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%d bytes: %v", len(huge), err)
		}
	}
	if (Answer{Target: "urn:schemas-upnp-org:device:MediaServer:1"}).IsGateway() {
		t.Error("a media server is a gateway")
	}
}

var device = &Device{
	Base: "http://192.168.1.1:5000/", Type: SearchGateway, Maker: "A & B", Model: "<Gate>",
	Services: []Service{
		{"urn:schemas-upnp-org:service:WANCommonInterfaceConfig:1", "/ctl/Common"},
		{WANPPPConnection, "/ctl/PPP"}, {WANIPConnection1, "/ctl/IP"}, {WANIPConnection1, "/ctl/IP"},
	},
}

func TestDescription(t *testing.T) {
	d, err := ParseDescription(device.Append(nil))
	if err != nil || !reflect.DeepEqual(d, device) {
		t.Errorf("%+v became %+v, %v", device, d, err)
	}
	if got, want := d.Mappers(), []Service{{WANIPConnection1, "/ctl/IP"}, {WANPPPConnection, "/ctl/PPP"}}; !reflect.DeepEqual(got, want) {
		t.Errorf("services that map ports: %v", got)
	}
	for name, c := range map[string]struct {
		text string
		err  error
	}{
		"nothing":       {"", ErrXML},
		"text":          {"hello", ErrXML},
		"a web page":    {"<html><body>hello</body></html>", ErrXML},
		"cut":           {string(device.Append(nil)[:700]), ErrXML},
		"closes alone":  {"</root>", ErrXML},
		"deep":          {strings.Repeat("<root>", 10000), ErrTooLarge},
		"many elements": {"<root>" + strings.Repeat("<a/>", 9000) + "</root>", ErrTooLarge},
		"many services": {"<root>" + strings.Repeat("<service><serviceType>a</serviceType><controlURL>b</controlURL></service>", 65) + "</root>", ErrTooLarge},
		"huge":          {"<root>" + strings.Repeat("x", MaxDocument) + "</root>", ErrTooLarge},
		"entities":      {`<!DOCTYPE root [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><root><URLBase>&b;</URLBase></root>`, nil},
		"latin1":        {`<?xml version="1.0" encoding="ISO-8859-1"?><root><device><modelName>Bo` + "\xeete" + `</modelName></device></root>`, nil},
	} {
		if _, err := ParseDescription([]byte(c.text)); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, want %v", name, err, c.err)
		}
	}
	long, err := ParseDescription([]byte("<root><URLBase>" + strings.Repeat("x", 5000) + "</URLBase></root>"))
	if err != nil || len(long.Base) != maxText {
		t.Errorf("a long text: %v", err)
	}
}

var mapping = Mapping{
	Protocol: UDP, External: 45056, Internal: netip.MustParseAddrPort("192.168.1.10:41314"), Description: "ginnel", Lease: 7200,
}

func TestCalls(t *testing.T) {
	c := mapping.Add(WANIPConnection1, ActionAdd)
	if h := c.Header(); h != `"urn:schemas-upnp-org:service:WANIPConnection:1#AddPortMapping"` {
		t.Errorf("header %s", h)
	}
	want := `<?xml version="1.0"?>` + "\r\n" + `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">` +
		`<s:Body><u:AddPortMapping xmlns:u="urn:schemas-upnp-org:service:WANIPConnection:1"><NewRemoteHost></NewRemoteHost><NewExternalPort>45056</NewExternalPort>` +
		`<NewProtocol>UDP</NewProtocol><NewInternalPort>41314</NewInternalPort><NewInternalClient>192.168.1.10</NewInternalClient><NewEnabled>1</NewEnabled>` +
		`<NewPortMappingDescription>ginnel</NewPortMappingDescription><NewLeaseDuration>7200</NewLeaseDuration></u:AddPortMapping></s:Body></s:Envelope>` + "\r\n"
	if got := string(c.Append(nil)); got != want {
		t.Errorf("call\n%s", got)
	}
	got, err := ParseCall(c.Append(nil))
	if err != nil || got.Service != c.Service || got.Action != c.Action || !reflect.DeepEqual(got.Args, c.Args) {
		t.Fatalf("%+v became %+v, %v", c, got, err)
	}
	if m, err := ParseMapping(got); err != nil || m != mapping {
		t.Errorf("%+v became %+v, %v", mapping, m, err)
	}
	for _, c := range []Call{mapping.Delete(WANIPConnection2), mapping.Lookup(WANIPConnection2)} {
		if m, err := ParseMapping(c); err != nil || m != (Mapping{Protocol: UDP, External: 45056}) {
			t.Errorf("%s: %+v, %v", c.Action, m, err)
		}
	}
	for _, bad := range [][2]string{
		{"NewExternalPort", "0"}, {"NewExternalPort", "65536"}, {"NewInternalPort", ""}, {"NewInternalClient", "router"}, {"NewLeaseDuration", "-1"},
	} {
		c := mapping.Add(WANIPConnection1, ActionAdd)
		for i := range c.Args {
			if c.Args[i].Name == bad[0] {
				c.Args[i].Value = bad[1]
			}
		}
		if m, err := ParseMapping(c); err == nil {
			t.Errorf("%s %q: %+v", bad[0], bad[1], m)
		}
	}
}

func TestAnswers(t *testing.T) {
	any := mapping.Add(WANIPConnection2, ActionAddAny)
	args, err := any.ParseAnswer(any.AppendAnswer(nil, Args{{"NewReservedPort", "50001"}}))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := ReservedPort(args); err != nil || p != 50001 {
		t.Errorf("port %d, %v", p, err)
	}
	_, err = any.ParseAnswer((&Fault{OnlyPermanent, "OnlyPermanentLeasesSupported"}).Append(nil))
	var f *Fault
	if !errors.As(err, &f) || f.Code != OnlyPermanent || f.Description != "OnlyPermanentLeasesSupported" {
		t.Errorf("fault is %v", err)
	}
	if _, err := any.ParseAnswer(mapping.Delete(WANIPConnection2).AppendAnswer(nil, nil)); !errors.Is(err, ErrXML) {
		t.Errorf("an answer to something else: %v", err)
	}
	for _, bad := range []string{"", "<a/>", "<s:Envelope><s:Body></s:Body></s:Envelope>", "<html>"} {
		if _, err := any.ParseAnswer([]byte(bad)); !errors.Is(err, ErrXML) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for value, ok := range map[string]bool{"203.0.113.5": true, "::ffff:203.0.113.5": true, "": false, "2001:db8::1": false, "router": false} {
		if _, err := ExternalAddr(Args{{"NewExternalIPAddress", value}}); (err == nil) != ok {
			t.Errorf("external address %q: %v", value, err)
		}
	}
	for value, want := range map[string]bool{"Connected": true, "Up": true, "Disconnected": false, "": false} {
		if got := Connected(Args{{"NewConnectionStatus", value}}); got != want {
			t.Errorf("status %q: %v", value, got)
		}
	}
	if to, err := Internal(any.Args); err != nil || to != mapping.Internal {
		t.Errorf("internal %v, %v", to, err)
	}
}

// FuzzSearch parses arbitrary messages of SSDP.
func FuzzSearch(f *testing.F) {
	f.Add([]byte(answerText))
	f.Add(AppendSearch(nil, SearchGateway, 2))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := ParseAnswer(b); err == nil && len(a.Location) > maxLocation {
			t.Fatalf("location of %d bytes", len(a.Location))
		}
		if target, err := ParseSearch(b); err == nil && target == "" {
			t.Fatal("search for nothing")
		}
	})
}

// FuzzDescription parses arbitrary descriptions.
func FuzzDescription(f *testing.F) {
	f.Add(device.Append(nil))
	f.Add([]byte(`<!DOCTYPE a [<!ENTITY b "c">]><root>&b;<![CDATA[x]]><?pi?></root>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDescription(b)
		if err != nil {
			return
		}
		if len(d.Services) > maxServices || len(d.Mappers()) > len(d.Services) {
			t.Fatalf("%d services, %d of use", len(d.Services), len(d.Mappers()))
		}
		for _, s := range d.Services {
			if len(s.Type) > maxText || len(s.ControlURL) > maxText {
				t.Fatalf("service %+v", s)
			}
		}
	})
}

// FuzzSOAP parses arbitrary calls and answers.
func FuzzSOAP(f *testing.F) {
	for _, service := range []string{WANIPConnection1, WANIPConnection2} {
		c := mapping.Add(service, ActionAddAny)
		f.Add(c.Append(nil))
		f.Add(c.AppendAnswer(nil, Args{{"NewReservedPort", "1"}}))
	}
	f.Add((&Fault{Conflict, "ConflictInMappingEntry"}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCall(b); err == nil {
			_, _ = ParseMapping(c)
			if len(c.Args) > maxArgs {
				t.Fatalf("%d arguments", len(c.Args))
			}
		}
		args, err := Call{Action: ActionAddAny}.ParseAnswer(b)
		_ = fmt.Sprint(err)
		_, _ = ReservedPort(args)
		_, _ = ExternalAddr(args)
		_, _ = Internal(args)
	})
}
