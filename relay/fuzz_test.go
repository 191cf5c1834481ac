package relay

import (
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// FuzzServer gives a relay any bytes after the handshake of a mesh peer, which may
// send all frames, and checks that other clients are still served.
func FuzzServer(f *testing.F) {
	k := key.NewNode().Public()
	f.Add(wire.AppendPing(wire.AppendNotePreferred(nil, true), [8]byte{1}), uint16(3))
	f.Add(wire.AppendForwardPacket(wire.AppendSendPacket(nil, k, disco(1)), k, k, []byte("hi")), uint16(100))
	f.Add(wire.AppendClosePeer(wire.AppendWatchConns(nil), k), uint16(1))
	f.Add(wire.AppendFrame(nil, 0xee, make([]byte, 600)), uint16(513))
	f.Add([]byte{4, 0xff, 0xff, 0xff, 0xff}, uint16(2))
	mesh := key.NewMeshKey()
	s := newServer(f, Config{MeshKey: mesh})
	f.Fuzz(func(t *testing.T, b []byte, cut uint16) {
		a, c := plain(t, s), plain(t, s)
		fuzzed := connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: mesh})
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			for {
				if _, _, err := fuzzed.read(); err != nil {
					return
				}
			}
		}()
		fuzzed.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
		for n := int(cut)%1000 + 1; len(b) > 0; b = b[min(n, len(b)):] {
			if _, err := fuzzed.nc.Write(b[:min(n, len(b))]); err != nil {
				break
			}
		}
		a.packet(c.key, []byte("still here"))
		c.expectPacket(a.key, []byte("still here"))
		fuzzed.nc.Close()
		a.nc.Close()
		c.nc.Close()
		<-drained
		waitFor(t, func() bool { return s.stats.conns.Load() == 0 })
	})
}

// FuzzClientInfo gives a relay any bytes as a client's first.
func FuzzClientInfo(f *testing.F) {
	s := newServer(f, Config{})
	priv := key.NewNode()
	hello, err := wire.AppendClientInfo(nil, priv, s.PublicKey(), wire.ClientInfo{})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(hello)
	f.Add(hello[:20])
	f.Add(wire.AppendKeepAlive(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p := open(t, s, priv, "")
		p.nc.SetDeadline(time.Now().Add(10 * time.Second))
		p.nc.Write(b)
		p.nc.Close()
		waitFor(t, func() bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			return len(s.conns) == 0
		})
	})
}
