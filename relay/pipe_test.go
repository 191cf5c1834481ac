package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	wire "github.com/ginnel/ginnel/wire/relay"
)

// pipeClient speaks frames by hand over an unbuffered pipe: what it does not read
// blocks the relay's writer at once.
type pipeClient struct {
	t    testing.TB
	nc   net.Conn
	priv key.NodePrivate
	key  key.NodePublic
}

// newServer makes a relay that ends with the test.
func newServer(t testing.TB, cfg Config) *Server {
	t.Helper()
	s, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// open connects a pipe to s and reads the server key.
func open(t testing.TB, s *Server, priv key.NodePrivate, addr string) *pipeClient {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close() })
	st := start{}
	if addr != "" {
		st.addr = netip.MustParseAddrPort(addr)
	}
	s.launch(theirs, st)
	p := &pipeClient{t: t, nc: ours, priv: priv, key: priv.Public()}
	typ, payload := p.next()
	if k, err := wire.ParseServerKey(payload); typ != wire.FrameServerKey || err != nil || k != s.PublicKey() {
		t.Fatalf("first frame %v, key %v, %v", typ, k, err)
	}
	return p
}

// connect connects a client and introduces it.
func connect(t testing.TB, s *Server, priv key.NodePrivate, info wire.ClientInfo) *pipeClient {
	t.Helper()
	p := open(t, s, priv, "203.0.113.7:41641")
	info.Version = wire.ProtocolVersion
	hello, err := wire.AppendClientInfo(nil, priv, s.PublicKey(), info)
	if err != nil {
		t.Fatal(err)
	}
	p.send(hello)
	p.expectServerInfo(s)
	return p
}

// plain connects an ordinary client with a new key.
func plain(t testing.TB, s *Server) *pipeClient {
	t.Helper()
	return connect(t, s, key.NewNode(), wire.ClientInfo{})
}

func (p *pipeClient) expectServerInfo(s *Server) {
	p.t.Helper()
	typ, payload := p.next()
	info, err := wire.ParseServerInfo(payload, p.priv, s.PublicKey())
	if typ != wire.FrameServerInfo || err != nil || info.Version != wire.ProtocolVersion {
		p.t.Fatalf("second frame %v, %+v, %v", typ, info, err)
	}
}

// send writes bytes, which the relay must take.
func (p *pipeClient) send(b []byte) {
	p.t.Helper()
	p.nc.SetWriteDeadline(time.Now().Add(10 * time.Second))
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// packet sends data to another client.
func (p *pipeClient) packet(to key.NodePublic, data []byte) {
	p.t.Helper()
	p.send(wire.AppendSendPacket(nil, to, data))
}

// read reads one frame.
func (p *pipeClient) read() (wire.FrameType, []byte, error) {
	head := make([]byte, wire.HeaderLen)
	if _, err := io.ReadFull(p.nc, head); err != nil {
		return 0, nil, err
	}
	typ, n, _ := wire.ParseHeader(head)
	payload := make([]byte, n)
	_, err := io.ReadFull(p.nc, payload)
	return typ, payload, err
}

// next reads one frame, which must come.
func (p *pipeClient) next() (wire.FrameType, []byte) {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(90 * time.Second))
	typ, payload, err := p.read()
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return typ, payload
}

// expect reads one frame, which must be this one.
func (p *pipeClient) expect(frame []byte) {
	p.t.Helper()
	typ, payload := p.next()
	if got := wire.AppendFrame(nil, typ, payload); !bytes.Equal(got, frame) {
		p.t.Fatalf("got frame %.80x, want %.80x", got, frame)
	}
}

// expectPacket reads one frame, which must be data from a peer.
func (p *pipeClient) expectPacket(from key.NodePublic, data []byte) {
	p.t.Helper()
	p.expect(wire.AppendRecvPacket(nil, from, data))
}

// stick sends data from another client and reads only the header of its frame, so
// that the relay's writer is stuck in that frame until the returned function has
// read the rest.
func (p *pipeClient) stick(from *pipeClient, data []byte) (rest func()) {
	p.t.Helper()
	from.packet(p.key, data)
	head := make([]byte, wire.HeaderLen)
	if _, err := io.ReadFull(p.nc, head); err != nil {
		p.t.Fatal(err)
	}
	return func() {
		p.t.Helper()
		body := make([]byte, wire.KeyLen+len(data))
		if _, err := io.ReadFull(p.nc, body); err != nil || !bytes.Equal(body[wire.KeyLen:], data) {
			p.t.Fatalf("rest of the frame: %.80x, %v", body, err)
		}
	}
}

// sync makes sure that the relay has taken all that was sent, and that nothing is on
// the way back.
func (p *pipeClient) sync() {
	p.t.Helper()
	data := [8]byte{9, 9, 9}
	p.send(wire.AppendPing(nil, data))
	p.expect(wire.AppendPong(nil, data))
}

// expectClosed reads until the relay closes the connection.
func (p *pipeClient) expectClosed() {
	p.t.Helper()
	p.nc.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		_, _, err := p.read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			p.t.Fatal("the relay kept the connection")
		}
		if err != nil {
			return
		}
	}
}

// disco is data that looks like a path-discovery message.
func disco(tail byte) []byte {
	return append(append([]byte("TS\xf0\x9f\x92\xac"), make([]byte, 60)...), tail)
}
