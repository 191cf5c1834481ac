package interop

import (
	"bytes"
	"encoding"
	"fmt"
	"testing"

	tskey "tailscale.com/types/key"

	"github.com/ginnel/ginnel/wire/key"
)

// TestKeyTexts writes keys on one side and reads them on the other.
func TestKeyTexts(t *testing.T) {
	node, machine, disco := key.NewNode(), key.NewMachine(), key.NewDisco()
	theirs, theirMachineKey, theirDiscoKey := tskey.NewNode(), tskey.NewMachine(), tskey.NewDisco()
	cases := []struct {
		name       string
		from       encoding.TextMarshaler
		to         encoding.TextUnmarshaler
		wantString fmt.Stringer // public keys only: what both print
	}{
		{"our node public", node.Public(), new(tskey.NodePublic), node.Public()},
		{"our machine public", machine.Public(), new(tskey.MachinePublic), machine.Public()},
		{"our disco public", disco.Public(), new(tskey.DiscoPublic), disco.Public()},
		{"our node private", node, new(tskey.NodePrivate), nil},
		{"our machine private", machine, new(tskey.MachinePrivate), nil},
		{"their node public", theirs.Public(), new(key.NodePublic), theirs.Public()},
		{"their machine public", theirMachineKey.Public(), new(key.MachinePublic), theirMachineKey.Public()},
		{"their disco public", theirDiscoKey.Public(), new(key.DiscoPublic), theirDiscoKey.Public()},
		{"their node private", theirs, new(key.NodePrivate), nil},
		{"their machine private", theirMachineKey, new(key.MachinePrivate), nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			text, err := c.from.MarshalText()
			if err != nil {
				t.Fatal(err)
			}
			if err := c.to.UnmarshalText(text); err != nil {
				t.Fatalf("%s: %v", text, err)
			}
			back, err := c.to.(encoding.TextMarshaler).MarshalText()
			if err != nil || !bytes.Equal(back, text) {
				t.Fatalf("read and written again: %s, %v; want %s", back, err, text)
			}
			if c.wantString == nil {
				return
			}
			if got := c.to.(fmt.Stringer).String(); got != c.wantString.String() {
				t.Errorf("prints as %s, on the other side as %s", got, c.wantString)
			}
		})
	}
}

// TestNodeBoxes seals boxes between node keys on one side and opens them on
// the other, as the relay's handshake does.
func TestNodeBoxes(t *testing.T) {
	a, b := key.NewNode(), key.NewNode()
	plain := []byte("a small box")
	if got, ok := theirNodePrivate(b).OpenFrom(theirNode(a.Public()), a.SealTo(b.Public(), plain)); !ok || !bytes.Equal(got, plain) {
		t.Errorf("our box opened to %q, %v", got, ok)
	}
	if got, ok := b.OpenFrom(a.Public(), theirNodePrivate(a).SealTo(theirNode(b.Public()), plain)); !ok || !bytes.Equal(got, plain) {
		t.Errorf("their box opened to %q, %v", got, ok)
	}
}
