package peerrelay

import (
	"crypto/subtle"
	"encoding/binary"
	"net/netip"
	"sync"

	"golang.org/x/crypto/blake2s"

	"github.com/ginnel/ginnel/wire/disco"
)

// secretLen is the length of challenges and of the secrets that they are made with.
const secretLen = blake2s.Size

// challenger makes challenges without remembering them: each is a keyed hash of what it
// was made for, and of where it is sent.
type challenger struct {
	random func([]byte)

	mu      sync.Mutex
	secrets [2][secretLen]byte // in use, and the one before
	made    int64              // when the first was made
}

// init makes the first secrets. The one before is as random as the other: nobody has ever
// seen it.
func (c *challenger) init(now int64, random func([]byte)) {
	c.random, c.made = random, now
	c.random(c.secrets[0][:])
	c.random(c.secrets[1][:])
}

// at returns the secrets that hold at time now, the one in use first.
func (c *challenger) at(now int64) [2][secretLen]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if age := now - c.made; age >= int64(SecretLifetime) {
		c.secrets[1] = c.secrets[0]
		if age >= 2*int64(SecretLifetime) {
			c.random(c.secrets[1][:]) // nobody rotated in time, but it is not to live longer
		}
		c.random(c.secrets[0][:])
		c.made += age - age%int64(SecretLifetime)
	}
	return c.secrets
}

// challenge returns the challenge for a bind request from src.
func (c *challenger) challenge(now int64, m *disco.Bind, src netip.AddrPort) [secretLen]byte {
	secrets := c.at(now)
	return hash(&secrets[0], m, src)
}

// proves reports whether an answer from src holds the challenge that was sent there.
func (c *challenger) proves(now int64, m *disco.Bind, src netip.AddrPort) bool {
	secrets := c.at(now)
	for i := range secrets {
		want := hash(&secrets[i], m, src)
		if subtle.ConstantTimeCompare(want[:], m.Challenge[:]) == 1 {
			return true
		}
	}
	return false
}

// hash binds VNI, generation, remote key and source.
func hash(secret *[secretLen]byte, m *disco.Bind, src netip.AddrPort) (sum [secretLen]byte) {
	var in [4 + 4 + 32 + 16 + 2]byte
	binary.BigEndian.PutUint32(in[0:], m.VNI)
	binary.BigEndian.PutUint32(in[4:], m.Generation)
	m.Remote.AppendTo(in[:8])
	ip := src.Addr().As16()
	copy(in[40:], ip[:])
	binary.BigEndian.PutUint16(in[56:], src.Port())
	h, err := blake2s.New256(secret[:])
	if err != nil {
		panic("peerrelay: " + err.Error()) // only for keys that are too long
	}
	h.Write(in[:])
	h.Sum(sum[:0])
	return sum
}
