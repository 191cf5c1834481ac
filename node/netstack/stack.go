package netstack

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"sync"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/stack/gro"
	"gvisor.dev/gvisor/pkg/tcpip/transport/icmp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/ginnel/ginnel/internal/packet"
	"github.com/ginnel/ginnel/node/tun"
)

const (
	nicID     = 1
	batchSize = 64
	// DefaultMTU is the MTU of mesh interfaces, in bytes.
	DefaultMTU = 1280
)

// TCP buffers, in bytes. They grow on demand, so idle connections are small.
const (
	tcpMinBuffer     = 4 << 10
	tcpDefaultBuffer = 1 << 20
	tcpMaxReceive    = 8 << 20
	tcpMaxSend       = 6 << 20
)

// Config describes a Stack.
type Config struct {
	// Addrs are the node's own addresses. They can be changed by SetAddrs.
	Addrs []netip.Prefix
	// MTU in bytes; 0 for DefaultMTU.
	MTU int
	// Logger may be nil.
	Logger *slog.Logger
	// Forward takes flows that peers open to own addresses where nothing
	// listens. Nil refuses them.
	Forward *Forward
}

// Stack is a TCP/IP stack. It is a tun.Device whose host is this process. All
// methods are safe for concurrent use.
type Stack struct {
	log   *slog.Logger
	stack *stack.Stack
	link  *linkEndpoint
	mtu   int

	wake   chan struct{}
	events chan tun.Event
	once   sync.Once

	gro sync.Pool // of *gro.GRO

	addrMu sync.Mutex
	addrs  map[netip.Addr]bool

	forward *forwarder
}

var _ tun.Waker = (*Stack)(nil)

// New starts a stack.
func New(c Config) (*Stack, error) {
	if c.MTU == 0 {
		c.MTU = DefaultMTU
	}
	if c.MTU < 576 || c.MTU > tun.MaxPacket {
		return nil, fmt.Errorf("userspace network: MTU %d is out of range", c.MTU)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Stack{
		log:    c.Logger,
		link:   newLinkEndpoint(c.MTU),
		mtu:    c.MTU,
		wake:   make(chan struct{}, 1),
		events: make(chan tun.Event, 1),
		addrs:  map[netip.Addr]bool{},
		stack: stack.New(stack.Options{
			NetworkProtocols:   []stack.NetworkProtocolFactory{ipv4.NewProtocol, ipv6.NewProtocol},
			TransportProtocols: []stack.TransportProtocolFactory{tcp.NewProtocol, udp.NewProtocol, icmp.NewProtocol4, icmp.NewProtocol6},
			HandleLocal:        true,
		}),
	}
	s.gro.New = func() any {
		g := &gro.GRO{Dispatcher: s.link}
		g.Init(true)
		return g
	}
	if err := s.configure(); err != nil {
		return nil, err
	}
	if c.Forward != nil {
		s.forward = newForwarder(s, *c.Forward)
	}
	if err := s.SetAddrs(c.Addrs); err != nil {
		s.Close()
		return nil, err
	}
	s.events <- tun.EventUp
	return s, nil
}

func (s *Stack) configure() error {
	sack, moderate, delay := tcpip.TCPSACKEnabled(true), tcpip.TCPModerateReceiveBufferOption(true), tcpip.TCPDelayEnabled(false)
	// With this stack's cubic and RACK, connections that lose packets wait for
	// time-outs most of the time, and sometimes stall; with Reno and plain
	// SACK recovery they do not.
	reno, recovery := tcpip.CongestionControlOption("reno"), tcpip.TCPRecovery(0)
	for _, o := range []tcpip.SettableTransportProtocolOption{
		&sack, &moderate, &delay, &reno, &recovery,
		&tcpip.TCPReceiveBufferSizeRangeOption{Min: tcpMinBuffer, Default: tcpDefaultBuffer, Max: tcpMaxReceive},
		&tcpip.TCPSendBufferSizeRangeOption{Min: tcpMinBuffer, Default: tcpDefaultBuffer, Max: tcpMaxSend},
	} {
		if err := s.stack.SetTransportProtocolOption(tcp.ProtocolNumber, o); err != nil {
			return fmt.Errorf("userspace network: set TCP option %T: %s", o, err)
		}
	}
	if err := s.stack.CreateNIC(nicID, s.link); err != nil {
		return fmt.Errorf("userspace network: create interface: %s", err)
	}
	s.stack.SetRouteTable([]tcpip.Route{
		{Destination: header.IPv4EmptySubnet, NIC: nicID},
		{Destination: header.IPv6EmptySubnet, NIC: nicID},
	})
	return nil
}

// SetAddrs replaces the node's own addresses. Connections from addresses that
// stay are not disturbed.
func (s *Stack) SetAddrs(addrs []netip.Prefix) error {
	s.addrMu.Lock()
	defer s.addrMu.Unlock()
	wanted := map[netip.Addr]bool{}
	var errs []error
	for _, p := range addrs {
		a := p.Addr()
		if !a.IsValid() || a.Is4In6() {
			errs = append(errs, fmt.Errorf("userspace network: invalid address %v", p))
			continue
		}
		wanted[a] = true
		if s.addrs[a] {
			continue
		}
		err := s.stack.AddProtocolAddress(nicID, tcpip.ProtocolAddress{
			Protocol:          protocolOf(a),
			AddressWithPrefix: tcpip.AddrFromSlice(a.AsSlice()).WithPrefix(),
		}, stack.AddressProperties{})
		if err != nil {
			errs = append(errs, fmt.Errorf("userspace network: add address %v: %s", a, err))
			continue
		}
		s.addrs[a] = true
	}
	for a := range s.addrs {
		if wanted[a] {
			continue
		}
		if err := s.stack.RemoveAddress(nicID, tcpip.AddrFromSlice(a.AsSlice())); err != nil {
			errs = append(errs, fmt.Errorf("userspace network: remove address %v: %s", a, err))
			continue
		}
		delete(s.addrs, a)
	}
	return errors.Join(errs...)
}

func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// Name returns the name of userspace mode.
func (s *Stack) Name() string { return "userspace-networking" }

// MTU returns the MTU in bytes.
func (s *Stack) MTU() int { return s.mtu }

// BatchSize implements tun.Device.
func (s *Stack) BatchSize() int { return batchSize }

// Events tells once that the stack is up.
func (s *Stack) Events() <-chan tun.Event { return s.events }

// Wake implements tun.Waker.
func (s *Stack) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Read returns what the stack sends toward the mesh.
func (s *Stack) Read(bufs [][]byte, sizes []int, offset int) (int, error) {
	n := 0
	for n < len(bufs) {
		pkt, err := s.nextPacket(n == 0)
		if err != nil {
			return 0, err
		}
		if pkt == nil {
			break
		}
		size := 0
		for _, part := range pkt.AsSlices() {
			size += copy(bufs[n][offset+size:], part)
		}
		if size == pkt.Size() {
			sizes[n] = size
			n++
		}
		pkt.DecRef()
	}
	return n, nil
}

// nextPacket takes a packet off the queue; with wait it waits for one, else it
// returns nil if there is none.
func (s *Stack) nextPacket(wait bool) (*stack.PacketBuffer, error) {
	if !wait {
		select {
		case pkt := <-s.link.queue:
			return pkt, nil
		default:
			return nil, nil
		}
	}
	select {
	case <-s.link.done:
		return nil, os.ErrClosed
	default:
	}
	select {
	case pkt := <-s.link.queue:
		return pkt, nil
	case <-s.wake:
		return nil, tun.ErrWoken
	case <-s.link.done:
		return nil, os.ErrClosed
	}
}

// Write gives packets from the mesh to the stack. Segments of one TCP stream in
// a batch are joined first.
func (s *Stack) Write(bufs [][]byte, offset int) (int, error) {
	select {
	case <-s.link.done:
		return 0, os.ErrClosed
	default:
	}
	var g *gro.GRO
	if len(bufs) > 1 {
		g = s.gro.Get().(*gro.GRO)
		defer s.gro.Put(g)
	}
	var p packet.Parsed
	for _, b := range bufs {
		if b = b[offset:]; !sound(&p, b) {
			continue
		}
		pkt := stack.NewPacketBuffer(stack.PacketBufferOptions{Payload: buffer.MakeWithData(p.Raw())})
		pkt.RXChecksumValidated = true
		pkt.NetworkProtocolNumber = ipv6.ProtocolNumber
		if p.Version == 4 {
			pkt.NetworkProtocolNumber = ipv4.ProtocolNumber
		}
		if g != nil {
			g.Enqueue(pkt)
		} else {
			s.link.deliver(pkt)
		}
		pkt.DecRef()
	}
	if g != nil {
		g.Flush()
	}
	return len(bufs), nil
}

// sound decodes b into p and reports whether it is well-formed and its checksums
// are right. The tunnel vouches for the peer, not for what a network behind a
// subnet router did to a packet before.
func sound(p *packet.Parsed, b []byte) bool {
	if p.Decode(b) != nil || !p.ChecksumOK() {
		return false
	}
	return p.Version == 6 || packet.Fold(packet.Sum(b[:int(b[0]&0x0f)*4], 0)) == 0
}

// Close ends all connections and the stack.
func (s *Stack) Close() error {
	s.once.Do(func() {
		s.stack.Close()
		s.link.close()
		close(s.events)
		if s.forward != nil {
			s.forward.close()
		}
		s.stack.RemoveNIC(nicID)
		for {
			pkt, _ := s.nextPacket(false)
			if pkt == nil {
				return
			}
			pkt.DecRef()
		}
	})
	return nil
}
