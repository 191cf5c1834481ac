package disco

import (
	"fmt"
	"strconv"
)

// Type is the first byte of an inner message.
type Type byte

// The message types.
const (
	TypePing             Type = 0x01
	TypePong             Type = 0x02
	TypeCallMeMaybe      Type = 0x03
	TypeBind             Type = 0x04
	TypeChallenge        Type = 0x05
	TypeAnswer           Type = 0x06
	TypeCallMeMaybeVia   Type = 0x07
	TypeAllocateRequest  Type = 0x08
	TypeAllocateResponse Type = 0x09
)

// headerLen is the length of the type and version bytes before a body.
const headerLen = 2

// version is what all messages are sent with. Some messages ignore the version that
// they are received with, others become empty when it is another one (section 3.1).
const version = 0

// String returns the name of the message type.
func (t Type) String() string {
	names := [...]string{"", "ping", "pong", "call-me-maybe", "bind", "challenge", "answer",
		"call-me-maybe-via", "allocate-request", "allocate-response"}
	if t == 0 || int(t) >= len(names) {
		return "type " + strconv.Itoa(int(t))
	}
	return names[t]
}

// Split takes an inner message apart. Whoever gets a type that they do not know ignores
// the message.
func Split(inner []byte) (t Type, ver byte, body []byte, err error) {
	if len(inner) < headerLen {
		return 0, 0, nil, fmt.Errorf("disco: message of %d bytes has no header", len(inner))
	}
	return Type(inner[0]), inner[1], inner[headerLen:], nil
}

// shortError says that a body ends too early.
func shortError(t Type, got, want int) error {
	return fmt.Errorf("disco: %v body of %d bytes, want at least %d", t, got, want)
}
