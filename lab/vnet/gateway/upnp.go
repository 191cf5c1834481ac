package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/lab/vnet"
	"github.com/ginnel/ginnel/wire/upnp"
)

// Web is what a bad web server serves.
type Web uint8

// The bad web servers.
const (
	Good     Web = iota
	Huge         // a document that is far too large
	Endless      // one that never ends
	Slow         // a byte now and then
	Redirect     // elsewhere, that is, here
	NotXML       // a page for people
	Stuck        // nothing at all
)

const (
	webPort     = 5000
	description = "/rootDesc.xml"
	controlPath = "/ctl/IPConn"
	deadPath    = "/ctl/Dead"
)

// entry is a mapping that UPnP made.
type entry struct {
	upnp.Mapping
	until time.Time
}

// web is the gateway's web server.
type web struct {
	server *http.Server
	cancel context.CancelFunc // of all requests
}

func (w *web) close() {
	w.cancel()
	_ = w.server.Close()
}

// startUPnP answers searches and serves HTTP.
func (g *Gateway) startUPnP() error {
	if err := g.serve(netip.Addr{}, upnp.SearchPort, g.searched); err != nil {
		return err
	}
	l, err := g.router.ListenTCP("tcp4", g.inner, webPort)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g.web = &web{cancel: cancel, server: &http.Server{
		Handler: http.HandlerFunc(g.http), BaseContext: func(net.Listener) context.Context { return ctx },
	}}
	go func() { _ = g.web.server.Serve(l) }() // ends with Close, or the network's end
	return nil
}

func (g *Gateway) searched(_ netip.AddrPort, b []byte) (answers [][]byte) {
	o := g.options()
	target, err := upnp.ParseSearch(b)
	kind := "urn:schemas-upnp-org:device:InternetGatewayDevice:" + strconv.Itoa(o.UPnP)
	if err != nil || target != upnp.SearchAll && target != upnp.SearchGateway || !g.note("ssdp") {
		return nil
	}
	location := fmt.Sprintf("http://%v:%d%s", g.inner, webPort, description)
	if o.Location != "" {
		location = o.Location
	}
	for i := range max(o.Answers, 1) {
		a := upnp.Answer{Location: location, Server: "lab/1 UPnP/1.1 gateway/1", USN: "uuid:lab::" + kind, Target: kind}
		if i > 0 {
			a.Location = fmt.Sprintf("http://%v:%d/%d.xml", g.inner, 6000+i%1000, i)
		}
		answers = append(answers, a.Append(nil))
	}
	return answers
}

func (g *Gateway) http(w http.ResponseWriter, r *http.Request) {
	o := g.options()
	if o.Web != Good {
		g.note("description")
		g.serveBadly(o.Web, w, r)
		return
	}
	service := upnp.WANIPConnection1
	if o.UPnP == 2 {
		service = upnp.WANIPConnection2
	}
	switch {
	case r.URL.Path == description && r.Method == http.MethodGet:
		g.note("description")
		d := upnp.Device{
			Type: fmt.Sprintf("urn:schemas-upnp-org:device:InternetGatewayDevice:%d", o.UPnP), Maker: "lab", Model: "gateway",
			Services: []upnp.Service{{Type: service, ControlURL: controlPath}},
		}
		if o.Dead {
			d.Services = append([]upnp.Service{{Type: service, ControlURL: deadPath}}, d.Services...)
		}
		if o.Control != "" {
			d.Services[0].ControlURL = o.Control
		}
		_, _ = w.Write(d.Append(nil))
	case (r.URL.Path == controlPath || r.URL.Path == deadPath && o.Dead) && r.Method == http.MethodPost:
		b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, upnp.MaxDocument))
		if err != nil {
			return
		}
		c, err := upnp.ParseCall(b)
		if err != nil || c.Header() != r.Header.Get("SOAPAction") || c.Service != service {
			http.Error(w, "no call", http.StatusBadRequest)
			return
		}
		g.note(c.Action)
		from, _ := netip.ParseAddrPort(r.RemoteAddr)
		var args upnp.Args
		var fault *upnp.Fault
		if r.URL.Path == controlPath {
			args, fault = g.act(c, from.Addr())
		} else {
			args = upnp.Args{{Name: "NewConnectionStatus", Value: "Disconnected"}, {Name: "NewExternalIPAddress", Value: "0.0.0.0"}}
		}
		w.Header().Set("Content-Type", `text/xml; charset="utf-8"`)
		if fault != nil {
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write(fault.Append(nil))
			return
		}
		_, _ = w.Write(c.AppendAnswer(nil, args))
	default:
		http.NotFound(w, r)
	}
}

// act does what a call asks for.
func (g *Gateway) act(c upnp.Call, from netip.Addr) (upnp.Args, *upnp.Fault) {
	o := g.options()
	switch c.Action {
	case upnp.ActionExternal:
		return upnp.Args{{Name: "NewExternalIPAddress", Value: g.external().String()}}, nil
	case upnp.ActionStatus:
		return upnp.Args{{Name: "NewConnectionStatus", Value: "Connected"}, {Name: "NewUptime", Value: strconv.Itoa(int(g.epoch()))}}, nil
	case upnp.ActionAdd, upnp.ActionAddAny, upnp.ActionDelete, upnp.ActionLookup:
	default:
		return nil, &upnp.Fault{Code: upnp.InvalidAction, Description: "Invalid Action"}
	}
	m, err := upnp.ParseMapping(c)
	if err != nil || m.Protocol != upnp.UDP {
		return nil, &upnp.Fault{Code: upnp.InvalidArgs, Description: "Invalid Args"}
	}
	switch {
	case c.Action == upnp.ActionLookup && o.NoLookup:
		return nil, &upnp.Fault{Code: upnp.InvalidAction, Description: "Invalid Action"}
	case c.Action == upnp.ActionLookup:
		return g.lookup(m.External)
	case c.Action == upnp.ActionDelete:
		return g.remove(m.External)
	case c.Action == upnp.ActionAddAny && o.UPnP < 2:
		return nil, &upnp.Fault{Code: upnp.InvalidAction, Description: "Invalid Action"}
	case o.Refuse || m.Internal.Addr() != from:
		return nil, &upnp.Fault{Code: upnp.NotAuthorized, Description: "Action not authorized"}
	case o.Permanent != 0 && m.Lease != 0:
		return nil, &upnp.Fault{Code: o.Permanent, Description: "OnlyPermanentLeasesSupported"}
	}
	return g.add(m, c.Action == upnp.ActionAddAny)
}

func (g *Gateway) add(m upnp.Mapping, anyPort bool) (upnp.Args, *upnp.Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if e, ok := g.entries[m.External]; !ok || e.Internal != m.Internal {
		if len(g.taken) < g.opts.Taken {
			g.taken[m.External] = true
		}
	}
	if g.taken[m.External] {
		if g.opts.Quiet {
			other := m
			other.Internal = netip.AddrPortFrom(g.inner.Next().Next(), 1)
			g.entries[m.External] = entry{other, time.Now().Add(time.Hour)}
			return nil, nil
		}
		return nil, &upnp.Fault{Code: upnp.Conflict, Description: "ConflictInMappingEntry"}
	}
	lease := time.Duration(m.Lease) * time.Second
	if m.Lease == 0 {
		lease = 10 * 365 * 24 * time.Hour
	}
	outer := g.router.MapPort(vnet.UDP, m.Internal, m.External, lease)
	if !outer.IsValid() || outer.Port() != m.External && !anyPort {
		return nil, &upnp.Fault{Code: upnp.Conflict, Description: "ConflictInMappingEntry"}
	}
	m.External = outer.Port()
	to := m
	if g.opts.WrongInternal {
		to.Internal = netip.AddrPortFrom(m.Internal.Addr(), m.Internal.Port()+1)
	}
	g.entries[m.External] = entry{to, time.Now().Add(lease)}
	if anyPort {
		return upnp.Args{{Name: "NewReservedPort", Value: strconv.Itoa(int(m.External))}}, nil
	}
	return nil, nil
}

var noEntry = &upnp.Fault{Code: upnp.NoSuchEntry, Description: "NoSuchEntryInArray"}

func (g *Gateway) lookup(port uint16) (upnp.Args, *upnp.Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.entries[port]
	if !ok || time.Now().After(e.until) {
		return nil, noEntry
	}
	return upnp.Args{
		{Name: "NewInternalPort", Value: strconv.Itoa(int(e.Internal.Port()))}, {Name: "NewInternalClient", Value: e.Internal.Addr().String()},
		{Name: "NewEnabled", Value: "1"}, {Name: "NewPortMappingDescription", Value: e.Description},
		{Name: "NewLeaseDuration", Value: strconv.Itoa(int(time.Until(e.until) / time.Second))},
	}, nil
}

func (g *Gateway) remove(port uint16) (upnp.Args, *upnp.Fault) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.entries[port]
	if !ok {
		return nil, noEntry
	}
	delete(g.entries, port)
	g.router.UnmapPort(vnet.UDP, e.Internal)
	return nil, nil
}

// Description returns what the mapping of an external port is called, and its lease in
// seconds when it was made, 0 for a permanent one.
func (g *Gateway) Description(port uint16) (text string, lease uint32, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	e, ok := g.entries[port]
	return e.Description, e.Lease, ok
}

// serveBadly goes on until the client has enough.
func (g *Gateway) serveBadly(w Web, out http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute)
	defer cancel()
	line := make([]byte, 4096)
	for i := range line {
		line[i] = 'x'
	}
	switch w {
	case Huge, Endless:
		_, _ = out.Write([]byte("<root>"))
		for n := 0; ctx.Err() == nil && (w == Endless || n < 4*upnp.MaxDocument); n += len(line) {
			if _, err := out.Write(line); err != nil {
				return
			}
			g.mu.Lock()
			g.served += len(line)
			g.mu.Unlock()
		}
		_, _ = out.Write([]byte("</root>"))
	case Slow:
		for ctx.Err() == nil {
			if _, err := out.Write([]byte("<")); err != nil {
				return
			}
			_ = http.NewResponseController(out).Flush() // on a connection that may be gone
			select {
			case <-time.After(300 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	case Redirect:
		http.Redirect(out, r, r.URL.Path, http.StatusFound)
	case NotXML:
		_, _ = out.Write([]byte("<html><body><h1>Welcome to your router</h1><br></body></html>"))
	case Stuck:
		<-ctx.Done()
	}
}
