package upnp

import (
	"fmt"
	"slices"
	"strings"
)

// The types of services that map ports, best first.
const (
	WANIPConnection2 = "urn:schemas-upnp-org:service:WANIPConnection:2"
	WANIPConnection1 = "urn:schemas-upnp-org:service:WANIPConnection:1"
	WANPPPConnection = "urn:schemas-upnp-org:service:WANPPPConnection:1"
	legacyPPP        = "urn:dslforum-org:service:WANPPPConnection:1"
	legacyIP         = "urn:dslforum-org:service:WANIPConnection:1"
)

var mappers = []string{WANIPConnection2, WANIPConnection1, WANPPPConnection, legacyPPP, legacyIP}

// maxServices is how many services of a device are looked at.
const maxServices = 64

// Service is one service of a device.
type Service struct {
	// Type is a URN such as WANIPConnection1.
	Type string
	// ControlURL is where calls are posted, relative to the base or the description's
	// location.
	ControlURL string
}

// Device is what a description says, as far as it is of use.
type Device struct {
	// Base is the URL that others are relative to; mostly empty, for the location of the
	// description.
	Base string
	// Type, Maker and Model are of the root device.
	Type, Maker, Model string
	// Services are those of the device and all devices in it.
	Services []Service
}

// Mappers returns the services that map ports, best first.
func (d *Device) Mappers() (list []Service) {
	for _, t := range mappers {
		for _, s := range d.Services {
			if s.Type == t && !slices.Contains(list, s) {
				list = append(list, s)
			}
		}
	}
	return list
}

// ParseDescription reads the description of a device.
func ParseDescription(b []byte) (*Device, error) {
	d := &Device{}
	root := false
	var s Service
	err := walk(b, nil, func(path []string, text string) error {
		root = root || path[0] == "root"
		first := len(path) == 3 && path[1] == "device"
		switch name := path[len(path)-1]; {
		case name == "URLBase" && len(path) == 2:
			d.Base = text
		case name == "deviceType" && first:
			d.Type = text
		case name == "manufacturer" && first:
			d.Maker = text
		case name == "modelName" && first:
			d.Model = text
		case name == "serviceType":
			s.Type = text
		case name == "controlURL":
			s.ControlURL = text
		case name == "service":
			if s.Type != "" && s.ControlURL != "" {
				d.Services = append(d.Services, s)
			}
			s = Service{}
			if len(d.Services) > maxServices {
				return fmt.Errorf("%w: more than %d services", ErrTooLarge, maxServices)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !root {
		return nil, fmt.Errorf("%w: no description of a device", ErrXML)
	}
	return d, nil
}

// Append appends the description of a gateway with these services, in the nesting that
// gateways have.
func (d *Device) Append(b []byte) []byte {
	var services strings.Builder
	for i, s := range d.Services {
		fmt.Fprintf(&services, "<service><serviceType>%s</serviceType><serviceId>urn:upnp-org:serviceId:WANConn%d</serviceId>"+
			"<SCPDURL>/scpd%d.xml</SCPDURL><controlURL>%s</controlURL><eventSubURL>/evt%d</eventSubURL></service>",
			escape(s.Type), i+1, i+1, escape(s.ControlURL), i+1)
	}
	version := "1"
	if strings.HasSuffix(d.Type, ":2") {
		version = "2"
	}
	nested := func(kind, inner string) string {
		return "<deviceList><device><deviceType>urn:schemas-upnp-org:device:" + kind + ":" + version + "</deviceType>" + inner + "</device></deviceList>"
	}
	base := ""
	if d.Base != "" {
		base = "<URLBase>" + escape(d.Base) + "</URLBase>"
	}
	return fmt.Appendf(b, `<?xml version="1.0"?>`+"\n"+`<root xmlns="urn:schemas-upnp-org:device-1-0">`+
		"<specVersion><major>1</major><minor>1</minor></specVersion>%s<device><deviceType>%s</deviceType>"+
		"<friendlyName>%s</friendlyName><manufacturer>%s</manufacturer><modelName>%s</modelName>%s</device></root>\n",
		base, escape(d.Type), escape(d.Model), escape(d.Maker), escape(d.Model),
		nested("WANDevice", nested("WANConnectionDevice", "<serviceList>"+services.String()+"</serviceList>")))
}
