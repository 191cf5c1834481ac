package interop

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ginnel/ginnel/server/tailnet"
)

// meet checks that an official node and ours see, ping and talk to each other,
// each way.
func meet(t *testing.T, theirs *official, our *ours, kind pathKind) {
	t.Helper()
	eventually(t, "the official node sees ours", func() error { _, err := theirs.peer(our.ip4); return err })
	eventually(t, "our node sees the official one", func() error { _, err := our.peer(theirs.ip4); return err })
	theirs.waitPing(our.ip4, kind)
	our.waitPing(theirs.ip4, kind)
	theirs.echo(our.ip4)
	our.echo(theirs.ip4)
	if theirs.ip6.IsValid() && our.ip6.IsValid() {
		theirs.echo(our.ip6)
		our.echo(theirs.ip6)
	}
}

// TestMixedOnOurServer lets an official node and ours meet on our server.
func TestMixedOnOurServer(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) {
			echoOnLoopback(t)
			s := startServer(t)
			theirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "theirs", kind)
			our := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "ours")
			meet(t, theirs, our, kind)
		})
	}
}

// TestMixedOnTheirServer lets our node join the official test server, with the
// official relay.
func TestMixedOnTheirServer(t *testing.T) {
	for _, kind := range []pathKind{direct, relayed} {
		t.Run(string(kind), func(t *testing.T) {
			echoOnLoopback(t)
			c := startTheirServer(t, startTheirRelay(t, noMesh))
			theirs := joinOfficial(t, c.url, theirAuthKey, "theirs", kind)
			our := joinOurs(t, c.url, theirAuthKey, "ours")
			meet(t, theirs, our, kind)
		})
	}
}

// TestOursOnTheirServerWithOurRelay mixes the parts the other way round.
func TestOursOnTheirServerWithOurRelay(t *testing.T) {
	echoOnLoopback(t)
	c := startTheirServer(t, startOurRelay(t, noMesh))
	a := joinOurs(t, c.url, theirAuthKey, "a")
	theirs := joinOfficial(t, c.url, theirAuthKey, "theirs", relayed)
	meet(t, theirs, a, relayed)
}

// TestMixedPresence watches each kind of node from the other as it goes
// offline, comes back and is removed.
func TestMixedPresence(t *testing.T) {
	s := startServer(t)
	theirs := joinOfficial(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "theirs", direct)
	our := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "ours")

	theySee := func(online bool) func() error {
		return func() error {
			p, err := theirs.peer(our.ip4)
			if err == nil && p.Online != online {
				err = fmt.Errorf("online is %v", p.Online)
			}
			return err
		}
	}
	weSee := func(online bool) func() error {
		return func() error {
			p, err := our.peer(theirs.ip4)
			if err == nil && p.Online != online {
				err = fmt.Errorf("online is %v", p.Online)
			}
			return err
		}
	}
	eventually(t, "they see us online", theySee(true))
	eventually(t, "we see them online", weSee(true))
	if _, err := our.cli("down"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they see us offline", theySee(false))
	if _, err := our.cli("up"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they see us back", theySee(true))

	third := joinOurs(t, s.URL(), authKey(t, s, tailnet.AuthKeyParams{}), "third")
	eventually(t, "they see the third", func() error { _, err := theirs.peer(third.ip4); return err })
	if err := s.Tailnet().DeleteNode(t.Context(), admin, nodeNamed(t, s, "third").ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "they forget the third", func() error {
		if _, err := theirs.peer(third.ip4); err == nil {
			return errors.New("they still know it")
		}
		return nil
	})
	theirs.node.Close()
	eventually(t, "we see them offline", weSee(false))
	if err := s.Tailnet().DeleteNode(t.Context(), admin, nodeNamed(t, s, "theirs").ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "we forget them", func() error {
		if _, err := our.peer(theirs.ip4); err == nil {
			return errors.New("we still know them")
		}
		return nil
	})
}
