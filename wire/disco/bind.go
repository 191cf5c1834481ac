package disco

import (
	"encoding/binary"

	"github.com/ginnel/ginnel/wire/key"
)

const (
	challengeLen = 32
	bindLen      = 4 + 4 + keyLen + challengeLen
	vniMask      = 1<<24 - 1
)

// Bind is the body shared by the three messages with which a client binds its UDP
// address to an allocation on a peer relay: TypeBind (client to server), TypeChallenge
// (back) and TypeAnswer. They travel inside Geneve with the control bit set.
type Bind struct {
	VNI        uint32 // 24 bits
	Generation uint32 // chosen by the client per handshake, not zero
	Remote     key.DiscoPublic
	Challenge  [challengeLen]byte // meaningless in TypeBind
}

// Append appends the inner message of type t, one of the three bind types.
func (m *Bind) Append(dst []byte, t Type) []byte {
	dst = append(dst, byte(t), version)
	dst = binary.BigEndian.AppendUint32(dst, m.VNI&vniMask)
	dst = binary.BigEndian.AppendUint32(dst, m.Generation)
	dst = m.Remote.AppendTo(dst)
	return append(dst, m.Challenge[:]...)
}

// Parse reads a body of one of the three bind types.
func (m *Bind) Parse(body []byte) error {
	if len(body) < bindLen {
		return shortError(TypeBind, len(body), bindLen)
	}
	m.VNI = binary.BigEndian.Uint32(body) & vniMask
	m.Generation = binary.BigEndian.Uint32(body[4:])
	m.Remote = key.DiscoPublicFromRaw32([keyLen]byte(body[8:]))
	m.Challenge = [challengeLen]byte(body[8+keyLen:])
	return nil
}
