package state

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/ginnel/ginnel/wire/key"
)

// Keys of the store that are this implementation's own.
const (
	keyNext = "_next-node-key"
	keyPort = "_udp-port"

	keysPrefix = "keys-" // and the ID of a profile
)

// profileKeys are the secrets of a profile beside its identity.
type profileKeys struct {
	DiscoKey   string          `json:",omitempty"` // hexadecimal
	OldNodeKey key.NodePrivate `json:",omitzero"`
}

// marshalKeys returns the stored form, nil if there is nothing to store.
func (p *Profile) marshalKeys() ([]byte, error) {
	k := profileKeys{OldNodeKey: p.OldNodeKey}
	if !p.DiscoKey.IsZero() {
		raw := p.DiscoKey.Raw32()
		k.DiscoKey = hex.EncodeToString(raw[:])
	}
	if k.DiscoKey == "" && k.OldNodeKey.IsZero() {
		return nil, nil
	}
	text, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("encoding keys: %w", err)
	}
	return text, nil
}

// readKeys fills in the keys of the profile.
func (s *Store) readKeys(p *Profile) error {
	text, ok := s.Read(keysPrefix + p.ID)
	if !ok {
		return nil
	}
	var k profileKeys
	if err := json.Unmarshal(text, &k); err != nil {
		return &CorruptError{s.Path(), fmt.Errorf("keys of profile %q: %w", p.ID, err)}
	}
	p.OldNodeKey = k.OldNodeKey
	if k.DiscoKey == "" {
		return nil
	}
	raw, err := hex.DecodeString(k.DiscoKey)
	if err == nil && len(raw) != 32 {
		err = errors.New("it does not have 32 bytes")
	}
	if err != nil {
		return &CorruptError{s.Path(), fmt.Errorf("disco key of profile %q: %w", p.ID, err)}
	}
	p.DiscoKey = key.DiscoPrivateFromRaw32([32]byte(raw))
	return nil
}

// NextKey is a node key that was made for a login of which the end is not known: the
// server may have accepted it already.
type NextKey struct {
	Server string         // URL
	Old    key.NodePublic // the key to be replaced, zero for a first login
	Key    key.NodePrivate
}

// nextKeyAfter returns where the key is stored that is to replace old.
func nextKeyAfter(old key.NodePublic) string {
	if old.IsZero() {
		return keyNext
	}
	return keyNext + "-" + old.String()
}

// SaveNextKey stores a key before the server hears of it, in the place of an earlier one
// for the same old key. It is forgotten when a profile with it is saved, and with the
// profile that has the old key.
func (s *Store) SaveNextKey(k NextKey) error {
	text, err := json.Marshal(k)
	if err != nil {
		return fmt.Errorf("encoding node key: %w", err)
	}
	return s.Write(Change{nextKeyAfter(k.Old), text})
}

// NextKey returns the key stored last by SaveNextKey to replace old, or the zero value.
func (s *Store) NextKey(old key.NodePublic) (NextKey, error) {
	return s.readNextKey(nextKeyAfter(old))
}

func (s *Store) readNextKey(name string) (NextKey, error) {
	var k NextKey
	if text, ok := s.Read(name); ok {
		if err := json.Unmarshal(text, &k); err != nil {
			return NextKey{}, &CorruptError{s.Path(), fmt.Errorf("next node key: %w", err)}
		}
	}
	return k, nil
}

// DropNextKey forgets what SaveNextKey stored to replace old.
func (s *Store) DropNextKey(old key.NodePublic) error {
	return s.Write(Change{nextKeyAfter(old), nil})
}

// Port returns the UDP port of the last run, 0 if none is known.
func (s *Store) Port() uint16 {
	text, _ := s.Read(keyPort)
	n, err := strconv.ParseUint(string(text), 10, 16)
	if err != nil {
		return 0 // any port will do
	}
	return uint16(n)
}

// SavePort stores the UDP port in use.
func (s *Store) SavePort(port uint16) error {
	return s.Write(Change{keyPort, strconv.AppendUint(nil, uint64(port), 10)})
}
