package peerrelay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/disco"
	"github.com/ginnel/ginnel/wire/key"
)

// begun returns a table where alice has a challenge for generation 7.
func begun(t *testing.T) (*bench, disco.Bind) {
	b := newBench(t, Config{})
	b.allocate()
	v := b.input(aliceAddr, b.message(b.alice, b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 7}))
	return b, b.challenge(b.alice, v)
}

// TestBadAnswers has everything wrong once that can be wrong with an answer; after each, the
// true one still binds.
func TestBadAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		want Drop
		from netip.AddrPort
		edit func(b *bench, m *disco.Bind)
	}{
		{"another source", WrongChallenge, otherAddr, nil},
		{"another port", WrongChallenge, netip.AddrPortFrom(aliceAddr.Addr(), 1001), nil},
		{"a forged challenge", WrongChallenge, aliceAddr, func(_ *bench, m *disco.Bind) { m.Challenge[31] ^= 1 }},
		{"no challenge", WrongChallenge, aliceAddr, func(_ *bench, m *disco.Bind) { m.Challenge = [32]byte{} }},
		{"another generation", WrongGeneration, aliceAddr, func(_ *bench, m *disco.Bind) { m.Generation++ }},
		{"generation 0", WrongGeneration, aliceAddr, func(_ *bench, m *disco.Bind) { m.Generation = 0 }},
		{"another remote", WrongBind, aliceAddr, func(_ *bench, m *disco.Bind) { m.Remote = key.NewDisco().Public() }},
		{"itself as remote", WrongBind, aliceAddr, func(b *bench, m *disco.Bind) { m.Remote = b.alice.Public() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, m := begun(t)
			bad := m
			if c.edit != nil {
				c.edit(b, &bad)
			}
			b.expect(c.want, c.from, b.message(b.alice, b.bob, disco.TypeAnswer, bad))
			b.expect(Answered, aliceAddr, b.message(b.alice, b.bob, disco.TypeAnswer, m))
			b.expect(WrongGeneration, aliceAddr, b.message(b.alice, b.bob, disco.TypeAnswer, m)) // once only
		})
	}
}

func TestBadBinds(t *testing.T) {
	b := newBench(t, Config{})
	b.allocate()
	good := disco.Bind{VNI: b.vni, Generation: 1}
	edited := func(edit func(m *disco.Bind)) []byte {
		m := good
		edit(&m)
		return b.message(b.alice, b.bob, disco.TypeBind, m)
	}
	outside := func(edit func(pkt []byte)) []byte {
		pkt := b.message(b.alice, b.bob, disco.TypeBind, good)
		edit(pkt)
		return pkt
	}
	inner := b.message(b.alice, b.bob, disco.TypeBind, disco.Bind{VNI: 99, Generation: 1})
	inner[6] = byte(b.vni)
	for _, c := range []struct {
		name string
		want Drop
		pkt  []byte
	}{
		{"generation 0", WrongBind, edited(func(m *disco.Bind) { m.Generation = 0 })},
		{"another remote", WrongBind, edited(func(m *disco.Bind) { m.Remote = key.NewDisco().Public() })},
		{"another VNI inside", WrongBind, inner},
		{"unknown VNI", UnknownVNI, edited(func(m *disco.Bind) { m.VNI = 2 })},
		{"VNI 0", UnknownVNI, edited(func(m *disco.Bind) { m.VNI = 0 })},
		{"a stranger", WrongSender, b.message(key.NewDisco(), b.bob, disco.TypeBind, good)},
		{"the server itself", WrongSender, b.message(b.cfg.Key, b.bob, disco.TypeBind, good)},
		{"a challenge", NotOpened, b.message(b.alice, b.bob, disco.TypeChallenge, good)},
		{"a ping", NotOpened, b.message(b.alice, b.bob, disco.TypePing, good)},
		{"as WireGuard", NotDisco, outside(func(p []byte) { p[3] = 0x12 })},
		{"no magic", NotDisco, outside(func(p []byte) { p[8] = 0 })},
		{"a changed box", NotOpened, outside(func(p []byte) { p[len(p)-1] ^= 1 })},
		{"another nonce", NotOpened, outside(func(p []byte) { p[8+6+32] ^= 1 })},
		{"without the control bit", NotBound, outside(func(p []byte) { p[1] = 0 })},
		{"no Geneve", NoGeneve, outside(func(p []byte) { p[7] = 1 })},
		{"cut", NotDisco, outside(func([]byte) {})[:controlLen-1]},
		{"long", NotOpened, append(outside(func([]byte) {}), make([]byte, 500)...)},
		{"empty", NoGeneve, nil},
	} {
		if v := b.input(aliceAddr, c.pkt); v.Why != c.want {
			t.Errorf("%s: %v, want %v", c.name, v.Why, c.want)
		}
	}
	if _, open := b.States(); open != 0 || len(b.message(b.alice, b.bob, disco.TypeBind, good)) != controlLen {
		t.Error("something was bound, or a bind request has another length than the table thinks")
	}
}

// TestOldSecrets answers challenges after some time.
func TestOldSecrets(t *testing.T) {
	for _, c := range []struct {
		before, wait time.Duration // until the challenge, and until the answer
		want         Drop
	}{
		{0, SecretLifetime - 1, Answered},
		{0, SecretLifetime, Answered},
		{0, 2*SecretLifetime - 1, Answered},
		{0, 2 * SecretLifetime, WrongChallenge},
		{0, 24 * time.Hour, WrongChallenge},
		{SecretLifetime - 1, 1, Answered},
		{SecretLifetime - 1, SecretLifetime + 1, WrongChallenge},
		{5 * SecretLifetime, SecretLifetime, Answered},
	} {
		b := newBench(t, Config{})
		b.sleep(c.before)
		b.allocate()
		m := b.challenge(b.alice, b.input(aliceAddr, b.message(b.alice, b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 1})))
		// Others cause the rotations on the way.
		other := disco.Bind{VNI: b.vni, Generation: 1}
		for end := b.now.Add(c.wait); b.now.Before(end); {
			b.sleep(min(SecretLifetime, end.Sub(b.now)))
			if v := b.input(bobAddr, b.message(b.bob, b.alice, disco.TypeBind, other)); v.Why != Answered {
				t.Fatal(v.Why)
			}
		}
		if v := b.input(aliceAddr, b.message(b.alice, b.bob, disco.TypeAnswer, m)); v.Why != c.want {
			t.Errorf("secret of age %v, answered %v later: %v, want %v", c.before, c.wait, v.Why, c.want)
		}
	}
}

// TestChallengesDiffer looks at all that a challenge is to depend on.
func TestChallengesDiffer(t *testing.T) {
	b := newBench(t, Config{})
	base := disco.Bind{VNI: 1, Generation: 1, Remote: b.alice.Public()}
	seen := map[[32]byte]bool{}
	for _, m := range []disco.Bind{base, {VNI: 2, Generation: 1, Remote: base.Remote}, {VNI: 1, Generation: 2, Remote: base.Remote},
		{VNI: 1, Generation: 1, Remote: b.bob.Public()}} {
		for _, src := range []netip.AddrPort{aliceAddr, bobAddr, netip.AddrPortFrom(aliceAddr.Addr(), 1)} {
			seen[b.challenger.challenge(0, &m, src)] = true
		}
	}
	seen[b.challenger.challenge(int64(SecretLifetime), &base, aliceAddr)] = true
	seen[newBench(t, Config{}).challenger.challenge(0, &base, aliceAddr)] = true
	if len(seen) != 14 {
		t.Errorf("%d different challenges, want 14", len(seen))
	}
}

// TestLimits floods sessions and sees that others are not touched.
func TestLimits(t *testing.T) {
	b := newBench(t, Config{})
	b.allocate()
	junk := b.message(b.alice, b.bob, disco.TypeBind, disco.Bind{VNI: b.vni, Generation: 1})
	junk[len(junk)-1] ^= 1
	opened := 0
	for i := range 100_000 {
		// From everywhere: no source is limited by itself.
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1)
		if v := b.input(src, junk); v.Why == NotOpened {
			opened++
		} else if v.Why != Limited {
			t.Fatal(v.Why)
		}
	}
	if opened != int(sessionPace.burst) {
		t.Errorf("%d messages opened at once, want %d", opened, sessionPace.burst)
	}
	carol := key.NewDisco()
	e, err := b.Allocate(b.now, b.alice.Public(), carol.Public())
	if err != nil {
		t.Fatal(err)
	}
	flooded := b.vni
	b.vni = e.VNI
	b.bind(b.alice, carol, aliceAddr, 1)
	b.vni = flooded
	b.sleep(time.Second)
	b.bind(b.alice, b.bob, aliceAddr, 1)
	n := 0
	for range 1000 {
		if v := b.input(otherAddr, junk); v.Why == NotOpened {
			n++
		}
	}
	if n == 0 || n > int(sessionPace.burst) {
		t.Errorf("%d messages opened a second later", n)
	}
}

func TestRate(t *testing.T) {
	var r rate
	p := pace{gap: time.Second, burst: 3}
	now := int64(0)
	count := func() (n int) {
		for r.take(now, p) {
			n++
		}
		return n
	}
	for _, c := range []struct {
		wait time.Duration
		want int
	}{{0, 3}, {0, 0}, {time.Second, 1}, {time.Second / 2, 0}, {time.Second / 2, 1}, {time.Hour, 3}} {
		now += int64(c.wait)
		if n := count(); n != c.want {
			t.Errorf("%d taken after %v, want %d", n, c.wait, c.want)
		}
	}
	var s sourceLimit
	s.seed = newBench(t, Config{}).sources.seed
	a, same := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	for range sourcePace.burst {
		if !s.take(0, a) {
			t.Fatal("refused within the burst")
		}
	}
	if s.take(0, same) {
		t.Error("a second address of the /64 has a ration of its own")
	}
}

// TestSecretsAreRandom makes two tables that must not share secrets, and one from a known
// source.
func TestSecretsAreRandom(t *testing.T) {
	n := byte(0)
	b := newBench(t, Config{Random: func(p []byte) { n++; copy(p, bytes.Repeat([]byte{n}, len(p))) }})
	if b.challenger.secrets[0][0] != 1 || b.challenger.secrets[1][31] != 2 {
		t.Error("the secrets are not from the source of random bytes")
	}
}
