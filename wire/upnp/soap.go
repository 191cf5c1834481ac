package upnp

import (
	"encoding/xml"
	"fmt"
	"strconv"
	"strings"
)

// maxArgs is how many arguments of a call or an answer are kept.
const maxArgs = 32

// Arg is an argument of a call, or of its answer.
type Arg struct{ Name, Value string }

// Args are the arguments of a call or an answer.
type Args []Arg

// Get returns the value of an argument, "" if it is not there. Names are compared without
// regard to case, as devices write them.
func (a Args) Get(name string) string {
	for _, x := range a {
		if strings.EqualFold(x.Name, name) {
			return x.Value
		}
	}
	return ""
}

// Call is a call of an action of a service.
type Call struct {
	// Service is the type of the service, a URN.
	Service string
	Action  string
	Args    Args
}

// Header returns the value of the header SOAPAction, which the call is posted with.
func (c Call) Header() string { return `"` + c.Service + "#" + c.Action + `"` }

const (
	envelopeStart = `<?xml version="1.0"?>` + "\r\n" + `<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ` +
		`s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>`
	envelopeEnd = "</s:Body></s:Envelope>\r\n"
)

// Append appends the body of the call.
func (c Call) Append(b []byte) []byte { return appendBody(b, c.Service, c.Action, c.Args) }

// AppendAnswer appends the body of the answer to the call.
func (c Call) AppendAnswer(b []byte, args Args) []byte {
	return appendBody(b, c.Service, c.Action+"Response", args)
}

func appendBody(b []byte, service, element string, args Args) []byte {
	b = append(b, envelopeStart...)
	b = fmt.Appendf(b, `<u:%s xmlns:u="%s">`, element, escape(service))
	for _, a := range args {
		b = fmt.Appendf(b, "<%s>%s</%s>", a.Name, escape(a.Value), a.Name)
	}
	b = fmt.Appendf(b, "</u:%s>", element)
	return append(b, envelopeEnd...)
}

// ParseCall reads the body of a call, as a device does.
func ParseCall(b []byte) (Call, error) {
	element, space, args, fault, err := parseBody(b)
	if err != nil {
		return Call{}, err
	}
	if fault != nil || space == "" {
		return Call{}, fmt.Errorf("%w: no call", ErrXML)
	}
	return Call{Service: space, Action: element, Args: args}, nil
}

// ParseAnswer reads the body of the answer to the call. The error is a *Fault if the
// device refused.
func (c Call) ParseAnswer(b []byte) (Args, error) {
	element, _, args, fault, err := parseBody(b)
	if err != nil {
		return nil, err
	}
	if fault != nil {
		return nil, fault
	}
	if element != c.Action+"Response" {
		return nil, fmt.Errorf("%w: %.40q answers %s", ErrXML, element, c.Action)
	}
	return args, nil
}

// parseBody reads the one element in the body of an envelope, with its children.
func parseBody(b []byte) (element, space string, args Args, fault *Fault, err error) {
	var f Fault
	err = walk(b,
		func(path []string, e xml.StartElement) {
			if len(path) == 3 && element == "" && path[0] == "Envelope" && path[1] == "Body" {
				element, space = e.Name.Local, e.Name.Space
			}
		},
		func(path []string, text string) error {
			if len(path) < 4 || path[0] != "Envelope" || path[1] != "Body" || path[2] != element {
				return nil
			}
			switch name := path[len(path)-1]; {
			case name == "errorCode":
				f.Code, _ = strconv.Atoi(text)
			case name == "errorDescription":
				f.Description = text
			case len(path) == 4 && len(args) < maxArgs:
				args = append(args, Arg{name, text})
			}
			return nil
		})
	switch {
	case err != nil:
		return "", "", nil, nil, err
	case element == "":
		return "", "", nil, nil, fmt.Errorf("%w: no SOAP body", ErrXML)
	case element == "Fault":
		return element, space, nil, &f, nil
	}
	return element, space, args, nil, nil
}

// The codes of faults (WANIPConnection:2, section 2.5; UPnP Device Architecture 1.1,
// section 3.2.2).
const (
	InvalidAction     = 401
	InvalidArgs       = 402
	ActionFailed      = 501
	NotAuthorized     = 606
	NoSuchEntry       = 714
	WildcardPort      = 716 // no wildcard for the external port
	Conflict          = 718 // with a mapping of another host
	SamePortRequired  = 724 // external and internal port must be equal
	OnlyPermanent     = 725 // leases
	NoPortMaps        = 728 // no port is free
	ConflictMechanism = 729 // with something other than UPnP
)

// Fault is the refusal of a call.
type Fault struct {
	Code        int
	Description string
}

// Error says what the device said.
func (f *Fault) Error() string {
	return fmt.Sprintf("upnp: the gateway refused: %d %.60q", f.Code, f.Description)
}

// Append appends the body of the refusal.
func (f *Fault) Append(b []byte) []byte {
	b = append(b, envelopeStart...)
	b = fmt.Appendf(b, `<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>`+
		`<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode><errorDescription>%s</errorDescription>`+
		`</UPnPError></detail></s:Fault>`, f.Code, escape(f.Description))
	return append(b, envelopeEnd...)
}
