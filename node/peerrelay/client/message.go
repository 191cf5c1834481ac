package client

import (
	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// Message appends the inner message that an action asks to send, and returns for whom to
// seal it. self is this node's key, which pings carry. ok is false for actions that send
// nothing.
func (a *Action) Message(dst []byte, self key.NodePublic) (inner []byte, to key.DiscoPublic, ok bool) {
	switch a.Kind {
	case SendAllocate:
		return a.Request.Append(dst), key.DiscoPublic{}, true // the server is known by its node key
	case SendVia:
		m := disco.CallMeMaybeVia{Endpoint: *a.Endpoint}
		return m.Append(dst), a.Peer.Disco, true
	case SendBind:
		return a.Bind.Append(dst, disco.TypeBind), a.Relay, true
	case SendAnswer:
		return a.Bind.Append(dst, disco.TypeAnswer), a.Relay, true
	case SendPing:
		m := disco.Ping{TxID: a.TxID, Node: self}
		return m.Append(dst), a.Peer.Disco, true
	case SendPong:
		m := disco.Pong{TxID: a.TxID, Src: a.To.AddrPort}
		return m.Append(dst), a.Peer.Disco, true
	}
	return dst, key.DiscoPublic{}, false
}

// Header returns the Geneve header that the message of an action to a relay goes behind,
// and false for messages that go through a relay region.
func (a *Action) Header() (disco.Geneve, bool) {
	switch a.Kind {
	case SendBind, SendAnswer, SendPing, SendPong:
		return disco.Geneve{Control: a.Kind == SendBind || a.Kind == SendAnswer, Protocol: disco.ProtocolDisco, VNI: a.To.VNI}, true
	}
	return disco.Geneve{}, false
}
