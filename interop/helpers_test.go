package interop

import (
	"testing"

	"go4.org/mem"
	tskey "tailscale.com/types/key"

	"github.com/ginnel/ginnel/wire/key"
)

// The same key as both sides' types.

func theirNodePrivate(k key.NodePrivate) tskey.NodePrivate {
	raw := k.Raw32()
	return tskey.NodePrivateFromRaw32(mem.B(raw[:]))
}

func theirNode(k key.NodePublic) tskey.NodePublic {
	raw := k.Raw32()
	return tskey.NodePublicFromRaw32(mem.B(raw[:]))
}

func ourNode(k tskey.NodePublic) key.NodePublic { return key.NodePublicFromRaw32(k.Raw32()) }

func theirDiscoPrivate(k key.DiscoPrivate) tskey.DiscoPrivate {
	raw := k.Raw32()
	return tskey.DiscoPrivateFromRaw32(mem.B(raw[:]))
}

func theirDisco(k key.DiscoPublic) tskey.DiscoPublic {
	raw := k.Raw32()
	return tskey.DiscoPublicFromRaw32(mem.B(raw[:]))
}

type tsDiscoKey = tskey.DiscoPublic

func ourDisco(k tskey.DiscoPublic) key.DiscoPublic { return key.DiscoPublicFromRaw32(k.Raw32()) }

func theirMachinePrivate(t testing.TB, k key.MachinePrivate) tskey.MachinePrivate {
	t.Helper()
	text, err := k.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var out tskey.MachinePrivate
	if err := out.UnmarshalText(text); err != nil {
		t.Fatal(err)
	}
	return out
}

func theirMachine(k key.MachinePublic) tskey.MachinePublic {
	raw := k.Raw32()
	return tskey.MachinePublicFromRaw32(mem.B(raw[:]))
}
