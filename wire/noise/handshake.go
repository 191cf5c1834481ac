package noise

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ginnel/ginnel/wire/key"
)

// Message sizes in bytes: wire document control, section 3.5.
const (
	// HeaderSize is the header of every message but the initiation: one byte of
	// type, two bytes of payload length.
	HeaderSize = 3
	// InitiationSize is the whole first message, client to server.
	InitiationSize = initiationHeaderSize + initiationPayload
	// ResponseSize is the whole second message, server to client.
	ResponseSize = HeaderSize + responsePayload

	initiationHeaderSize = 5
	keySize              = 32
	tagSize              = 16
	initiationPayload    = keySize + keySize + tagSize + tagSize
	responsePayload      = keySize + tagSize
)

// Message types.
const (
	TypeInitiation = 0x01
	TypeResponse   = 0x02
	TypeError      = 0x03 // UTF-8 text, an unauthenticated hint
	TypeRecord     = 0x04
)

// Errors of the handshake. A *RemoteError is the fourth kind.
var (
	// ErrMalformed means a handshake message of the wrong size, type or length.
	ErrMalformed = errors.New("malformed handshake message")
	// ErrHandshake means that the cryptography did not come out: the other side
	// does not hold the key it is taken to hold, or the message was changed.
	ErrHandshake = errors.New("handshake failed: the peer holds another key, or the message was changed on the way")
)

// RemoteError is the text of an error message that the server sent in place of
// its handshake response. Nothing authenticates it.
type RemoteError struct{ Text string }

// Error returns the text with its origin.
func (e *RemoteError) Error() string { return "server refused the handshake: " + e.Text }

// Initiator is the client's half of a handshake in progress.
type Initiator struct {
	sym       symmetric
	machine   key.MachinePrivate
	ephemeral key.MachinePrivate
	server    key.MachinePublic
	version   uint16
}

// NewInitiator starts a handshake as the client that holds machine, with the
// server known by its public key, and returns the 101-byte first message.
// version is the client's capability version; both sides must agree on it.
func NewInitiator(machine key.MachinePrivate, server key.MachinePublic, version uint16) (*Initiator, []byte, error) {
	return newInitiator(machine, server, version, key.NewMachine())
}

func newInitiator(machine key.MachinePrivate, server key.MachinePublic, version uint16, ephemeral key.MachinePrivate) (*Initiator, []byte, error) {
	i := &Initiator{machine: machine, ephemeral: ephemeral, server: server, version: version}
	i.sym.start(version, server)

	msg := make([]byte, 0, InitiationSize)
	msg = binary.BigEndian.AppendUint16(msg, version)
	msg = append(msg, TypeInitiation)
	msg = binary.BigEndian.AppendUint16(msg, initiationPayload)

	msg = ephemeral.Public().AppendTo(msg)
	i.sym.mixHash(msg[initiationHeaderSize:])
	if err := i.sym.mixDH(ephemeral, server); err != nil {
		return nil, nil, fmt.Errorf("noise: server key: %w", err)
	}
	self := machine.Public().Raw32()
	msg = i.sym.appendEncrypted(msg, self[:])
	if err := i.sym.mixDH(machine, server); err != nil {
		return nil, nil, fmt.Errorf("noise: machine key: %w", err)
	}
	msg = i.sym.appendEncrypted(msg, nil)
	return i, msg, nil
}

// Finish reads the server's answer, the whole message with its header, and
// returns the session. The error is a *RemoteError when the server sent a text,
// or wraps ErrMalformed or ErrHandshake. An Initiator can be finished once.
func (i *Initiator) Finish(response []byte) (*Session, error) {
	if len(response) < HeaderSize {
		return nil, fmt.Errorf("noise: response of %d bytes: %w", len(response), ErrMalformed)
	}
	length := int(binary.BigEndian.Uint16(response[1:]))
	body := response[HeaderSize:]
	if response[0] == TypeError && length == len(body) {
		return nil, &RemoteError{Text: string(body)}
	}
	if response[0] != TypeResponse || length != responsePayload || len(body) != responsePayload {
		return nil, fmt.Errorf("noise: response of type %d, length %d: %w", response[0], length, ErrMalformed)
	}
	serverEphemeral := key.MachinePublicFromRaw32([keySize]byte(body[:keySize]))
	i.sym.mixHash(body[:keySize])
	if err := i.sym.mixDH(i.ephemeral, serverEphemeral); err != nil {
		return nil, fmt.Errorf("noise: server ephemeral key: %w: %w", ErrHandshake, err)
	}
	if err := i.sym.mixDH(i.machine, serverEphemeral); err != nil {
		return nil, fmt.Errorf("noise: server ephemeral key: %w: %w", ErrHandshake, err)
	}
	if _, err := i.sym.decrypt(body[keySize:]); err != nil {
		return nil, fmt.Errorf("noise: response: %w", ErrHandshake)
	}
	toServer, toClient := i.sym.split()
	return newSession(i.server, i.version, i.sym.h, toServer, toClient), nil
}

// Respond answers a client's first message as the server that holds the given
// key. On success the second result is the 51-byte response to send. On an error
// that wraps ErrMalformed it is an error message to send before closing; on one
// that wraps ErrHandshake it is nil, and closing silently is right.
func Respond(server key.MachinePrivate, initiation []byte) (*Session, []byte, error) {
	return respond(server, initiation, key.NewMachine())
}

func respond(server key.MachinePrivate, initiation []byte, ephemeral key.MachinePrivate) (*Session, []byte, error) {
	if text := checkInitiation(initiation); text != "" {
		return nil, AppendError(nil, text), fmt.Errorf("noise: %s: %w", text, ErrMalformed)
	}
	version := binary.BigEndian.Uint16(initiation)
	body := initiation[initiationHeaderSize:]
	var sym symmetric
	sym.start(version, server.Public())

	clientEphemeral := key.MachinePublicFromRaw32([keySize]byte(body[:keySize]))
	sym.mixHash(body[:keySize])
	if err := sym.mixDH(server, clientEphemeral); err != nil {
		return nil, nil, fmt.Errorf("noise: client ephemeral key: %w: %w", ErrHandshake, err)
	}
	static, err := sym.decrypt(body[keySize : 2*keySize+tagSize])
	if err != nil {
		return nil, nil, fmt.Errorf("noise: initiation: %w", ErrHandshake)
	}
	client := key.MachinePublicFromRaw32([keySize]byte(static))
	if err := sym.mixDH(server, client); err != nil {
		return nil, nil, fmt.Errorf("noise: client machine key: %w: %w", ErrHandshake, err)
	}
	if _, err := sym.decrypt(body[2*keySize+tagSize:]); err != nil {
		return nil, nil, fmt.Errorf("noise: initiation: %w", ErrHandshake)
	}

	msg := make([]byte, 0, ResponseSize)
	msg = append(msg, TypeResponse)
	msg = binary.BigEndian.AppendUint16(msg, responsePayload)
	msg = ephemeral.Public().AppendTo(msg)
	sym.mixHash(msg[HeaderSize:])
	if err := sym.mixDH(ephemeral, clientEphemeral); err != nil {
		return nil, nil, fmt.Errorf("noise: client ephemeral key: %w: %w", ErrHandshake, err)
	}
	if err := sym.mixDH(ephemeral, client); err != nil {
		return nil, nil, fmt.Errorf("noise: client machine key: %w: %w", ErrHandshake, err)
	}
	msg = sym.appendEncrypted(msg, nil)
	toServer, toClient := sym.split()
	return newSession(client, version, sym.h, toClient, toServer), msg, nil
}

// checkInitiation returns what is wrong with the form of an initiation, or "".
func checkInitiation(msg []byte) string {
	switch {
	case len(msg) != InitiationSize:
		return fmt.Sprintf("initiation of %d bytes, want %d", len(msg), InitiationSize)
	case msg[2] != TypeInitiation:
		return fmt.Sprintf("message type %d, want initiation", msg[2])
	case binary.BigEndian.Uint16(msg[3:]) != initiationPayload:
		return fmt.Sprintf("initiation says %d bytes of payload, want %d", binary.BigEndian.Uint16(msg[3:]), initiationPayload)
	}
	return ""
}

// AppendError appends an error message with the given text, cut to what its
// length field can hold, to dst.
func AppendError(dst []byte, text string) []byte {
	text = text[:min(len(text), 1<<16-1)]
	dst = append(dst, TypeError)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(text)))
	return append(dst, text...)
}
