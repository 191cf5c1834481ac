package vnet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsPort is where name servers listen.
const dnsPort = 53

// name is an entry of the network's only zone.
type name struct{ addrs []netip.Addr }

// Name gives addresses a name that every name server of the network knows. Without
// addresses the name goes away.
func (n *Network) Name(host string, addrs ...netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(addrs) == 0 {
		delete(n.names, host)
		return
	}
	n.names[host] = &name{addrs}
}

// ServeNames makes the host a name server. With a valid prefix it makes IPv6 addresses
// for names that only have IPv4 ones (DNS64).
func (h *Host) ServeNames(synthesize netip.Prefix) error {
	for _, network := range []string{"udp4", "udp6"} {
		c, err := h.ListenUDP(network, netip.Addr{}, dnsPort)
		if errors.Is(err, syscall.EAFNOSUPPORT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("name server of %s: %w", h.name, err)
		}
		go h.serveNames(c, synthesize)
	}
	return nil
}

func (h *Host) serveNames(c *UDPConn, synthesize netip.Prefix) {
	buf := make([]byte, 1500)
	for {
		k, from, err := c.ReadFromUDPAddrPort(buf)
		if err != nil {
			return
		}
		if answer, err := h.net.answerName(buf[:k], synthesize); err == nil {
			_, _ = c.WriteToUDPAddrPort(answer, from)
		}
	}
}

// answerName answers a query.
func (n *Network) answerName(query []byte, synthesize netip.Prefix) ([]byte, error) {
	var p dnsmessage.Parser
	head, err := p.Start(query)
	if err != nil {
		return nil, err
	}
	q, err := p.Question()
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	entry := n.names[strings.TrimSuffix(q.Name.String(), ".")]
	n.mu.Unlock()
	head.Response, head.Authoritative, head.RecursionAvailable = true, true, true
	if entry == nil {
		head.RCode = dnsmessage.RCodeNameError
	}
	b := dnsmessage.NewBuilder(nil, head)
	if err := errors.Join(b.StartQuestions(), b.Question(q), b.StartAnswers()); err != nil {
		return nil, err
	}
	if entry != nil {
		rh := dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 60}
		for _, a := range resolve(entry.addrs, q.Type == dnsmessage.TypeAAAA, synthesize) {
			if q.Type == dnsmessage.TypeA {
				err = b.AResource(rh, dnsmessage.AResource{A: a.As4()})
			} else if q.Type == dnsmessage.TypeAAAA {
				err = b.AAAAResource(rh, dnsmessage.AAAAResource{AAAA: a.As16()})
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return b.Finish()
}

// resolve picks the addresses of a family, making those of IPv6 up if there is a prefix.
func resolve(addrs []netip.Addr, v6 bool, synthesize netip.Prefix) (list []netip.Addr) {
	for _, a := range addrs {
		if a.Is6() == v6 {
			list = append(list, a)
		}
	}
	if len(list) == 0 && v6 && synthesize.IsValid() {
		for _, a := range addrs {
			list = append(list, Synthesize(synthesize, a))
		}
	}
	return list
}

// Resolver tells the host which name servers to ask, in order.
func (h *Host) Resolver(servers ...netip.Addr) {
	h.net.mu.Lock()
	defer h.net.mu.Unlock()
	h.resolver = nil
	for _, a := range servers {
		h.resolver = append(h.resolver, netip.AddrPortFrom(a, dnsPort))
	}
}

// lookupTimeout is how long a name server has to answer.
const lookupTimeout = 2 * time.Second

// Lookup resolves a host name with the host's name servers. An address stands for itself.
func (h *Host) Lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	h.net.mu.Lock()
	servers, v6 := h.resolver, h.has6()
	h.net.mu.Unlock()
	err := error(&net.DNSError{Err: "no name server", Name: host})
	for range 2 {
		for _, s := range servers {
			var addrs []netip.Addr
			addrs, err = h.ask(ctx, s, host, v6)
			if err == nil || ctx.Err() != nil {
				return addrs, err
			}
			var de *net.DNSError
			if errors.As(err, &de) && de.IsNotFound {
				return nil, err
			}
		}
	}
	return nil, err
}

// ask asks one server for both families.
func (h *Host) ask(ctx context.Context, server netip.AddrPort, host string, v6 bool) (addrs []netip.Addr, err error) {
	types := []dnsmessage.Type{dnsmessage.TypeA}
	if v6 {
		types = append(types, dnsmessage.TypeAAAA)
	}
	for _, t := range types {
		found, err := h.askType(ctx, server, host, t)
		if err != nil {
			return nil, err
		}
		addrs = append(addrs, found...)
	}
	if len(addrs) == 0 {
		return nil, &net.DNSError{Err: "no addresses", Name: host, IsNotFound: true}
	}
	return addrs, nil
}

func (h *Host) askType(ctx context.Context, server netip.AddrPort, host string, t dnsmessage.Type) ([]netip.Addr, error) {
	fqdn, err := dnsmessage.NewName(host + ".")
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: host}
	}
	h.net.mu.Lock()
	id := uint16(h.dice.draw(hashString(host)))
	h.net.mu.Unlock()
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	q := dnsmessage.Question{Name: fqdn, Type: t, Class: dnsmessage.ClassINET}
	if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
		return nil, err
	}
	query, err := b.Finish()
	if err != nil {
		return nil, err
	}
	c, err := h.dialUDP(server)
	if err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: host, Server: server.String()}
	}
	defer c.Close()
	until := time.Now().Add(lookupTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(until) {
		until = d
	}
	_ = c.SetDeadline(until)
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := c.Write(query); err != nil {
		return nil, &net.DNSError{Err: err.Error(), Name: host, Server: server.String()}
	}
	buf := make([]byte, 1500)
	for {
		k, err := c.Read(buf)
		if err != nil {
			return nil, &net.DNSError{Err: err.Error(), Name: host, Server: server.String(), IsTimeout: true}
		}
		if addrs, ok, err := parseAnswer(buf[:k], id, host); ok {
			return addrs, err
		}
	}
}

// parseAnswer reads the addresses in an answer. ok is false for one to something else.
func parseAnswer(msg []byte, id uint16, host string) (addrs []netip.Addr, ok bool, err error) {
	var m dnsmessage.Message
	if m.Unpack(msg) != nil || m.ID != id || !m.Response {
		return nil, false, nil
	}
	if m.RCode == dnsmessage.RCodeNameError {
		return nil, true, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	for _, a := range m.Answers {
		switch r := a.Body.(type) {
		case *dnsmessage.AResource:
			addrs = append(addrs, netip.AddrFrom4(r.A))
		case *dnsmessage.AAAAResource:
			addrs = append(addrs, netip.AddrFrom16(r.AAAA))
		}
	}
	return addrs, true, nil
}
