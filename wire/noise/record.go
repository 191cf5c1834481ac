package noise

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/ginnel/ginnel/wire/key"
)

// Record sizes in bytes: wire document control, section 3.6.
const (
	// MaxFrame is the largest record on the wire, header included.
	MaxFrame = 4096
	// MaxCiphertext is the largest record body.
	MaxCiphertext = MaxFrame - HeaderSize
	// MaxPlaintext is the most that one record carries.
	MaxPlaintext = MaxCiphertext - tagSize
	// Overhead is what a record adds to its plaintext.
	Overhead = HeaderSize + tagSize
)

// Errors of the transport. Each one ends the connection.
var (
	// ErrRecord means a record that is not one: another message type, a wrong
	// size, or a tag that does not fit.
	ErrRecord = errors.New("invalid record")
	// ErrTooLong means more plaintext than fits in one record.
	ErrTooLong = fmt.Errorf("plaintext is longer than %d bytes", MaxPlaintext)
	// ErrExhausted means that a direction has used all its record numbers.
	ErrExhausted = errors.New("record numbers are used up")
)

// Session is a finished handshake: it seals the records of one direction and
// opens those of the other. The two directions may be used at the same time by
// two goroutines, each direction by one at a time.
type Session struct {
	peer       key.MachinePublic
	version    uint16
	hash       [keySize]byte
	send, recv direction
}

func newSession(peer key.MachinePublic, version uint16, hash, send, recv [keySize]byte) *Session {
	return &Session{
		peer: peer, version: version, hash: hash,
		send: direction{aead: newAEAD(send)},
		recv: direction{aead: newAEAD(recv)},
	}
}

// Peer returns the other side's static key, which the handshake has proved.
func (s *Session) Peer() key.MachinePublic { return s.peer }

// Version returns the capability version that the client named.
func (s *Session) Version() uint16 { return s.version }

// HandshakeHash returns the hash of the handshake's transcript, equal on both
// sides and different for every session.
func (s *Session) HandshakeHash() [32]byte { return s.hash }

// AppendSeal appends one whole record, header included, that carries plaintext
// (at most MaxPlaintext bytes; none is allowed) to dst. plaintext must not
// overlap the free space of dst.
func (s *Session) AppendSeal(dst, plaintext []byte) ([]byte, error) {
	if len(plaintext) > MaxPlaintext {
		return dst, fmt.Errorf("noise: seal: %w", ErrTooLong)
	}
	nonce, err := s.send.nonce()
	if err != nil {
		return dst, fmt.Errorf("noise: seal: %w", err)
	}
	dst = append(dst, TypeRecord)
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(plaintext)+tagSize))
	dst = s.send.aead.Seal(dst, nonce, plaintext, nil)
	s.send.counter++
	return dst, nil
}

// RecordSize returns the size of the record body that follows the given header
// (at least HeaderSize bytes), which is at most MaxCiphertext.
func RecordSize(header []byte) (int, error) {
	n := int(binary.BigEndian.Uint16(header[1:]))
	switch {
	case header[0] != TypeRecord:
		return 0, fmt.Errorf("noise: message type %d where a record is due: %w", header[0], ErrRecord)
	case n > MaxCiphertext:
		return 0, fmt.Errorf("noise: record of %d bytes, at most %d are allowed: %w", n, MaxCiphertext, ErrRecord)
	case n < tagSize:
		return 0, fmt.Errorf("noise: record of %d bytes has no room for its tag: %w", n, ErrRecord)
	}
	return n, nil
}

// AppendOpen opens the body of a record, without its header, and appends the
// plaintext to dst; body[:0] as dst opens in place. After an error the stream is
// out of step for good.
func (s *Session) AppendOpen(dst, body []byte) ([]byte, error) {
	if len(body) > MaxCiphertext {
		return dst, fmt.Errorf("noise: record of %d bytes, at most %d are allowed: %w", len(body), MaxCiphertext, ErrRecord)
	}
	nonce, err := s.recv.nonce()
	if err != nil {
		return dst, fmt.Errorf("noise: open: %w", err)
	}
	out, err := s.recv.aead.Open(dst, nonce, body, nil)
	if err != nil {
		return dst, fmt.Errorf("noise: record %d does not open: %w", s.recv.counter, ErrRecord)
	}
	s.recv.counter++
	return out, nil
}
