package packet

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
)

var (
	a4 = netip.MustParseAddr("100.64.0.1")
	b4 = netip.MustParseAddr("100.64.0.2")
	a6 = netip.MustParseAddr("fd7a:115c:a1e0::1")
	b6 = netip.MustParseAddr("fd7a:115c:a1e0::2")
)

func ap(a netip.Addr, port uint16) netip.AddrPort { return netip.AddrPortFrom(a, port) }

// must returns the packet of a crafting function that cannot fail here.
func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

func TestSumMatchesNaiveSum(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		var naive uint32
		for i, c := range b {
			if i%2 == 0 {
				naive += uint32(c) << 8
			} else {
				naive += uint32(c)
			}
		}
		for naive > 0xffff {
			naive = naive>>16 + naive&0xffff
		}
		if got, want := Fold(Sum(b, 0)), ^uint16(naive); got != want {
			t.Fatalf("%d bytes: checksum %#x, want %#x", n, got, want)
		}
	}
	if got := Fold(Sum(bytes.Repeat([]byte{0xff}, 64), ^uint64(0))); got != 0 {
		t.Errorf("all ones: checksum %#x, want 0", got)
	}
}

// The header of RFC 1071's usual worked example, whose checksum is 0xb861.
func TestKnownIPv4HeaderChecksum(t *testing.T) {
	h := []byte{0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7}
	if got := Fold(Sum(h, 0)); got != 0xb861 {
		t.Errorf("checksum %#x, want 0xb861", got)
	}
}

func TestCraftedPacketsDecode(t *testing.T) {
	pay := []byte("payload!x")
	for _, c := range []struct {
		name     string
		pkt      []byte
		proto    Proto
		src, dst uint16
	}{
		{"udp4", must(AppendUDP(nil, ap(a4, 1000), ap(b4, 53), pay)), UDP, 1000, 53},
		{"udp6", must(AppendUDP(nil, ap(a6, 1000), ap(b6, 53), pay)), UDP, 1000, 53},
		{"tcp4", must(AppendTCP(nil, ap(a4, 1000), ap(b4, 80), TCPAck, 1, 2, pay)), TCP, 1000, 80},
		{"tcp6", must(AppendTCP(nil, ap(a6, 1000), ap(b6, 80), TCPAck, 1, 2, pay)), TCP, 1000, 80},
		{"icmp4", must(AppendEcho(nil, a4, b4, false, 7, 9, pay)), ICMPv4, 0, 0},
		{"icmp6", must(AppendEcho(nil, a6, b6, false, 7, 9, pay)), ICMPv6, 0, 0},
	} {
		var p Parsed
		// Bytes behind the packet are not part of it.
		if err := p.Decode(append(bytes.Clone(c.pkt), 1, 2, 3)); err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if p.Proto != c.proto || p.SrcPort != c.src || p.DstPort != c.dst {
			t.Errorf("%s: decoded as %v %d>%d", c.name, p.Proto, p.SrcPort, p.DstPort)
		}
		if !bytes.Equal(p.Payload(), pay) {
			t.Errorf("%s: payload %q", c.name, p.Payload())
		}
		if !bytes.Equal(p.Raw(), c.pkt) {
			t.Errorf("%s: raw packet differs", c.name)
		}
		if !p.ChecksumOK() {
			t.Errorf("%s: checksum wrong", c.name)
		}
		bad := bytes.Clone(c.pkt)
		bad[len(bad)-1] ^= 0x40
		if err := p.Decode(bad); err != nil || p.ChecksumOK() {
			t.Errorf("%s: damaged payload passes the checksum (%v)", c.name, err)
		}
		// Every truncation is refused and counts as unknown.
		for n := range len(c.pkt) {
			if err := p.Decode(c.pkt[:n]); err == nil || p.Proto != Unknown {
				t.Errorf("%s: cut to %d bytes: %v, %v", c.name, n, p.Proto, err)
			}
		}
	}
}

func TestEchoKinds(t *testing.T) {
	for _, c := range []struct{ src, dst netip.Addr }{{a4, b4}, {a6, b6}} {
		var p Parsed
		if err := p.Decode(must(AppendEcho(nil, c.src, c.dst, false, 3, 4, nil))); err != nil || !p.IsEchoRequest() || p.IsEchoReply() {
			t.Errorf("request from %v not recognised: %v", c.src, err)
		}
		if err := p.Decode(must(AppendEcho(nil, c.src, c.dst, true, 3, 4, nil))); err != nil || !p.IsEchoReply() || p.IsEchoRequest() {
			t.Errorf("reply from %v not recognised: %v", c.src, err)
		}
		if id, seq := p.EchoID(); id != 3 || seq != 4 {
			t.Errorf("echo id %d seq %d", id, seq)
		}
	}
}

func TestTSMPMessages(t *testing.T) {
	token := [8]byte{1, 2, 3, 4, 5, 6, 7, 8}
	var p Parsed
	for _, c := range []struct{ src, dst netip.Addr }{{a4, b4}, {a6, b6}} {
		ping := must(AppendPing(nil, c.src, c.dst, token))
		if !IsTSMP(ping) {
			t.Error("ping is not seen as protocol 99")
		}
		if err := p.Decode(ping); err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Ping(); !ok || got != token {
			t.Errorf("ping token %v, %v", got, ok)
		}
		if _, _, ok := p.Pong(); ok {
			t.Error("ping taken for a pong")
		}
		if err := p.Decode(must(AppendPong(nil, c.src, c.dst, token, 4321))); err != nil {
			t.Fatal(err)
		}
		if got, port, ok := p.Pong(); !ok || got != token || port != 4321 {
			t.Errorf("pong %v port %d, %v", got, port, ok)
		}
		key := [32]byte{9, 8, 7}
		if err := p.Decode(must(AppendDiscoKey(nil, c.src, c.dst, key))); err != nil {
			t.Fatal(err)
		}
		if got, ok := p.DiscoKey(); !ok || got != key {
			t.Errorf("disco key %v, %v", got, ok)
		}
		want := Reject{Proto: TCP, Src: ap(c.src, 5), Dst: ap(c.dst, 80), Reason: RejectACL, MaybeBroken: true}
		if err := p.Decode(must(AppendReject(nil, want))); err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Reject(); !ok || got != want {
			t.Errorf("reject %+v, want %+v", got, want)
		}
		if p.Src != c.dst || p.Dst != c.src {
			t.Errorf("reject travels %v>%v", p.Src, p.Dst)
		}
	}
	// A pong of an old node has no port.
	old := must(AppendIP(nil, a4, b4, TSMP, append([]byte{'o'}, token[:]...)))
	if err := p.Decode(old); err != nil {
		t.Fatal(err)
	}
	if _, port, ok := p.Pong(); !ok || port != 0 {
		t.Errorf("old pong: port %d, %v", port, ok)
	}
}

func TestMixedFamiliesRefused(t *testing.T) {
	if _, err := AppendPing(nil, a4, b6, [8]byte{}); err == nil {
		t.Error("a packet from IPv4 to IPv6 was made")
	}
	if _, err := AppendUDP(nil, ap(a4, 1), ap(b4, 1), make([]byte, 70000)); err == nil {
		t.Error("an oversized packet was made")
	}
}

// fragment4 turns an IPv4 packet into a fragment at the given offset in bytes.
func fragment4(pkt []byte, offset int, more bool) []byte {
	b := bytes.Clone(pkt)
	f := uint16(offset / 8)
	if more {
		f |= 0x2000
	}
	binary.BigEndian.PutUint16(b[6:], f)
	return b
}

// extended6 puts extension headers between IPv6 header and segment.
func extended6(first uint8, segment []byte, headers ...[]byte) []byte {
	body := append(bytes.Join(headers, nil), segment...)
	b := must(AppendIP(nil, a6, b6, Proto(first), body))
	return b
}

func TestFragmentsAndHeaders(t *testing.T) {
	tcp4 := must(AppendTCP(nil, ap(a4, 1), ap(b4, 80), TCPSyn, 1, 0, make([]byte, 40)))
	tcp6 := must(AppendTCP(nil, ap(a6, 1), ap(b6, 80), TCPSyn, 1, 0, make([]byte, 40)))[40:]
	options := func(opts ...byte) []byte { // tcp4 with IP options
		b := append(append(bytes.Clone(tcp4[:20]), opts...), tcp4[20:]...)
		b[0] = 0x40 | byte(5+len(opts)/4)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		return b
	}
	with := func(b []byte, at int, v byte) []byte {
		b = bytes.Clone(b)
		b[at] = v
		return b
	}
	dest := func(next uint8, units int) []byte {
		h := make([]byte, 8+8*units)
		h[0], h[1] = next, byte(units)
		return h
	}
	frag := func(next uint8, offset uint16, more byte) []byte {
		return []byte{next, 0, byte(offset >> 8), byte(offset) | more, 0, 0, 0, 1}
	}
	for _, c := range []struct {
		name  string
		pkt   []byte
		err   error
		proto Proto
		frag  Fragment
	}{
		{"empty", nil, ErrTooShort, Unknown, 0},
		{"version 5", []byte{0x50}, ErrMalformed, Unknown, 0},
		{"whole", tcp4, nil, TCP, FragmentNone},
		{"first fragment", fragment4(tcp4, 0, true), nil, TCP, FragmentFirst},
		{"first fragment without ports", fragment4(with(tcp4[:24], 3, 24), 0, true), ErrFragment, Unknown, FragmentFirst},
		{"later fragment", fragment4(tcp4, 80, false), nil, TCP, FragmentLater},
		{"overlapping fragment", fragment4(tcp4, 72, true), ErrFragment, Unknown, 0},
		{"fragmented tsmp", fragment4(with(tcp4, 9, 99), 800, false), ErrFragment, Unknown, 0},
		{"no options length", with(tcp4, 0, 0x44), ErrMalformed, Unknown, 0},
		{"longer than buffer", with(tcp4, 2, 0xff), ErrTooShort, Unknown, 0},
		{"shorter than header", with(with(tcp4, 2, 0), 3, 19), ErrMalformed, Unknown, 0},
		{"protocol 0", with(tcp4, 9, 0), ErrMalformed, Unknown, 0},
		{"protocol 255", with(tcp4, 9, 255), ErrMalformed, Unknown, 0},
		{"tcp offset too small", with(tcp4, 32, 0x40), ErrMalformed, Unknown, 0},
		{"tcp offset too large", with(with(tcp4[:44], 3, 44), 32, 0x70), ErrMalformed, Unknown, 0},
		{"record route", options(7, 4, 4, 0), nil, TCP, FragmentNone},
		{"loose source route", options(1, 131, 3, 4), ErrMalformed, Unknown, 0},
		{"broken option", options(7, 200, 0, 0), ErrMalformed, Unknown, 0},
		{"destination options", extended6(60, tcp6, dest(6, 2)), nil, TCP, FragmentNone},
		{"hop by hop then options", extended6(0, tcp6, dest(60, 0), dest(6, 0)), nil, TCP, FragmentNone},
		{"hop by hop not first", extended6(60, tcp6, dest(0, 0), dest(6, 0)), ErrMalformed, Unknown, 0},
		{"header beyond packet", extended6(60, nil, with(dest(6, 0), 1, 255)), ErrTooShort, Unknown, 0},
		{"routing with segments left", extended6(43, tcp6, []byte{6, 0, 0, 1, 0, 0, 0, 0}), ErrMalformed, Unknown, 0},
		{"routing done", extended6(43, tcp6, []byte{6, 0, 0, 0, 0, 0, 0, 0}), nil, TCP, FragmentNone},
		{"esp", extended6(50, tcp6), nil, 50, FragmentNone},
		{"authentication", extended6(51, tcp6), nil, 51, FragmentNone},
		{"no next header", extended6(59, tcp6), ErrMalformed, Unknown, 0},
		{"atomic fragment", extended6(44, tcp6, frag(6, 0, 0)), nil, TCP, FragmentNone},
		{"first fragment 6", extended6(44, tcp6, frag(6, 0, 1)), nil, TCP, FragmentFirst},
		{"later fragment 6", extended6(44, tcp6, frag(6, 80, 0)), nil, TCP, FragmentLater},
		{"overlapping fragment 6", extended6(44, tcp6, frag(6, 72, 0)), ErrFragment, Unknown, 0},
		{"two fragment headers", extended6(44, tcp6, frag(44, 0, 1), frag(6, 0, 1)), ErrMalformed, Unknown, FragmentNone},
		{"header beyond first fragment", extended6(44, tcp6, frag(60, 0, 1), dest(6, 8)), ErrFragment, Unknown, FragmentFirst},
		{"too many headers", extended6(60, tcp6, bytes.Repeat(dest(60, 0), 9), dest(6, 0)), ErrMalformed, Unknown, 0},
		{"icmp6 in ip4", with(tcp4, 9, 58), nil, ICMPv6, FragmentNone},
	} {
		var p Parsed
		err := p.Decode(c.pkt)
		if !errors.Is(err, c.err) || p.Proto != c.proto || p.Fragment != c.frag {
			t.Errorf("%s: %v, proto %v, fragment %d; want %v, %v, %d", c.name, err, p.Proto, p.Fragment, c.err, c.proto, c.frag)
		}
		if c.name == "icmp6 in ip4" && p.IsICMP() {
			t.Error("ICMPv6 inside IPv4 counts as ICMP")
		}
		if err == nil && p.Proto == TCP && p.Fragment != FragmentLater && p.DstPort != 80 {
			t.Errorf("%s: destination port %d", c.name, p.DstPort)
		}
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	pkt := must(AppendTCP(nil, ap(a6, 1), ap(b6, 80), TCPSyn, 1, 0, nil))
	var p Parsed
	if n := testing.AllocsPerRun(100, func() { _ = p.Decode(pkt); _ = p.Decode(pkt[:30]) }); n != 0 {
		t.Errorf("%v allocations a packet", n)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(must(AppendTCP(nil, ap(a4, 1), ap(b4, 80), TCPSyn, 1, 0, []byte("x"))))
	f.Add(must(AppendUDP(nil, ap(a6, 1), ap(b6, 80), []byte("x"))))
	f.Add(must(AppendEcho(nil, a6, b6, false, 1, 2, nil)))
	f.Add(must(AppendPing(nil, a4, b4, [8]byte{})))
	f.Add(must(AppendReject(nil, Reject{Proto: TCP, Src: ap(a4, 1), Dst: ap(b4, 2), Reason: RejectACL})))
	f.Add(extended6(60, []byte("0123456789012345678901234567"), []byte{44, 0, 0, 0, 0, 0, 0, 0}, []byte{6, 0, 0, 1, 0, 0, 0, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Parsed
		err := p.Decode(b)
		if (err != nil) != (p.Proto == Unknown) {
			t.Fatalf("error %v with protocol %v", err, p.Proto)
		}
		if len(p.Raw()) > len(b) || len(p.Payload()) > len(p.Transport()) {
			t.Fatal("parts larger than the packet")
		}
		if err == nil && p.Version != 4 && p.Version != 6 {
			t.Fatalf("version %d accepted", p.Version)
		}
		if p.Proto == TCP && p.Fragment != FragmentLater && len(p.Transport()) < 20 {
			t.Fatal("TCP without a header")
		}
		p.ChecksumOK()
		p.Reject()
		p.Ping()
		p.Pong()
		p.DiscoKey()
		p.EchoID()
	})
}

func BenchmarkDecode(b *testing.B) {
	pkt := must(AppendTCP(nil, ap(a4, 1), ap(b4, 80), TCPAck, 1, 0, make([]byte, 1200)))
	var p Parsed
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Decode(pkt)
	}
}
