package path

import (
	"testing"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// FuzzHandlePacket has a peer send arbitrary messages in good envelopes, and anybody
// arbitrary packets, over UDP and through a relay. The engine goes on working.
func FuzzHandlePacket(f *testing.F) {
	n := newMemnet(1)
	n.udpCut, n.relayCut = true, true
	a := n.host(f, "192.0.2.1")
	f.Cleanup(a.stop)
	peerKey, peerDisco := key.NewNode().Public(), key.NewDisco()
	a.apply(Peer{Key: peerKey, Disco: peerDisco.Public(), HomeRegion: 1})
	udp := &Source{Addr: stunServer}
	relayed := &Source{Addr: relayAddr(1), Peer: peerKey, Region: 1, peer: a.lookup(peerKey)}
	f.Add((&disco.Ping{TxID: disco.TxID{1}, Node: peerKey}).Append(nil), true)
	f.Add((&disco.Pong{TxID: disco.TxID{1}}).Append(nil), false)
	f.Add((&disco.CallMeMaybe{Endpoints: []addrPort{stunServer, {}}}).Append(nil), false)
	f.Add([]byte{7, 0, 1}, false)
	f.Fuzz(func(t *testing.T, inner []byte, direct bool) {
		from := relayed
		if direct {
			from = udp
		}
		sealed := sealedFrom(peerDisco, a, inner)
		if err := a.do(func() {
			a.handlePacket(sealed, from)
			a.handlePacket(inner, from)
		}); err != nil {
			t.Fatal(err)
		}
		if len(a.Status().Peers) != 1 {
			t.Fatal("a packet changed the set of peers")
		}
	})
}
