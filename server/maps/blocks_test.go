package maps

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/ginnel/ginnel/server/tailnet"
	"github.com/ginnel/ginnel/wire/control"
)

// unpack decompresses a frame as clients do, in one go.
func unpack(t testing.TB, frame []byte) []byte {
	t.Helper()
	n, err := control.ParseFrameLength([4]byte(frame[:4]), 64<<20)
	if err != nil || n != len(frame)-4 {
		t.Fatalf("frame length %d, %v, of %d bytes", n, err, len(frame))
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	body, err := dec.DecodeAll(frame[4:], nil)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// full fetches the map of a node both ways, checks that they say the same, and
// returns it.
func (w *world) full(id control.NodeID) *control.MapResponse {
	w.t.Helper()
	plain, err := w.hub.Full(w.t.Context(), id, Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	packed, err := w.hub.Full(w.t.Context(), id, Options{Compress: true})
	if err != nil {
		w.t.Fatal(err)
	}
	body := unpack(w.t, packed)
	if string(body) != string(plain[4:]) {
		w.t.Fatalf("compressed map of node %d differs:\n%s\nplain:\n%s", id, body, plain[4:])
	}
	var m control.MapResponse
	if err := json.Unmarshal(body, &m); err != nil {
		w.t.Fatalf("%s: %v", body, err)
	}
	return &m
}

// wantPeers checks that a map holds exactly those nodes, in order and up to date.
func (w *world) wantPeers(m *control.MapResponse, self control.NodeID) {
	w.t.Helper()
	var want, got []string
	for n := range w.svc.Snapshot().Nodes(tailnet.DefaultTailnet) {
		if n.ID != self && !n.Disco.IsZero() {
			want = append(want, fmt.Sprint(n.ID, n.GivenName, endpoints(n), n.Expired(time.Now())))
		}
	}
	for _, p := range m.Peers {
		got = append(got, fmt.Sprint(p.ID, p.Name[:len(p.Name)-len("."+DefaultBaseDomain+".")], p.Endpoints, p.Expired))
	}
	if !slices.Equal(got, want) {
		w.t.Fatalf("map of node %d has %d peers, want %d:\n%v\n%v", self, len(got), len(want), got, want)
	}
}

// Full maps made of shared blocks are the maps that they would be without, whoever
// looks and whatever has changed.
func TestBlocksMakeTheSameMap(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		var nodes []*tailnet.Node
		for i := range 400 {
			nodes = append(nodes, w.join(fmt.Sprintf("n%d", i)))
		}
		check := func() {
			t.Helper()
			synctest.Wait()
			for i := 0; i < len(nodes); i += 7 {
				w.wantPeers(w.full(nodes[i].ID), nodes[i].ID)
			}
		}
		check()
		before := w.hub.Stats()
		check()
		if st := w.hub.Stats(); st.BlocksEncoded > before.BlocksEncoded+2 || st.BlocksShared < before.BlocksShared+100 {
			t.Errorf("nothing has changed and blocks were encoded again: %+v, before %+v", st, before)
		}

		before = w.hub.Stats()
		w.endpoint(nodes[123].ID, 4711)
		synctest.Wait()
		m := w.full(nodes[0].ID)
		w.wantPeers(m, nodes[0].ID)
		if st := w.hub.Stats(); st.BlocksEncoded != before.BlocksEncoded+1 {
			t.Errorf("one node has changed and %d blocks were encoded", st.BlocksEncoded-before.BlocksEncoded)
		}
		at := slices.IndexFunc(m.Peers, func(p *control.Node) bool { return p.ID == nodes[123].ID })
		if got := m.Peers[at].Endpoints; !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:4711")}) {
			t.Errorf("endpoints %v", got)
		}

		// Whole blocks go, the first included.
		for _, n := range nodes[:150] {
			if err := w.svc.DeleteNode(t.Context(), admin, n.ID); err != nil {
				t.Fatal(err)
			}
		}
		nodes = nodes[150:]
		check()
		for i := range 20 {
			nodes = append(nodes, w.join(fmt.Sprintf("late%d", i)))
		}
		check()
	})
}

// A node does not change when its key runs out, but what is said of it does.
func TestBlocksFollowExpiry(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.join("b")
		for range 3 {
			w.join("other")
		}
		if _, err := w.svc.ExpireNode(t.Context(), admin, b.ID, time.Now().Add(time.Hour)); err != nil {
			t.Fatal(err)
		}
		w.wantPeers(w.full(a.ID), a.ID)
		time.Sleep(59 * time.Minute)
		m := w.full(a.ID)
		w.wantPeers(m, a.ID)
		if m.Peers[0].Expired {
			t.Error("expired before its time")
		}
		time.Sleep(time.Minute)
		m = w.full(a.ID)
		w.wantPeers(m, a.ID)
		if !m.Peers[0].Expired {
			t.Error("not expired at its time")
		}
	})
}

// Blocks that nobody asks for do not stay.
func TestIdleBlocksGo(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		a, b := w.join("a"), w.register("b")
		w.full(b.ID)
		if len(w.hub.blocks.m) != 1 {
			t.Fatalf("%d blocks", len(w.hub.blocks.m))
		}
		time.Sleep(blockIdle + 2*time.Minute)
		w.endpoint(a.ID, 1) // a publication sweeps
		synctest.Wait()
		if len(w.hub.blocks.m) != 0 {
			t.Errorf("%d blocks are still there", len(w.hub.blocks.m))
		}
	})
}

// What a map costs a client to unpack does not grow with the square of its peers:
// pieces say nothing of their size, after which decoders would make exact room.
func TestPiecesDoNotTellTheirSize(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		for _, size := range []int{1, 100, 256, 257, 5000, 70000, 200000} {
			body := make([]byte, size)
			for i := range body {
				body[i] = byte(i * i >> 3)
			}
			piece := w.hub.appendPiece([]byte("before"), body)
			if string(piece[:6]) != "before" {
				t.Fatal("what was there is gone")
			}
			piece = piece[6:]
			var h zstd.Header
			if err := h.Decode(piece); err != nil {
				t.Fatal(err)
			}
			if h.HasFCS || h.SingleSegment {
				t.Errorf("%d bytes: header %+v", size, h)
			}
			frame := control.AppendFrame(nil, append(piece, piece...))
			if got := unpack(t, frame); string(got) != string(body)+string(body) {
				t.Errorf("%d bytes twice do not unpack to themselves", size)
			}
		}
	})
}
