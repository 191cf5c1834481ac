package peerrelay

import (
	"strconv"
	"sync/atomic"
)

// Drop says why a datagram was dropped.
type Drop uint8

// The reasons.
const (
	// Forwarded is no reason: the datagram was forwarded.
	Forwarded Drop = iota
	// Answered is no reason either: it was a message for the server, who understood it.
	Answered
	// NoGeneve is a datagram without a Geneve header.
	NoGeneve
	// UnknownVNI is one for a session that does not exist.
	UnknownVNI
	// NotBound is data before both sides are bound.
	NotBound
	// WrongSource is data from an address that no side is bound to.
	WrongSource
	// NotDisco is a control message that is not sealed.
	NotDisco
	// WrongSender is a control message of somebody else than the two clients.
	WrongSender
	// Limited is a control message beyond what its source, its session or all together may
	// send.
	Limited
	// NotOpened is a control message that does not open or is of no use.
	NotOpened
	// WrongBind is a bind message for another VNI, another remote or without generation.
	WrongBind
	// WrongGeneration is an answer to no challenge of the handshake under way.
	WrongGeneration
	// WrongChallenge is an answer without proof that its source got the challenge.
	WrongChallenge
	// TooLarge is a datagram that did not fit the buffer.
	TooLarge
	// NoSocket is one whose way out has no socket of its family.
	NoSocket
	// WriteError is one that the system did not take.
	WriteError

	numDrops
)

var dropNames = [numDrops]string{"forwarded", "answered", "no-geneve", "unknown-vni", "not-bound", "wrong-source",
	"not-disco", "wrong-sender", "limited", "not-opened", "wrong-bind", "wrong-generation", "wrong-challenge",
	"too-large", "no-socket", "write-error"}

// String returns the reason in a word.
func (d Drop) String() string {
	if d < numDrops {
		return dropNames[d]
	}
	return "drop " + strconv.Itoa(int(d))
}

// Family is an IP version on the outside of a forwarded packet.
type Family uint8

// The families.
const (
	UDP4 Family = iota
	UDP6
)

// String returns the family's name in metrics.
func (f Family) String() string {
	if f == UDP4 {
		return "udp4"
	}
	return "udp6"
}

// Traffic counts datagrams and the bytes in them, the Geneve header included.
type Traffic struct {
	Packets, Bytes uint64
}

// traffic is a Traffic that many may add to.
type traffic struct {
	packets, bytes atomic.Uint64
}

func (t *traffic) add(packets, bytes int) {
	t.packets.Add(uint64(packets))
	t.bytes.Add(uint64(bytes))
}

func (t *traffic) load() Traffic { return Traffic{t.packets.Load(), t.bytes.Load()} }

// Counters are what a server counts, apart from its sessions.
type Counters struct {
	// Forwarded is by the family that a packet came in and that it went out by.
	Forwarded [2][2]Traffic
	// Dropped is by reason.
	Dropped map[Drop]uint64
}

// counters are Counters at work.
type counters struct {
	forwarded [2][2]traffic
	dropped   [numDrops]atomic.Uint64
}

func (c *counters) load() Counters {
	out := Counters{Dropped: map[Drop]uint64{}}
	for in := range c.forwarded {
		for o := range c.forwarded[in] {
			out.Forwarded[in][o] = c.forwarded[in][o].load()
		}
	}
	for d := NoGeneve; d < numDrops; d++ {
		if n := c.dropped[d].Load(); n > 0 {
			out.Dropped[d] = n
		}
	}
	return out
}
