package key

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/crypto/nacl/box"
)

func TestSecretsPrintRedacted(t *testing.T) {
	disco := NewDisco()
	secrets := map[string]struct {
		key any
		raw []byte
	}{}
	add := func(name string, key any, raw []byte) {
		secrets[name] = struct {
			key any
			raw []byte
		}{key, raw}
	}
	m, n, c, l, mesh := NewMachine(), NewNode(), NewChallenge(), NewLock(), NewMeshKey()
	r32 := func(r [32]byte) []byte { return r[:] }
	add("machine", m, r32(m.Raw32()))
	add("node", n, r32(n.Raw32()))
	add("disco", disco, r32(disco.Raw32()))
	add("challenge", c, r32(c.Raw32()))
	lraw := l.raw()
	add("lock", l, lraw[:])
	add("mesh", mesh, mesh.k.get()[:])
	shared := disco.Shared(NewDisco().Public())
	add("shared", shared, shared.k.get()[:])

	for name, s := range secrets {
		checkRedacted(t, name, s.key, s.raw)
	}
	for name, zero := range map[string]any{
		"machine": MachinePrivate{}, "node": NodePrivate{}, "disco": DiscoPrivate{}, "challenge": ChallengePrivate{},
		"lock": LockPrivate{}, "mesh": MeshKey{}, "shared": DiscoShared{},
	} {
		for _, verb := range verbs {
			if got := fmt.Sprintf(verb, zero); got != redactedText {
				t.Errorf("zero %s with %s prints %q", name, verb, got)
			}
		}
	}
}

var verbs = []string{"%v", "%+v", "%#v", "%x", "%X", "% x", "%s", "%d", "%q", "%c", "%U", "%e", "%08b"}

// checkRedacted prints a secret in every way, alone and inside other values.
func checkRedacted(t *testing.T, name string, secret any, raw []byte) {
	t.Helper()
	pointer := reflect.New(reflect.TypeOf(secret))
	pointer.Elem().Set(reflect.ValueOf(secret))
	type outer struct{ K any }
	leaks := func(text string) bool {
		for _, form := range []string{
			strings.Trim(fmt.Sprint(raw[1:6]), "[]"), hex.EncodeToString(raw[1:6]), strings.ToUpper(hex.EncodeToString(raw[1:6])),
			fmt.Sprintf("% x", raw[1:6]), base64.StdEncoding.EncodeToString(raw[:6]), fmt.Sprintf("%q", raw[1:6]),
		} {
			if strings.Contains(text, form) {
				return true
			}
		}
		return false
	}
	for _, verb := range verbs {
		if got := fmt.Sprintf(verb, secret); got != redactedText {
			t.Errorf("%s with %s prints %q", name, verb, got)
		}
		for what, value := range map[string]any{
			"pointer": pointer.Interface(), "field": outer{secret}, "pointer field": &outer{pointer.Interface()},
			"hidden field": struct{ k any }{secret}, "deeper": struct{ inner any }{struct{ k any }{secret}},
			"hidden pointer": struct{ k any }{pointer.Interface()}, "slice": []any{secret}, "map": map[string]any{"k": secret},
		} {
			if got := fmt.Sprintf(verb, value); leaks(got) {
				t.Errorf("%s in a %s with %s leaks: %s", name, what, verb, got)
			}
		}
	}
	if err := fmt.Errorf("wrapped: %v", secret); err.Error() != "wrapped: "+redactedText {
		t.Errorf("%s in an error: %v", name, err)
	}
	for _, value := range []any{secret, pointer.Interface()} {
		var buf bytes.Buffer
		slog.New(slog.NewJSONHandler(&buf, nil)).Info("x", "key", value)
		slog.New(slog.NewTextHandler(&buf, nil)).Info("x", "key", value)
		if strings.Count(buf.String(), redactedText) != 2 || leaks(buf.String()) {
			t.Errorf("%s in a log: %s", name, buf.String())
		}
	}
}

// TestEqualLooksAtEveryByte compares keys that differ in one byte, wherever it is.
func TestEqualLooksAtEveryByte(t *testing.T) {
	raw := seq()
	node, disco, machine, challenge := NodePrivateFromRaw32(raw), DiscoPrivateFromRaw32(raw), MachinePrivateFromRaw32(raw), ChallengePrivateFromRaw32(raw)
	lock := LockPrivateFromSeed(raw)
	mesh, _ := ParseMeshKey(hex.EncodeToString(raw[:]))
	if !node.Equal(NodePrivateFromRaw32(raw)) || !disco.Equal(DiscoPrivateFromRaw32(raw)) || !machine.Equal(MachinePrivateFromRaw32(raw)) ||
		!challenge.Equal(ChallengePrivateFromRaw32(raw)) || !lock.Equal(LockPrivateFromSeed(raw)) {
		t.Error("a key is not equal to itself")
	}
	for i := range raw {
		other := raw
		other[i] ^= 0x80
		otherMesh, _ := ParseMeshKey(hex.EncodeToString(other[:]))
		if node.Equal(NodePrivateFromRaw32(other)) || disco.Equal(DiscoPrivateFromRaw32(other)) || machine.Equal(MachinePrivateFromRaw32(other)) ||
			challenge.Equal(ChallengePrivateFromRaw32(other)) || lock.Equal(LockPrivateFromSeed(other)) || mesh.Equal(otherMesh) {
			t.Errorf("keys that differ in byte %d are equal", i)
		}
	}
	if node.Equal(NodePrivate{}) || (NodePrivate{}).Equal(node) || lock.Equal(LockPrivate{}) {
		t.Error("a key is equal to no key")
	}
}

// TestZeroKeys holds what a key that is not there does.
func TestZeroKeys(t *testing.T) {
	if (NodePrivate{}).Public() != (NodePublic{}) || (DiscoPrivate{}).Public() != (DiscoPublic{}) || (MachinePrivate{}).Public() != (MachinePublic{}) ||
		(ChallengePrivate{}).Public() != (ChallengePublic{}) || (LockPrivate{}).Public() != (LockPublic{}) {
		t.Error("no private key has a public half")
	}
	if !NodePrivateFromRaw32([32]byte{}).IsZero() || NewNode().IsZero() || !(LockPrivate{}).IsZero() || NewLock().IsZero() {
		t.Error("IsZero is wrong")
	}
	if (NodePrivate{}).SealTo(NewNode().Public(), nil) != nil {
		t.Error("no key sealed a box")
	}
}

// lowOrderPoints are the canonical points of small order on Curve25519 (the list of
// https://cr.yp.to/ecdh.html) and one with the top bit set.
var lowOrderPoints = []string{
	zeroHex,
	"0100000000000000000000000000000000000000000000000000000000000000",
	"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
	"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
	"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
	"0000000000000000000000000000000000000000000000000000000000000080",
}

// TestLowOrderPointsAreRefused gives public keys that make every shared secret zero.
func TestLowOrderPointsAreRefused(t *testing.T) {
	for _, text := range lowOrderPoints {
		raw, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		point := [32]byte(raw)
		if _, err := NewMachine().ECDH(MachinePublicFromRaw32(point)); err == nil {
			t.Errorf("ECDH with %s gave a secret", text)
		}
		if NewNode().SealTo(NodePublicFromRaw32(point), []byte("x")) != nil {
			t.Errorf("a box was sealed to %s", text)
		}
		if !NewDisco().Shared(DiscoPublicFromRaw32(point)).IsZero() {
			t.Errorf("a disco key is shared with %s", text)
		}
		// What anybody could seal for such a sender must not open.
		var nonce [24]byte
		forged := box.SealAfterPrecomputation(nonce[:], []byte("x"), &nonce, &lowOrderBoxKey)
		if _, ok := NewNode().OpenFrom(NodePublicFromRaw32(point), forged); ok {
			t.Errorf("a box from %s opened", text)
		}
	}
}
