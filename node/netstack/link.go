package netstack

import (
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/stack"
)

const (
	// queueLen bounds the packets that wait to be read. A longer queue only
	// lets TCP fill it.
	queueLen = 512
	// enqueueWait is how long the stack waits for room in the queue.
	enqueueWait = 10 * time.Millisecond
	// gsoMaxSize is how many bytes of TCP the stack cuts into segments at once.
	gsoMaxSize = 32 << 10
)

// linkEndpoint is the network interface that gVisor sees. What the stack sends
// waits in a bounded queue; when that is full, packets are lost as on any
// network.
type linkEndpoint struct {
	queue chan *stack.PacketBuffer
	done  chan struct{} // closed by close
	once  sync.Once

	mu         sync.RWMutex
	mtu        uint32
	dispatcher stack.NetworkDispatcher
}

var (
	_ stack.LinkEndpoint = (*linkEndpoint)(nil)
	_ stack.GSOEndpoint  = (*linkEndpoint)(nil)
)

func newLinkEndpoint(mtu int) *linkEndpoint {
	return &linkEndpoint{queue: make(chan *stack.PacketBuffer, queueLen), done: make(chan struct{}), mtu: uint32(mtu)}
}

// deliver hands a packet from the mesh to the stack.
func (l *linkEndpoint) deliver(pkt *stack.PacketBuffer) {
	l.mu.RLock()
	d := l.dispatcher
	l.mu.RUnlock()
	if d != nil {
		d.DeliverNetworkPacket(pkt.NetworkProtocolNumber, pkt)
	}
}

// DeliverNetworkPacket implements stack.NetworkDispatcher for the GRO engine.
func (l *linkEndpoint) DeliverNetworkPacket(_ tcpip.NetworkProtocolNumber, pkt *stack.PacketBuffer) {
	l.deliver(pkt)
}

// DeliverLinkPacket implements stack.NetworkDispatcher. There are no packet
// sockets.
func (l *linkEndpoint) DeliverLinkPacket(tcpip.NetworkProtocolNumber, *stack.PacketBuffer) {}

// WritePackets implements stack.LinkWriter.
func (l *linkEndpoint) WritePackets(pkts stack.PacketBufferList) (int, tcpip.Error) {
	n := 0
	for _, pkt := range pkts.AsSlice() {
		select {
		case <-l.done:
			return n, &tcpip.ErrClosedForSend{}
		default:
		}
		if !l.enqueue(pkt.IncRef()) {
			if n == 0 {
				return 0, &tcpip.ErrNoBufferSpace{}
			}
			return n, nil
		}
		n++
	}
	return n, nil
}

// enqueue queues a packet, and reports false if it had to drop it. It waits a
// moment for room: that slows down a sender in the same process at the right
// place, where a loss would make it guess. It must not wait for long, since the
// reader may itself be waiting for the stack.
func (l *linkEndpoint) enqueue(pkt *stack.PacketBuffer) bool {
	select {
	case l.queue <- pkt:
		return true
	default:
	}
	t := time.NewTimer(enqueueWait)
	defer t.Stop()
	select {
	case l.queue <- pkt:
		return true
	case <-l.done:
	case <-t.C:
	}
	pkt.DecRef()
	return false
}

func (l *linkEndpoint) close() { l.once.Do(func() { close(l.done) }) }

// MTU implements stack.NetworkLinkEndpoint.
func (l *linkEndpoint) MTU() uint32 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.mtu
}

// SetMTU implements stack.NetworkLinkEndpoint.
func (l *linkEndpoint) SetMTU(mtu uint32) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mtu = mtu
}

// Attach implements stack.NetworkLinkEndpoint.
func (l *linkEndpoint) Attach(d stack.NetworkDispatcher) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dispatcher = d
}

// IsAttached implements stack.NetworkLinkEndpoint.
func (l *linkEndpoint) IsAttached() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.dispatcher != nil
}

// GSOMaxSize implements stack.GSOEndpoint.
func (l *linkEndpoint) GSOMaxSize() uint32 { return gsoMaxSize }

// SupportedGSO implements stack.GSOEndpoint. The stack passes a run of segments
// through its layers as one and cuts it up last, which saves most of the work
// per packet.
func (l *linkEndpoint) SupportedGSO() stack.SupportedGSO { return stack.GVisorGSOSupported }

// Capabilities implements stack.NetworkLinkEndpoint. Write verifies checksums
// before it joins segments; afterwards they are no longer right.
func (l *linkEndpoint) Capabilities() stack.LinkEndpointCapabilities {
	return stack.CapabilityRXChecksumOffload
}

// The rest of stack.LinkEndpoint: a link without addresses or headers.

func (l *linkEndpoint) MaxHeaderLength() uint16                 { return 0 }
func (l *linkEndpoint) LinkAddress() tcpip.LinkAddress          { return "" }
func (l *linkEndpoint) SetLinkAddress(tcpip.LinkAddress)        {}
func (l *linkEndpoint) Wait()                                   {}
func (l *linkEndpoint) ARPHardwareType() header.ARPHardwareType { return header.ARPHardwareNone }
func (l *linkEndpoint) AddHeader(*stack.PacketBuffer)           {}
func (l *linkEndpoint) ParseHeader(*stack.PacketBuffer) bool    { return true }
func (l *linkEndpoint) Close()                                  { l.close() }
func (l *linkEndpoint) SetOnCloseAction(func())                 {}
