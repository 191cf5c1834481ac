package interop

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	tsdisco "tailscale.com/disco"
	"tailscale.com/net/udprelay"
	tskey "tailscale.com/types/key"
	"tailscale.com/types/views"
	"tailscale.com/util/usermetric"

	"github.com/ginnel/ginnel/node/peerrelay"
	"github.com/ginnel/ginnel/node/peerrelay/client"
	"github.com/ginnel/ginnel/node/peerrelay/peerrelaytest"
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.MustParseAddr("::1")
)

// allocator is a peer relay of either make: it returns an allocation response as it goes
// over a relay region, with generation 7.
type allocator func(a, b key.DiscoPublic) ([]byte, error)

// theirRelay starts an official peer relay server on loopback.
func theirRelay(t *testing.T) allocator {
	t.Helper()
	free, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	free.Close()
	s, err := udprelay.NewServer(newLog(t, "official peer relay").Logf, port, true, new(usermetric.Registry), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	s.SetStaticAddrPorts(views.SliceOf([]netip.AddrPort{netip.AddrPortFrom(loopback4, port), netip.AddrPortFrom(loopback6, port)}))
	return func(a, b key.DiscoPublic) ([]byte, error) {
		e, err := s.AllocateEndpoint(theirDisco(a), theirDisco(b))
		if err != nil {
			return nil, err
		}
		m := tsdisco.AllocateUDPRelayEndpointResponse{Generation: 7, UDPRelayEndpoint: tsdisco.UDPRelayEndpoint{
			ServerDisco: e.ServerDisco, ClientDisco: e.ClientDisco, LamportID: e.LamportID, VNI: e.VNI,
			BindLifetime: e.BindLifetime.Duration, SteadyStateLifetime: e.SteadyStateLifetime.Duration, AddrPorts: e.AddrPorts}}
		return m.AppendMarshal(nil), nil
	}
}

// ourRelay starts our peer relay server on loopback.
func ourRelay(t *testing.T) allocator {
	t.Helper()
	s, err := peerrelay.Start(peerrelay.Options{Config: peerrelay.Config{Key: key.NewDisco()}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Logf("our peer relay: %+v, sessions %+v", s.Counters(), s.Sessions())
		}
	})
	s.SetAddresses(peerrelay.Addresses{Static: []netip.AddrPort{
		netip.AddrPortFrom(loopback4, s.Port(peerrelay.UDP4)), netip.AddrPortFrom(loopback6, s.Port(peerrelay.UDP6))}})
	return func(a, b key.DiscoPublic) ([]byte, error) {
		request := &disco.AllocateRequest{Clients: [2]key.DiscoPublic{a, b}, Generation: 7}
		r, err := s.Answer(a, request, func(key.DiscoPublic) bool { return true })
		return r.Append(nil), err
	}
}

func udpSocket(t *testing.T, ip netip.Addr) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestOurClientsTheirPeerRelay has two of our clients talk through an official peer relay.
func TestOurClientsTheirPeerRelay(t *testing.T) {
	for name, ips := range map[string][2]netip.Addr{
		"IPv4": {loopback4, loopback4}, "IPv6": {loopback6, loopback6}, "both": {loopback4, loopback6},
	} {
		t.Run(name, func(t *testing.T) {
			allocate, relay := theirRelay(t), key.NewNode().Public()
			pair := [2]*peerrelaytest.Client{peerrelaytest.New(), peerrelaytest.New()}
			for i, c := range pair {
				other := pair[1-i]
				c.Servers = []key.NodePublic{relay}
				c.Peers[other.Disco.Public()] = other.Node
				c.Region = func(to key.NodePublic, inner []byte) {
					if to != relay {
						other.FromRegion(c.Peer(), inner)
						return
					}
					m, err := tsdisco.Parse(inner)
					request, ok := m.(*tsdisco.AllocateUDPRelayEndpointRequest)
					if err != nil || !ok {
						t.Errorf("our request read as %T, %v", m, err)
						return
					}
					response, err := allocate(key.DiscoPublicFromRaw32(request.ClientDisco[0].Raw32()), key.DiscoPublicFromRaw32(request.ClientDisco[1].Raw32()))
					if err != nil {
						t.Error(err)
						return
					}
					response[2], response[3], response[4], response[5] = byte(request.Generation>>24), byte(request.Generation>>16),
						byte(request.Generation>>8), byte(request.Generation)
					c.FromRegion(client.Peer{Node: relay}, response)
				}
				c.Start(udpSocket(t, ips[i]))
				t.Cleanup(c.Close)
			}
			x, y := pair[0], pair[1]
			x.Discover(y.Peer())
			for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
				_, there := x.Ready(y.Node)
				_, back := y.Ready(x.Node)
				if there && back {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("no path; given up: %+v %+v", x.Failed(), y.Failed())
				}
			}
			for n := range 10 {
				for _, p := range [][2]*peerrelaytest.Client{{x, y}, {y, x}} {
					text := fmt.Sprint("packet ", n)
					if err := p[0].Send(p[1].Node, text); err != nil {
						t.Fatal(err)
					}
					select {
					case got := <-p[1].Data():
						if got != text {
							t.Fatalf("got %q, want %q", got, text)
						}
					case <-time.After(patience):
						t.Fatal("data does not arrive")
					}
				}
			}
		})
	}
}

// rig is a session on a peer relay of either make, with three sockets. All messages are
// made and read by the official packages.
type rig struct {
	*testing.T
	keys     [3]tskey.DiscoPrivate // alice, bob and a stranger
	endpoint tsdisco.UDPRelayEndpoint
	socks    [3]*net.UDPConn
}

func newRig(t *testing.T, allocate allocator) *rig {
	r := &rig{T: t}
	var ours [3]key.DiscoPublic
	for i := range r.keys {
		k := key.NewDisco()
		r.keys[i], ours[i] = theirDiscoPrivate(k), k.Public()
		r.socks[i] = udpSocket(t, loopback4)
	}
	response, err := allocate(ours[0], ours[1])
	if err != nil {
		t.Fatal(err)
	}
	m, err := tsdisco.Parse(response)
	a, ok := m.(*tsdisco.AllocateUDPRelayEndpointResponse)
	if err != nil || !ok || a.Generation != 7 {
		t.Fatalf("the response reads as %T %+v, %v", m, m, err)
	}
	r.endpoint = a.UDPRelayEndpoint
	return r
}

// header returns a Geneve header.
func (r *rig) header(control byte, protocol byte) []byte {
	v := r.endpoint.VNI
	return []byte{0, control, 0x7a, protocol, byte(v >> 16), byte(v >> 8), byte(v), 0}
}

// common returns what a client says about the other.
func (r *rig) common(who int, generation uint32) tsdisco.BindUDPRelayEndpointCommon {
	return tsdisco.BindUDPRelayEndpointCommon{VNI: r.endpoint.VNI, Generation: generation, RemoteKey: r.keys[1-who%2].Public()}
}

// sealed returns a control message of one of the keys.
func (r *rig) sealed(who int, m tsdisco.Message) []byte {
	pkt := append(r.header(0x80, 0x11), tsdisco.Magic...)
	pkt = r.keys[who].Public().AppendTo(pkt)
	return append(pkt, r.keys[who].Shared(r.endpoint.ServerDisco).Seal(m.AppendMarshal(nil))...)
}

func (r *rig) send(sock int, pkt []byte) {
	r.Helper()
	if _, err := r.socks[sock].WriteToUDPAddrPort(pkt, r.endpoint.AddrPorts[0]); err != nil {
		r.Fatal(err)
	}
}

// silence is how long nothing must come.
const silence = 50 * time.Millisecond

// receive returns what comes to a socket, nil if that is nothing, which is waited for only
// as long as needed.
func (r *rig) receive(sock int, wait time.Duration) []byte {
	r.Helper()
	_ = r.socks[sock].SetReadDeadline(time.Now().Add(wait))
	buf := make([]byte, 2000)
	n, _, err := r.socks[sock].ReadFromUDPAddrPort(buf)
	if err != nil {
		return nil
	}
	return buf[:n]
}

// quiet holds all sockets to receive nothing.
func (r *rig) quiet(what string) {
	r.Helper()
	for i := range r.socks {
		if pkt := r.receive(i, silence/3); pkt != nil {
			r.Fatalf("%s: %d bytes came to socket %d", what, len(pkt), i)
		}
	}
}

// challenged sends a bind request, which is to be answered with a challenge.
func (r *rig) challenged(who, sock int, generation uint32) tsdisco.BindUDPRelayEndpointCommon {
	r.Helper()
	request := r.sealed(who, &tsdisco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: r.common(who, generation)})
	r.send(sock, request)
	pkt := r.receive(sock, patience)
	if len(pkt) != len(request) || string(pkt[:8]) != string(r.header(0x80, 0x11)) {
		r.Fatalf("%d bytes came, header %x", len(pkt), pkt[:min(8, len(pkt))])
	}
	inner, ok := r.keys[who].Shared(r.endpoint.ServerDisco).Open(pkt[8+6+32:])
	if !ok {
		r.Fatal("the challenge does not open")
	}
	m, err := tsdisco.Parse(inner)
	c, ok := m.(*tsdisco.BindUDPRelayEndpointChallenge)
	if err != nil || !ok || c.Generation != generation || c.VNI != r.endpoint.VNI || c.RemoteKey != r.keys[1-who].Public() {
		r.Fatalf("the challenge reads as %T %+v, %v", m, m, err)
	}
	return c.BindUDPRelayEndpointCommon
}

func (r *rig) answer(who, sock int, c tsdisco.BindUDPRelayEndpointCommon) {
	r.Helper()
	r.send(sock, r.sealed(who, &tsdisco.BindUDPRelayEndpointAnswer{BindUDPRelayEndpointCommon: c}))
}

// bind binds a client to a socket and waits until the relay has seen the answer: relays read
// what comes from different sockets in no order, but what comes from one in that.
func (r *rig) bind(who, sock int, generation uint32) {
	r.Helper()
	r.answer(who, sock, r.challenged(who, sock, generation))
	r.challenged(who, sock, generation^0x1000)
}

// forwards sends data from one socket, which is to come to another, or nowhere if that is
// negative.
func (r *rig) forwards(from, to int, protocol byte) {
	r.Helper()
	pkt := append(r.header(0, protocol), "payload"...)
	r.send(from, pkt)
	if to < 0 {
		r.quiet("data")
		return
	}
	if got := r.receive(to, patience); string(got) != string(pkt) {
		r.Fatalf("%x came, want %x", got, pkt)
	}
}

// TestPeerRelaysAgree plays the same scenes with the official peer relay and with ours.
func TestPeerRelaysAgree(t *testing.T) {
	const alice, bob, third = 0, 1, 2
	for name, scene := range map[string]func(r *rig){
		"the endpoint": func(r *rig) {
			e := r.endpoint
			if e.VNI != 1 || e.LamportID != 1 || e.BindLifetime != 30*time.Second || e.SteadyStateLifetime != 5*time.Minute || len(e.AddrPorts) != 2 {
				r.Errorf("endpoint %+v", e)
			}
		},
		"both bind": func(r *rig) {
			r.forwards(alice, -1, 0x12)
			r.bind(alice, alice, 1)
			r.forwards(alice, -1, 0x12)
			r.bind(bob, bob, 0xffffffff)
			r.forwards(alice, bob, 0x12)
			r.forwards(bob, alice, 0x11)
			r.forwards(third, -1, 0x12)
		},
		"a client moves": func(r *rig) {
			r.bind(alice, alice, 1)
			r.bind(bob, bob, 1)
			c := r.challenged(alice, third, 2)
			r.forwards(bob, alice, 0x12) // a request alone moves nothing
			r.answer(alice, third, c)
			r.forwards(third, bob, 0x12) // after which the answer was seen
			r.forwards(bob, third, 0x12)
			r.forwards(alice, -1, 0x12)
		},
		"bad requests": func(r *rig) {
			bind := func(who int, edit func(c *tsdisco.BindUDPRelayEndpointCommon)) []byte {
				c := r.common(who, 1)
				edit(&c)
				return r.sealed(who, &tsdisco.BindUDPRelayEndpoint{BindUDPRelayEndpointCommon: c})
			}
			good := bind(alice, func(*tsdisco.BindUDPRelayEndpointCommon) {})
			changed := func(i int) []byte {
				pkt := append([]byte{}, good...)
				pkt[i] ^= 1
				return pkt
			}
			for name, pkt := range map[string][]byte{
				"generation 0":   bind(alice, func(c *tsdisco.BindUDPRelayEndpointCommon) { c.Generation = 0 }),
				"another VNI":    bind(alice, func(c *tsdisco.BindUDPRelayEndpointCommon) { c.VNI++ }),
				"another remote": bind(alice, func(c *tsdisco.BindUDPRelayEndpointCommon) { c.RemoteKey = r.keys[third].Public() }),
				"itself":         bind(alice, func(c *tsdisco.BindUDPRelayEndpointCommon) { c.RemoteKey = r.keys[alice].Public() }),
				"a stranger":     bind(third, func(c *tsdisco.BindUDPRelayEndpointCommon) {}),
				"a challenge":    r.sealed(alice, &tsdisco.BindUDPRelayEndpointChallenge{BindUDPRelayEndpointCommon: r.common(alice, 1)}),
				"a ping":         r.sealed(alice, &tsdisco.Ping{}),
				"changed":        changed(len(good) - 1),
				"unknown VNI":    changed(6),
				"cut":            good[:len(good)-1],
				"header only":    good[:8],
				"nothing":        {},
			} {
				r.send(alice, pkt)
				r.quiet(name)
			}
			r.challenged(alice, alice, 9)
		},
		"bad answers": func(r *rig) {
			r.bind(bob, bob, 1)
			c := r.challenged(alice, alice, 5)
			for name, edit := range map[string]func(c *tsdisco.BindUDPRelayEndpointCommon){
				"forged":             func(c *tsdisco.BindUDPRelayEndpointCommon) { c.Challenge[0] ^= 1 },
				"another generation": func(c *tsdisco.BindUDPRelayEndpointCommon) { c.Generation++ },
				"another VNI":        func(c *tsdisco.BindUDPRelayEndpointCommon) { c.VNI++ },
				"another remote":     func(c *tsdisco.BindUDPRelayEndpointCommon) { c.RemoteKey = r.keys[third].Public() },
			} {
				bad := c
				edit(&bad)
				r.answer(alice, alice, bad)
				r.quiet(name)
				r.forwards(alice, -1, 0x12)
			}
			r.answer(alice, third, c) // from elsewhere
			r.forwards(third, -1, 0x12)
			r.answer(alice, alice, c)
			r.forwards(alice, bob, 0x12)
			r.answer(alice, third, c) // used up
			r.forwards(bob, alice, 0x12)
		},
		"a newer request": func(r *rig) {
			r.bind(bob, bob, 1)
			old := r.challenged(alice, alice, 1)
			r.challenged(alice, alice, 2)
			r.answer(alice, alice, old)
			r.forwards(alice, -1, 0x12)
		},
		"a repeated request": func(r *rig) {
			r.bind(bob, bob, 1)
			first := r.challenged(alice, alice, 1)
			if again := r.challenged(alice, alice, 1); again != first {
				r.Error("the same request got another challenge")
			}
			r.answer(alice, alice, first)
			r.forwards(alice, bob, 0x12)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Run("theirs", func(t *testing.T) { scene(newRig(t, theirRelay(t))) })
			t.Run("ours", func(t *testing.T) { scene(newRig(t, ourRelay(t))) })
		})
	}
}
