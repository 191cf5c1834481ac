package key

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// seq returns the bytes 0, 1, ... 31.
func seq() (raw [32]byte) {
	for i := range raw {
		raw[i] = byte(i)
	}
	return raw
}

const seqHex = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

const zeroHex = "0000000000000000000000000000000000000000000000000000000000000000"

type textKey interface {
	encoding.TextMarshaler
	fmt.Stringer
}

func TestPublicText(t *testing.T) {
	raw := seq()
	tests := []struct {
		name      string
		key, zero textKey
		into      func() encoding.TextUnmarshaler
		prefix    string
	}{
		{"machine", MachinePublicFromRaw32(raw), MachinePublic{}, func() encoding.TextUnmarshaler { return new(MachinePublic) }, "mkey:"},
		{"node", NodePublicFromRaw32(raw), NodePublic{}, func() encoding.TextUnmarshaler { return new(NodePublic) }, "nodekey:"},
		{"disco", DiscoPublicFromRaw32(raw), DiscoPublic{}, func() encoding.TextUnmarshaler { return new(DiscoPublic) }, "discokey:"},
		{"challenge", ChallengePublicFromRaw32(raw), ChallengePublic{}, func() encoding.TextUnmarshaler { return new(ChallengePublic) }, "chalpub:"},
		{"lock", LockPublicFromRaw32(raw), LockPublic{}, func() encoding.TextUnmarshaler { return new(LockPublic) }, "nlpub:"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, want := tt.key.String(), tt.prefix+seqHex; got != want {
				t.Errorf("String() = %q, want %q", got, want)
			}
			if got, want := tt.zero.String(), tt.prefix+zeroHex; got != want {
				t.Errorf("zero String() = %q, want %q", got, want)
			}
			for _, digits := range []string{seqHex, strings.ToUpper(seqHex)} {
				k := tt.into()
				if err := k.UnmarshalText([]byte(tt.prefix + digits)); err != nil {
					t.Fatalf("UnmarshalText: %v", err)
				}
				if got := k.(fmt.Stringer).String(); got != tt.prefix+seqHex {
					t.Errorf("after UnmarshalText: %q", got)
				}
			}
			for _, bad := range []string{"", tt.prefix, seqHex, tt.prefix + seqHex[1:], tt.prefix + seqHex + "00",
				"privkey:" + seqHex, strings.ToUpper(tt.prefix) + seqHex, tt.prefix + "zz" + seqHex[2:]} {
				k := tt.into()
				if err := k.UnmarshalText([]byte(bad)); err == nil {
					t.Errorf("UnmarshalText(%q) succeeded", bad)
				}
				if got := k.(fmt.Stringer).String(); got != tt.prefix+zeroHex {
					t.Errorf("a refused text changed the key to %q", got)
				}
			}
			j, err := json.Marshal(tt.key)
			if want := `"` + tt.prefix + seqHex + `"`; err != nil || string(j) != want {
				t.Errorf("json = %s, %v; want %s", j, err, want)
			}
		})
	}
}

func TestLockPublicCLIForm(t *testing.T) {
	k, err := ParseLockPublic("tlpub:" + seqHex)
	if err != nil {
		t.Fatal(err)
	}
	if k.String() != "nlpub:"+seqHex || k.CLIString() != "tlpub:"+seqHex {
		t.Errorf("got %q and %q", k.String(), k.CLIString())
	}
}

func TestPrivateTextRoundTrip(t *testing.T) {
	m, n, l := NewMachine(), NewNode(), NewLock()
	mText, _ := m.MarshalText()
	nText, _ := n.MarshalText()
	lText, _ := l.MarshalText()
	var m2 MachinePrivate
	var n2 NodePrivate
	var l2 LockPrivate
	if err := m2.UnmarshalText(mText); err != nil || !m2.Equal(m) {
		t.Errorf("machine key did not survive: %v", err)
	}
	if err := n2.UnmarshalText(bytes.Replace(bytes.ToUpper(nText), []byte("PRIVKEY"), []byte("privkey"), 1)); err != nil || !n2.Equal(n) {
		t.Errorf("node key did not survive upper case: %v", err)
	}
	if err := l2.UnmarshalText(lText); err != nil || !l2.Equal(l) || l2.Public() != l.Public() {
		t.Errorf("lock key did not survive: %v", err)
	}
	if !strings.HasPrefix(string(mText), "privkey:") || !strings.HasPrefix(string(lText), "nlpriv:") || len(lText) != 7+128 {
		t.Errorf("text forms have the wrong shape")
	}
	lText[len(lText)-1] ^= 1
	if err := l2.UnmarshalText(lText); err == nil {
		t.Error("a lock key whose halves disagree was accepted")
	}
	var zero MachinePrivate
	if text, _ := zero.MarshalText(); string(text) != "privkey:"+zeroHex {
		t.Errorf("zero private text = %q", text)
	}
	if err := m2.UnmarshalText([]byte("privkey:" + zeroHex)); err != nil || !m2.IsZero() {
		t.Errorf("zero text gave a non-zero key: %v", err)
	}
}

func TestTransientPrivatesHaveNoText(t *testing.T) {
	for name, k := range map[string]any{"disco": NewDisco(), "challenge": NewChallenge(), "mesh": NewMeshKey()} {
		if _, ok := k.(encoding.TextMarshaler); ok {
			t.Errorf("%s private key can be marshalled", name)
		}
		if j, _ := json.Marshal(k); string(j) != "{}" {
			t.Errorf("%s private key in JSON: %s", name, j)
		}
	}
}

func TestGeneratedKeysAreClamped(t *testing.T) {
	for range 64 {
		for _, raw := range [][32]byte{NewMachine().Raw32(), NewNode().Raw32(), NewDisco().Raw32(), NewChallenge().Raw32()} {
			if raw[0]&7 != 0 || raw[31]&0x80 != 0 || raw[31]&0x40 == 0 {
				t.Fatalf("key is not clamped: first byte %x, last byte %x", raw[0], raw[31])
			}
		}
	}
}

// TestX25519Vectors takes the key pairs of the wire document control, section 14.
func TestX25519Vectors(t *testing.T) {
	tests := []struct {
		first, last byte
		public      string
	}{
		{0x00, 0x5f, "8f40c5adb68f25624ae5b214ea767a6ec94d829d3d7b5e1ad1ba6f3e2138285f"},
		{0x20, 0x7f, "358072d6365880d1aeea329adf9121383851ed21a28e3b75e965d0d2cd166254"},
	}
	var keys []MachinePrivate
	for _, tt := range tests {
		raw := seq()
		for i := range raw {
			raw[i] += tt.first
		}
		raw[31] = tt.last
		k := MachinePrivateFromRaw32(raw)
		if got := k.Public().UntypedHex(); got != tt.public {
			t.Errorf("public = %s, want %s", got, tt.public)
		}
		if k.Raw32() != raw {
			t.Error("raw bytes did not survive")
		}
		keys = append(keys, k)
	}
	ab, err1 := keys[0].ECDH(keys[1].Public())
	ba, err2 := keys[1].ECDH(keys[0].Public())
	if err1 != nil || err2 != nil || ab != ba || ab == ([32]byte{}) {
		t.Errorf("shared secrets %x and %x, errors %v and %v", ab, ba, err1, err2)
	}
	if _, err := keys[0].ECDH(MachinePublic{}); err == nil {
		t.Error("ECDH with the zero point succeeded")
	}
	if _, err := (MachinePrivate{}).ECDH(keys[0].Public()); err == nil {
		t.Error("ECDH of the zero key succeeded")
	}
}

func TestShortForms(t *testing.T) {
	raw := seq()
	if got := NodePublicFromRaw32(raw).ShortString(); got != "[AAECA]" {
		t.Errorf("node short form = %q", got)
	}
	if got := MachinePublicFromRaw32(raw).ShortString(); got != "[AAECA]" {
		t.Errorf("machine short form = %q", got)
	}
	if got := DiscoPublicFromRaw32(raw).ShortString(); got != "d:0001020304050607" {
		t.Errorf("disco short form = %q", got)
	}
	if k, err := ParseNodePublicUntyped(seqHex); err != nil || k != NodePublicFromRaw32(raw) || k.UntypedHex() != seqHex {
		t.Errorf("untyped form = %v, %v", k, err)
	}
}

func TestNodePublicBinary(t *testing.T) {
	k := NodePublicFromRaw32(seq())
	b, err := k.MarshalBinary()
	if err != nil || len(b) != 34 || string(b[:2]) != "np" || !bytes.Equal(b[2:], k.AppendTo(nil)) {
		t.Fatalf("MarshalBinary = %x, %v", b, err)
	}
	var got NodePublic
	if err := got.UnmarshalBinary(b); err != nil || got != k {
		t.Errorf("UnmarshalBinary = %v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[:33], append(bytes.Clone(b), 0), append([]byte("nq"), b[2:]...)} {
		if err := got.UnmarshalBinary(bad); err == nil {
			t.Errorf("UnmarshalBinary(%x) succeeded", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	low := NodePublicFromRaw32([32]byte{1, 0xff})
	high := NodePublicFromRaw32([32]byte{2})
	if low.Compare(high) != -1 || high.Compare(low) != 1 || low.Compare(low) != 0 {
		t.Error("keys are not in lexicographic order of their bytes")
	}
}

func TestNodeBox(t *testing.T) {
	a, b := NewNode(), NewNode()
	msg := []byte("a small secret")
	sealed := a.SealTo(b.Public(), msg)
	if len(sealed) != 24+16+len(msg) {
		t.Errorf("sealed length = %d", len(sealed))
	}
	got, ok := b.OpenFrom(a.Public(), sealed)
	if !ok || !bytes.Equal(got, msg) {
		t.Fatalf("OpenFrom = %q, %v", got, ok)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 1
		if _, ok := b.OpenFrom(a.Public(), bad); ok {
			t.Errorf("a box changed at byte %d opened", i)
		}
	}
	if _, ok := b.OpenFrom(NewNode().Public(), sealed); ok {
		t.Error("a box opened as from another sender")
	}
	if _, ok := b.OpenFrom(a.Public(), sealed[:39]); ok {
		t.Error("a truncated box opened")
	}
	if got := a.SealTo(NodePublic{}, msg); got != nil {
		t.Errorf("sealed to the zero key: %x", got)
	}
}

func TestDiscoShared(t *testing.T) {
	a, b := NewDisco(), NewDisco()
	ab, ba := a.Shared(b.Public()), b.Shared(a.Public())
	if !ab.Equal(ba) {
		t.Fatal("the two sides disagree")
	}
	nonce := [24]byte{1, 2, 3}
	msg := []byte("ping")
	sealed := ab.AppendSeal([]byte("head"), nonce, msg)
	if string(sealed[:4]) != "head" || len(sealed) != 4+16+len(msg) {
		t.Fatalf("AppendSeal = %x", sealed)
	}
	got, ok := ba.AppendOpen([]byte("out:"), nonce, sealed[4:])
	if !ok || string(got) != "out:ping" {
		t.Errorf("AppendOpen = %q, %v", got, ok)
	}
	if _, ok := ba.AppendOpen(nil, [24]byte{9}, sealed[4:]); ok {
		t.Error("opened under another nonce")
	}
	var zero DiscoShared
	if _, ok := zero.AppendOpen(nil, nonce, sealed[4:]); ok || !a.Shared(DiscoPublic{}).IsZero() || zero.Equal(zero) {
		t.Error("the zero shared key is not inert")
	}
	if out := zero.AppendSeal([]byte("x"), nonce, msg); string(out) != "x" {
		t.Errorf("the zero shared key sealed %q", out)
	}
	buf := make([]byte, 0, 64)
	plain := make([]byte, 0, 64)
	allocs := testing.AllocsPerRun(100, func() {
		s := ab.AppendSeal(buf, nonce, msg)
		ba.AppendOpen(plain, nonce, s)
	})
	if allocs > 0 {
		t.Errorf("seal and open allocate %v times", allocs)
	}
}

func TestLockSignature(t *testing.T) {
	k := NewLock()
	sig, err := k.Sign([]byte("aum"))
	if err != nil || len(sig) != 64 || !k.Public().Verify([]byte("aum"), sig) {
		t.Fatalf("signature does not verify: %v", err)
	}
	if k.Public().Verify([]byte("other"), sig) || (LockPublic{}).Verify([]byte("aum"), sig) {
		t.Error("a wrong signature verified")
	}
	if _, err := (LockPrivate{}).Sign(nil); err == nil {
		t.Error("the zero key signed")
	}
}

// p256Generator is the base point of P-256, uncompressed (FIPS 186-4, D.1.2.3).
const p256Generator = "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c2964fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"

func TestHardwareAttestation(t *testing.T) {
	k, err := ParseHardwareAttestationPublic("hwattestpub:" + p256Generator)
	if err != nil {
		t.Fatal(err)
	}
	if k.String() != "hwattestpub:"+p256Generator || k.IsZero() {
		t.Errorf("String() = %q", k.String())
	}
	pub, err := k.ECDSA()
	if err != nil {
		t.Fatal(err)
	}
	if point, err := pub.Bytes(); err != nil || !bytes.Equal(point, k.AppendTo(nil)) {
		t.Errorf("ECDSA() holds the point %x, %v", point, err)
	}
	if k, err = ParseHardwareAttestationPublic(""); err != nil || !k.IsZero() || k.String() != "" {
		t.Errorf("empty text = %q, %v", k, err)
	}
	if j, err := json.Marshal(k); err != nil || string(j) != `""` {
		t.Errorf("zero json = %s, %v", j, err)
	}
	for _, bad := range []string{"hwattestpub:", "hwattestpub:" + strings.Repeat("0", 130), "hwattestpub:" + p256Generator[:128] + "f6"} {
		if _, err := ParseHardwareAttestationPublic(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestMeshKey(t *testing.T) {
	k, err := ParseMeshKey(" \t" + seqHex + "\n")
	if err != nil || k.SecretText() != seqHex {
		t.Fatalf("ParseMeshKey: %v", err)
	}
	same, _ := ParseMeshKey(strings.ToUpper(seqHex))
	if !k.Equal(same) || k.Equal(NewMeshKey()) {
		t.Error("Equal is wrong")
	}
	var zero MeshKey
	if zero.Equal(zero) || zero.Equal(k) || k.Equal(zero) || zero.SecretText() != "" {
		t.Error("the zero mesh key authenticates")
	}
	for _, bad := range []string{"", "none", seqHex[2:], seqHex + "00", "mkey:" + seqHex, zeroHex} {
		if _, err := ParseMeshKey(bad); err == nil {
			t.Errorf("ParseMeshKey(%q) succeeded", bad)
		}
	}
}

// FuzzPublicText checks that whatever a key parser accepts it writes back as the
// same text, but for case.
func FuzzPublicText(f *testing.F) {
	f.Add("mkey:" + seqHex)
	f.Add("nodekey:" + zeroHex)
	f.Add("discokey:" + strings.ToUpper(seqHex))
	f.Add("tlpub:" + seqHex)
	f.Add("chalpub:" + seqHex)
	f.Add("privkey:" + seqHex)
	f.Add("nlpriv:" + zeroHex + zeroHex)
	f.Add(" " + seqHex + "\n")
	f.Add("np" + seqHex[:32])
	f.Add("hwattestpub:" + p256Generator)
	f.Add("")
	f.Fuzz(func(t *testing.T, text string) {
		check := func(got string, err error) {
			if err == nil && !strings.EqualFold(got, text) && !strings.HasPrefix(text, "tlpub:") {
				t.Errorf("%q read as %q", text, got)
			}
		}
		m, err := ParseMachinePublic(text)
		check(m.String(), err)
		n, err := ParseNodePublic(text)
		check(n.String(), err)
		d, err := ParseDiscoPublic(text)
		check(d.String(), err)
		l, err := ParseLockPublic(text)
		check(l.String(), err)
		c, err := ParseChallengePublic(text)
		check(c.String(), err)
		h, err := ParseHardwareAttestationPublic(text)
		check(h.String(), err)
		u, err := ParseNodePublicUntyped(text)
		check(u.UntypedHex(), err)
		if mesh, err := ParseMeshKey(text); err == nil && !strings.EqualFold(mesh.SecretText(), strings.TrimSpace(text)) {
			t.Errorf("mesh key %q read as another", text)
		}
		var private NodePrivate
		if err := private.UnmarshalText([]byte(text)); err == nil {
			again, _ := private.MarshalText()
			check(string(again), nil)
		} else if len(text) > 8 && strings.Contains(err.Error(), text) {
			t.Errorf("the error quotes the text: %v", err)
		}
		var lock LockPrivate
		if err := lock.UnmarshalText([]byte(text)); err == nil {
			again, _ := lock.MarshalText()
			check(string(again), nil)
		}
		var binary NodePublic
		if binary.UnmarshalBinary([]byte(text)) == nil {
			if again, _ := binary.MarshalBinary(); string(again) != text {
				t.Errorf("%q read as %q", text, again)
			}
		}
	})
}
