package noise

import (
	"fmt"
	"io"
)

// A handshake in progress and a session hold keys. Printed with whatever verb, they
// say only what they are.

// Format writes a fixed word, never a key.
func (Initiator) Format(f fmt.State, _ rune) { io.WriteString(f, "[noise handshake]") }

// Format writes the other side's public key, never a secret one.
func (s Session) Format(f fmt.State, _ rune) {
	io.WriteString(f, "[noise session with "+s.peer.ShortString()+"]")
}

// MarshalText keeps a handshake out of JSON and logs. It never fails.
func (i Initiator) MarshalText() ([]byte, error) { return fmt.Append(nil, i), nil }

// MarshalText keeps a session's keys out of JSON and logs. It never fails.
func (s Session) MarshalText() ([]byte, error) { return fmt.Append(nil, s), nil }
