package portmap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"time"

	"github.com/ginnel/ginnel/wire/upnp"
)

// The limits of what a device may take.
const (
	describeTime = 1500 * time.Millisecond
	callTime     = 2500 * time.Millisecond
	cleanTime    = time.Second
	maxHeader    = 16 << 10
	maxDevices   = 4 // asked in one go
	maxServices  = 4 // of a device
	maxAdds      = 8 // attempts to add a mapping
)

// service is a device's service that maps ports.
type service struct {
	control string // URL, at the gateway's address
	kind    string // a URN
}

// device speaks with the UPnP device that is the gateway, at no other address, whatever
// the device says.
type device struct {
	gateway  netip.Addr
	internal netip.AddrPort
	log      *slog.Logger
	client   *http.Client
}

func (m *Mapper) device(gateway netip.Addr, internal netip.AddrPort) *device {
	return &device{gateway: gateway, internal: internal, log: m.log, client: &http.Client{
		Transport: &http.Transport{
			DialContext: m.opts.Dial, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// repoint makes an absolute URL one at the gateway's address.
func (d *device) repoint(u *url.URL) (*url.URL, error) {
	if u.Scheme != "http" || u.Host == "" || u.Opaque != "" {
		return nil, fmt.Errorf("%.100q is no URL of a gateway", u.Redacted())
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return nil, fmt.Errorf("%.20q is no port", port)
	}
	return &url.URL{Scheme: "http", Host: net.JoinHostPort(d.gateway.String(), port), Path: u.Path, RawPath: u.RawPath, RawQuery: u.RawQuery}, nil
}

// fetch sends a request and returns the body of the answer, which is bounded.
func (d *device) fetch(ctx context.Context, limit time.Duration, method, target, action string, body []byte) (int, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	if action != "" {
		req.Header.Set("Content-Type", `text/xml; charset="utf-8"`)
		req.Header["SOAPAction"] = []string{action} // some devices read it as it is written here
	}
	res, err := d.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, upnp.MaxDocument+1))
	if err != nil {
		return 0, nil, err
	}
	return res.StatusCode, b, nil
}

// describe returns the services of the device that answered a search.
func (d *device) describe(ctx context.Context, location string) ([]service, error) {
	u, err := url.Parse(location)
	if err != nil {
		return nil, err
	}
	if u, err = d.repoint(u); err != nil {
		return nil, err
	}
	status, b, err := d.fetch(ctx, describeTime, http.MethodGet, u.String(), "", nil)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	if status != http.StatusOK {
		return nil, fmt.Errorf("description: status %d", status)
	}
	desc, err := upnp.ParseDescription(b)
	if err != nil {
		return nil, fmt.Errorf("description: %w", err)
	}
	base := u
	if x, err := url.Parse(desc.Base); err == nil && x.IsAbs() {
		base = x
	}
	var list []service
	for _, s := range desc.Mappers() {
		c, err := base.Parse(s.ControlURL)
		if err == nil {
			c, err = d.repoint(c)
		}
		if err == nil && len(list) < maxServices {
			list = append(list, service{c.String(), s.Type})
		}
	}
	if len(list) == 0 {
		return nil, errors.New("the device has no service that maps ports")
	}
	return list, nil
}

// call calls an action.
func (d *device) call(ctx context.Context, s service, c upnp.Call) (upnp.Args, error) {
	c.Service = s.kind
	status, b, err := d.fetch(ctx, callTime, http.MethodPost, s.control, c.Header(), c.Append(nil))
	if err != nil {
		return nil, err
	}
	if status != http.StatusOK && status != http.StatusInternalServerError {
		return nil, fmt.Errorf("%s: status %d", c.Action, status)
	}
	return c.ParseAnswer(b)
}

// choose returns the service to use: one that is connected to the Internet, else one that
// is connected and has an address, else one that is connected, else the first.
func (d *device) choose(ctx context.Context, list []service) service {
	if len(list) == 1 {
		return list[0]
	}
	best, rank := list[0], 0
	for _, s := range list {
		args, err := d.call(ctx, s, upnp.Call{Action: upnp.ActionStatus})
		if err != nil || !upnp.Connected(args) {
			continue
		}
		r := 1
		if ip, err := d.address(ctx, s); err == nil {
			if usable, public := judgeAddr(ip, d.internal.Addr(), d.gateway); public {
				return s
			} else if usable {
				r = 2
			}
		}
		if r > rank {
			best, rank = s, r
		}
	}
	return best
}

func (d *device) address(ctx context.Context, s service) (netip.Addr, error) {
	args, err := d.call(ctx, s, upnp.Call{Action: upnp.ActionExternal})
	if err != nil {
		return netip.Addr{}, err
	}
	return upnp.ExternalAddr(args)
}

// errNotNeeded is why a device is not asked any more.
var errNotNeeded = errors.New("another way was faster")

// find asks devices for a mapping, one after the other. wanted is asked before each
// change.
func (d *device) find(ctx context.Context, answers []candidate, port uint16, wanted func() bool) (grant, error) {
	err := errors.New("no device")
	for _, a := range answers {
		var list []service
		if list, err = d.describe(ctx, a.Location); err != nil {
			d.log.Debug("UPnP device is of no use", "location", a.Location, "err", err)
			continue
		}
		var g grant
		if g, err = d.add(ctx, d.choose(ctx, list), port, wanted); err == nil || errors.Is(err, errNotNeeded) {
			return g, err
		}
		d.log.Debug("UPnP device maps no port", "location", a.Location, "err", err)
	}
	return grant{}, err
}

// randomPort returns a port that is probably free.
func randomPort() uint16 { return uint16(1024 + rand.IntN(65535-1024)) }

// add makes or renews a mapping. port is the external one to try first, 0 for any.
func (d *device) add(ctx context.Context, s service, port uint16, wanted func() bool) (grant, error) {
	if port < 1024 {
		port = randomPort()
	}
	mp := upnp.Mapping{Protocol: upnp.UDP, External: port, Internal: d.internal, Description: description, Lease: uint32(lease / time.Second)}
	action := upnp.ActionAdd
	if s.kind == upnp.WANIPConnection2 {
		action = upnp.ActionAddAny
	}
	var err error
	for range maxAdds {
		if !wanted() {
			return grant{}, errNotNeeded
		}
		var args upnp.Args
		args, err = d.call(ctx, s, mp.Add(s.kind, action))
		if err == nil {
			g, err := d.added(ctx, s, mp, action, args)
			if errors.Is(err, errTaken) {
				mp.External = randomPort()
				continue
			}
			return g, err
		}
		var f *upnp.Fault
		if !errors.As(err, &f) {
			// It may have been done nevertheless.
			d.clean(s, mp)
			return grant{}, err
		}
		switch {
		case f.Code == upnp.InvalidAction && action == upnp.ActionAddAny:
			action = upnp.ActionAdd
		case (f.Code == upnp.OnlyPermanent || f.Code == upnp.InvalidArgs || f.Code == upnp.ActionFailed) && mp.Lease != 0:
			mp.Lease = 0
		case f.Code == upnp.Conflict || f.Code == upnp.ConflictMechanism:
			mp.External = randomPort()
		case f.Code == upnp.SamePortRequired && mp.External != d.internal.Port():
			mp.External = d.internal.Port()
		default:
			return grant{}, err
		}
	}
	if err == nil {
		err = errTaken
	}
	return grant{}, err
}

// errTaken is why another port is tried.
var errTaken = errors.New("the port is somebody else's")

// added finds out what was granted.
func (d *device) added(ctx context.Context, s service, mp upnp.Mapping, action string, args upnp.Args) (grant, error) {
	if action == upnp.ActionAddAny {
		p, err := upnp.ReservedPort(args)
		if err != nil {
			d.clean(s, mp)
			return grant{}, err
		}
		mp.External = p
	}
	// Some devices say yes and keep the mapping of somebody else.
	if args, err := d.call(ctx, s, mp.Lookup(s.kind)); err == nil {
		if to, err := upnp.Internal(args); err == nil && to != d.internal {
			return grant{}, fmt.Errorf("%w: external port %d leads to %v", errTaken, mp.External, to)
		}
	}
	ip, err := d.address(ctx, s)
	if err != nil {
		d.clean(s, mp)
		return grant{}, err
	}
	return grant{via: UPnP, internal: d.internal, external: netip.AddrPortFrom(ip, mp.External), lifetime: lease, device: s}, nil
}

// clean removes a mapping that may be there, if it is ours.
func (d *device) clean(s service, mp upnp.Mapping) {
	ctx, cancel := context.WithTimeout(context.Background(), cleanTime)
	defer cancel()
	args, err := d.call(ctx, s, mp.Lookup(s.kind))
	if err != nil {
		return
	}
	if to, err := upnp.Internal(args); err == nil && to == d.internal {
		_, _ = d.call(ctx, s, mp.Delete(s.kind))
	}
}

// remove releases a mapping, unless it has become somebody else's.
func (d *device) remove(ctx context.Context, mp *mapping) error {
	m := upnp.Mapping{Protocol: upnp.UDP, External: mp.external.Port(), Internal: mp.internal}
	args, err := d.call(ctx, mp.device, m.Lookup(mp.device.kind))
	if err == nil {
		if to, err := upnp.Internal(args); err == nil && to != mp.internal {
			return fmt.Errorf("external port %d leads to %v now", m.External, to)
		}
	}
	_, err = d.call(ctx, mp.device, m.Delete(mp.device.kind))
	return err
}

// intact reports whether a mapping is still there as it was.
func (d *device) intact(ctx context.Context, mp *mapping) error {
	m := upnp.Mapping{Protocol: upnp.UDP, External: mp.external.Port()}
	args, err := d.call(ctx, mp.device, m.Lookup(mp.device.kind))
	var f *upnp.Fault
	switch {
	case errors.As(err, &f) && f.Code != upnp.NoSuchEntry: // it cannot look mappings up
	case err != nil:
		return err
	default:
		if to, err := upnp.Internal(args); err == nil && to != mp.internal {
			return fmt.Errorf("external port %d leads to %v now", m.External, to)
		}
	}
	ip, err := d.address(ctx, mp.device)
	if err != nil {
		return err
	}
	if ip != mp.external.Addr() {
		return fmt.Errorf("external address is %v now", ip)
	}
	return nil
}
