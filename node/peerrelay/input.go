package peerrelay

import (
	"net/netip"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Verdict is what becomes of a datagram.
type Verdict struct {
	// Why is Forwarded, Answered, or the reason why the datagram is dropped.
	Why Drop
	// To is where Packet is to be sent. Answered messages may have nothing to send.
	To     netip.AddrPort
	Packet []byte
}

// verdict is a Verdict for whoever counts themselves.
type verdict struct {
	Verdict
	side *side // whose data is forwarded
}

// Input takes a datagram that came from an address, IPv4 never as mapped IPv6. The packet
// to send is the datagram itself or an answer in the memory of buf.
func (t *Table) Input(now time.Time, from netip.AddrPort, pkt, buf []byte) Verdict {
	v := t.input(t.at(now), from, pkt, buf)
	if v.Why == Forwarded {
		v.side.in.add(1, len(pkt))
		t.counters.forwarded[family(from)][family(v.To)].add(1, len(pkt))
	}
	t.counters.dropped[v.Why].Add(1)
	return v.Verdict
}

// family returns the family of an address.
func family(a netip.AddrPort) Family {
	if a.Addr().Is4() {
		return UDP4
	}
	return UDP6
}

// input is Input without the counting.
func (t *Table) input(at int64, from netip.AddrPort, pkt, buf []byte) verdict {
	header, ok := disco.ParseGeneve(pkt)
	if !ok {
		return dropped(NoGeneve)
	}
	s := t.index.get(header.VNI)
	if s == nil {
		return dropped(UnknownVNI)
	}
	if header.Control {
		return t.control(at, s, header, from, pkt, buf)
	}
	side, to, why := s.forward(from)
	if why != Forwarded {
		return dropped(why)
	}
	side.heard.Store(at)
	return verdict{Verdict{Forwarded, to, pkt}, side}
}

func dropped(why Drop) verdict { return verdict{Verdict: Verdict{Why: why}} }

// control handles a message for the server itself.
func (t *Table) control(at int64, s *session, header disco.Geneve, from netip.AddrPort, pkt, buf []byte) verdict {
	sealed := pkt[disco.GeneveLen:]
	if header.Protocol != disco.ProtocolDisco || len(pkt) < controlLen || !disco.IsSealed(sealed) {
		return dropped(NotDisco)
	}
	client, ok := s.sender(sealed)
	if !ok {
		return dropped(WrongSender)
	}
	// What comes from here on costs something. Each ration is taken only if the ones before
	// it were granted, so that who floods one session does not use up what all share.
	if !t.sources.take(at, from.Addr()) || !s.work.take(at, sessionPace) || !t.total.take(at, totalPace) {
		return dropped(Limited)
	}
	var inner [256]byte
	if len(sealed) > len(inner) {
		sealed = sealed[:0] // no bind message is that long
	}
	body, err := s.open(t.cfg.Key, client, sealed, inner[:0])
	if err != nil {
		return dropped(NotOpened)
	}
	typ, _, body, err := disco.Split(body)
	var m disco.Bind
	if err != nil || m.Parse(body) != nil {
		return dropped(NotOpened)
	}
	switch typ {
	case disco.TypeBind:
		return t.bind(at, s, client, &m, from, buf)
	case disco.TypeAnswer:
		return dropped(s.finish(at, client, &m, from, func() bool { return t.challenger.proves(at, &m, from) }))
	}
	return dropped(NotOpened)
}

// bind answers a bind request with a challenge, which is never longer than the request.
func (t *Table) bind(at int64, s *session, client int, m *disco.Bind, from netip.AddrPort, buf []byte) verdict {
	if why := s.begin(client, m); why != Answered {
		return dropped(why)
	}
	reply := disco.Bind{VNI: s.vni, Generation: m.Generation, Remote: m.Remote}
	reply.Challenge = t.challenger.challenge(at, &reply, from)
	var inner [128]byte
	out := disco.Geneve{Control: true, Protocol: disco.ProtocolDisco, VNI: s.vni}.Append(buf[:0])
	out = seal(out, t.public, s.sharedWith(t.cfg.Key, client), t.cfg.Random, reply.Append(inner[:0], disco.TypeChallenge))
	return verdict{Verdict: Verdict{Answered, from, out}}
}

// seal appends a sealed message with a random nonce.
func seal(dst []byte, from key.DiscoPublic, shared key.DiscoShared, random func([]byte), inner []byte) []byte {
	var nonce disco.Nonce
	random(nonce[:])
	return disco.AppendSeal(dst, from, shared, nonce, inner)
}
