package relay

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// introduce sends a ClientInfo with this sealed text.
func introduce(p *pipeClient, s *Server, text string) {
	p.t.Helper()
	box := p.priv.SealTo(s.PublicKey(), []byte(text))
	p.send(wire.AppendFrame(nil, wire.FrameClientInfo, append(p.key.AppendTo(nil), box...)))
}

func TestClientInfo(t *testing.T) {
	s := newServer(t, Config{MeshKey: key.NewMeshKey()})
	for _, text := range []string{
		`{}`, `{"version":2,"other":{"x":[]}}`, `{"can_ack_pings":true,"mesh_key":"none","version":2}`,
		`{"meshKey":"` + strings.Repeat("ab", 32) + `"}`, // a wrong one: an ordinary client
	} {
		p := open(t, s, key.NewNode(), "")
		introduce(p, s, text)
		p.expectServerInfo(s)
		p.sync()
	}
	for _, text := range []string{`{"meshKey":"none"}`, `{"meshKey":"00"}`, `nonsense`, ``} {
		p := open(t, s, key.NewNode(), "")
		introduce(p, s, text)
		p.expectClosed()
	}
}

func TestClientInfoFrames(t *testing.T) {
	s := newServer(t, Config{})
	frame, err := wire.AppendClientInfo(nil, key.NewNode(), s.PublicKey(), wire.ClientInfo{})
	if err != nil {
		t.Fatal(err)
	}
	spoilt := bytes.Clone(frame)
	spoilt[len(spoilt)-1] ^= 1
	otherKey := bytes.Clone(frame)
	otherKey[wire.HeaderLen] ^= 1
	for name, b := range map[string][]byte{
		"bad box":        spoilt,
		"other key":      otherKey,
		"another frame":  wire.AppendKeepAlive(nil),
		"too short":      wire.AppendFrame(nil, wire.FrameClientInfo, make([]byte, 55)),
		"too long":       wire.AppendHeader(nil, wire.FrameClientInfo, wire.MaxClientInfo+1),
		"far too long":   wire.AppendHeader(nil, wire.FrameClientInfo, 1<<31),
		"zero key":       wire.AppendFrame(nil, wire.FrameClientInfo, make([]byte, 100)),
		"another prefix": []byte("GET / HTTP/1.1\r\n\r\n"),
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, s, key.NewNode(), "")
			p.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
			p.nc.Write(b) // the relay may close before it has read all
			p.expectClosed()
		})
	}
	// The longest allowed is read to its end and judged by its box alone.
	p := open(t, s, key.NewNode(), "")
	pad := strings.Repeat(" ", wire.MaxClientInfo-wire.MinClientInfo-16-len(`{}`))
	introduce(p, s, `{}`+pad)
	p.expectServerInfo(s)
}

func TestServerInfoIsFirst(t *testing.T) {
	mesh := key.NewMeshKey()
	s := newServer(t, Config{MeshKey: mesh})
	plain(t, s)
	p := open(t, s, key.NewNode(), "")
	hello, err := wire.AppendClientInfo(nil, p.priv, s.PublicKey(), wire.ClientInfo{MeshKey: mesh})
	if err != nil {
		t.Fatal(err)
	}
	hello = wire.AppendWatchConns(hello)
	hello = wire.AppendSendPacket(hello, p.key, disco(1))
	hello = wire.AppendPing(hello, [8]byte{})
	p.send(hello)
	p.expectServerInfo(s)
	var got []wire.FrameType
	for range 4 {
		typ, _ := p.next()
		got = append(got, typ)
	}
	seen := make(map[wire.FrameType]int)
	for _, typ := range got {
		seen[typ]++
	}
	if seen[wire.FramePeerPresent] != 2 || seen[wire.FrameRecvPacket] != 1 || seen[wire.FramePong] != 1 {
		t.Errorf("frames after ServerInfo: %v", got)
	}
}

func TestHandshakeTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, Config{})
		p := open(t, s, key.NewNode(), "")
		before := time.Now()
		p.nc.SetReadDeadline(time.Now().Add(time.Minute))
		if _, _, err := p.read(); err == nil {
			t.Fatal("got a frame without an introduction")
		}
		if d := time.Since(before); d != handshakeTimeout {
			t.Errorf("closed after %v, want %v", d, handshakeTimeout)
		}
		if s.stats.refused.Load() != 1 {
			t.Error("the failed handshake was not counted")
		}
	})
}

// TestLengths sends each frame at its limits and one beyond.
func TestLengths(t *testing.T) {
	mesh := key.NewMeshKey()
	s := newServer(t, Config{MeshKey: mesh})
	for _, c := range []struct {
		typ  wire.FrameType
		good []int
		bad  []int
	}{
		{wire.FrameSendPacket, []int{32, 65568}, []int{0, 31, 65569, 1 << 31}},
		{wire.FrameForwardPacket, []int{64, 65600}, []int{0, 63, 65601}},
		{wire.FrameNotePreferred, []int{1}, []int{0, 2}},
		{wire.FrameWatchConns, nil, []int{1}},
		{wire.FrameClosePeer, []int{32}, []int{0, 31, 33}},
		{wire.FramePing, nil, []int{0, 7, 1001}},
		{wire.FrameClientInfo, []int{0, 100}, nil},
		{wire.FramePong, []int{0, 8}, nil},
		{0xee, []int{0, 1, 4096, wire.MaxUnknownFrame}, []int{wire.MaxUnknownFrame + 1, 1<<32 - 1}},
	} {
		for _, n := range c.good {
			p := connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: mesh})
			p.send(wire.AppendFrame(nil, c.typ, make([]byte, n)))
			p.sync()
			p.nc.Close()
		}
		for _, n := range c.bad {
			p := connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: mesh})
			p.send(wire.AppendHeader(nil, c.typ, n))
			p.expectClosed()
		}
	}
	p := plain(t, s)
	for _, n := range []int{8, 1000} { // longer pings are answered with their first eight bytes
		p.send(wire.AppendFrame(nil, wire.FramePing, bytes.Repeat([]byte{7}, n)))
		p.expect(wire.AppendPong(nil, [8]byte{7, 7, 7, 7, 7, 7, 7, 7}))
	}
}

func TestMeshFramesNeedTheKey(t *testing.T) {
	for name, cfg := range map[string]Config{"no mesh": {}, "mesh": {MeshKey: key.NewMeshKey()}} {
		s := newServer(t, cfg)
		for _, frame := range [][]byte{
			wire.AppendWatchConns(nil),
			wire.AppendClosePeer(nil, s.PublicKey()),
			wire.AppendForwardPacket(nil, s.PublicKey(), s.PublicKey(), []byte("hi")),
		} {
			p := connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: key.NewMeshKey()})
			p.send(frame)
			p.expectClosed()
			t.Logf("%s: frame 0x%02x closed the connection", name, frame[0])
		}
	}
}

func TestVerify(t *testing.T) {
	good, errNo := key.NewNode(), errors.New("no")
	mesh := key.NewMeshKey()
	s := newServer(t, Config{MeshKey: mesh, Verify: func(ctx context.Context, k key.NodePublic, from netip.Addr) error {
		if _, ok := ctx.Deadline(); !ok {
			t.Error("no deadline for the check")
		}
		if from != netip.MustParseAddr("203.0.113.7") {
			t.Errorf("check of %v from %v", k, from)
		}
		if k != good.Public() {
			return errNo
		}
		return nil
	}})
	connect(t, s, good, wire.ClientInfo{}).sync()
	connect(t, s, key.NewNode(), wire.ClientInfo{MeshKey: mesh}).sync()
	p := open(t, s, key.NewNode(), "203.0.113.7:1")
	introduce(p, s, `{}`)
	p.expectClosed()
}

func TestVerifyURL(t *testing.T) {
	client := key.NewNode().Public()
	answer := func(status int, body string) *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got := new(bytes.Buffer)
			got.ReadFrom(r.Body)
			want := `{"NodePublic":"` + client.String() + `","Source":"203.0.113.7"}`
			if r.Method != http.MethodPost || got.String() != want {
				t.Errorf("asked %s %s, want POST %s", r.Method, got, want)
			}
			w.WriteHeader(status)
			w.Write([]byte(body))
		}))
	}
	for _, c := range []struct {
		name   string
		status int
		body   string
		ok     bool
	}{
		{"allow", 200, `{"Allow":true}`, true},
		{"deny", 200, `{"Allow":false}`, false},
		{"empty object", 200, `{}`, false},
		{"error", 500, `{"Allow":true}`, false},
		{"not found", 404, `{"Allow":true}`, false},
		{"bad JSON", 200, `yes`, false},
		{"verdict too far in", 200, strings.Repeat(" ", maxVerifyResponse) + `{"Allow":true}`, false},
	} {
		srv := answer(c.status, c.body)
		for _, failOpen := range []bool{true, false} {
			err := VerifyURL(srv.URL, failOpen, nil)(context.Background(), client, netip.MustParseAddr("203.0.113.7"))
			if (err == nil) != c.ok {
				t.Errorf("%s, fail-open %v: %v", c.name, failOpen, err)
			}
		}
		srv.Close()
	}
	srv := answer(200, "")
	srv.Close() // nobody there now
	for _, failOpen := range []bool{true, false} {
		err := VerifyURL(srv.URL, failOpen, nil)(context.Background(), client, netip.Addr{})
		if (err == nil) != failOpen {
			t.Errorf("unreachable, fail-open %v: %v", failOpen, err)
		}
	}
}

func TestVerifyURLTimeout(t *testing.T) {
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	for _, failOpen := range []bool{true, false} {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		err := VerifyURL(srv.URL, failOpen, nil)(ctx, key.NewNode().Public(), netip.Addr{})
		cancel()
		if (err == nil) != failOpen {
			t.Errorf("timeout, fail-open %v: %v", failOpen, err)
		}
	}
}
