package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ginnel/ginnel/wire/key"
	"github.com/ginnel/ginnel/wire/relay"
)

func newReader(nc net.Conn) *bufio.Reader { return bufio.NewReader(nc) }

var info2 = relay.ServerInfo{Version: 2}

func TestMessages(t *testing.T) {
	c, r := pair(t, info2, Options{})
	peer := key.NewNode().Public()
	present := relay.PeerPresent{Key: peer, Addr: netip.MustParseAddrPort("203.0.113.7:1"), Flags: relay.PresentMesh}
	big := bytes.Repeat([]byte{7}, relay.MaxClientFrame-relay.KeyLen)
	var b []byte
	b = relay.AppendRecvPacket(b, peer, []byte("hi"))
	b = relay.AppendFrame(b, relay.FrameRecvPacket, make([]byte, 31)) // short frames are skipped
	b = relay.AppendFrame(b, relay.FramePeerGone, make([]byte, 31))
	b = relay.AppendFrame(b, relay.FramePing, make([]byte, 7))
	b = relay.AppendFrame(b, 0x99, make([]byte, 5000)) // and unknown ones
	b = relay.AppendServerKey(b, peer)
	b = relay.AppendKeepAlive(b)
	b = relay.AppendPeerGone(b, peer, relay.GoneNotHere)
	b = relay.AppendFrame(b, relay.FramePeerGone, peer.AppendTo(nil))
	b = present.Append(b)
	b = relay.AppendHealth(b, "ill")
	b = relay.Restarting{ReconnectIn: time.Second, TryFor: 2 * time.Second}.Append(b)
	b = relay.AppendRecvPacket(b, peer, big)
	b = relay.AppendRecvPacket(b, peer, []byte("after"))
	go r.send(b)
	for i, want := range []Message{
		{Kind: KindPacket, Peer: peer, Data: []byte("hi")},
		{Kind: KindKeepAlive},
		{Kind: KindPeerGone, Peer: peer, Reason: relay.GoneNotHere},
		{Kind: KindPeerGone, Peer: peer, Reason: relay.GoneDisconnected},
		{Kind: KindPeerPresent, Peer: peer, Addr: present.Addr, Flags: present.Flags},
		{Kind: KindHealth, Data: []byte("ill")},
		{Kind: KindRestarting, Restarting: relay.Restarting{ReconnectIn: time.Second, TryFor: 2 * time.Second}},
		{Kind: KindPacket, Peer: peer, Data: big},
		{Kind: KindPacket, Peer: peer, Data: []byte("after")},
	} {
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(m.Data, want.Data) {
			t.Errorf("message %d: data %.20q, want %.20q", i, m.Data, want.Data)
		}
		m.Data, want.Data = nil, nil
		if fmt.Sprint(m) != fmt.Sprint(want) {
			t.Errorf("message %d: %+v, want %+v", i, m, want)
		}
	}
}

func TestFatalFrames(t *testing.T) {
	for name, b := range map[string][]byte{
		"too long":       relay.AppendHeader(nil, relay.FrameRecvPacket, relay.MaxClientFrame+1),
		"bad ServerInfo": relay.AppendFrame(nil, relay.FrameServerInfo, make([]byte, 60)),
		"cut":            {5, 0, 0},
	} {
		c, r := pair(t, info2, Options{})
		go func() {
			r.nc.Write(b)
			r.nc.Close()
		}()
		if m, err := c.Recv(); err == nil {
			t.Errorf("%s: got %+v", name, m)
		}
		if err := c.SendBatch(key.NewNode().Public(), [][]byte{{1}}); err == nil {
			t.Errorf("%s: the connection can still be used", name)
		}
	}
}

// TestBuffered gathers messages as long as Buffered says that they stay valid.
func TestBuffered(t *testing.T) {
	c, r := pair(t, info2, Options{})
	peer := key.NewNode().Public()
	const n = 20
	var b []byte
	for i := range n {
		b = relay.AppendRecvPacket(b, peer, bytes.Repeat([]byte{byte(i)}, 1000))
	}
	go r.send(b)
	var batch [][]byte
	for i := range n {
		m, err := c.Recv()
		if err != nil {
			t.Fatal(err)
		}
		batch = append(batch, m.Data)
		if i < n-1 != c.Buffered() {
			t.Fatalf("Buffered is %v after message %d", c.Buffered(), i)
		}
	}
	for i, data := range batch {
		if !bytes.Equal(data, bytes.Repeat([]byte{byte(i)}, 1000)) {
			t.Errorf("message %d was overwritten", i)
		}
	}
}

func TestSend(t *testing.T) {
	c, r := pair(t, info2, Options{})
	a, b := key.NewNode().Public(), key.NewNode().Public()
	big := bytes.Repeat([]byte{3}, relay.MaxPacketData)
	done := make(chan error, 1)
	go func() {
		done <- errors.Join(
			c.SendBatch(a, [][]byte{[]byte("1"), {}, big}),
			c.SendPackets([]Packet{{a, []byte("2")}, {b, []byte("3")}}),
			c.NotePreferred(true), c.NotePreferred(false), c.WatchConns(), c.ClosePeer(b))
	}()
	for _, want := range [][]byte{
		relay.AppendSendPacket(nil, a, []byte("1")), relay.AppendSendPacket(nil, a, nil), relay.AppendSendPacket(nil, a, big),
		relay.AppendSendPacket(nil, a, []byte("2")), relay.AppendSendPacket(nil, b, []byte("3")),
		relay.AppendNotePreferred(nil, true), relay.AppendNotePreferred(nil, false),
		relay.AppendWatchConns(nil), relay.AppendClosePeer(nil, b),
	} {
		r.expect(want)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	tooLong := [][]byte{[]byte("not sent either"), make([]byte, relay.MaxPacketData+1)}
	if err := c.SendBatch(a, tooLong); !errors.Is(err, ErrTooLong) {
		t.Errorf("packet over the limit: %v", err)
	}
	if err := c.SendPackets([]Packet{{a, tooLong[1]}}); !errors.Is(err, ErrTooLong) {
		t.Errorf("packet over the limit: %v", err)
	}
	go c.NotePreferred(true)
	r.expect(relay.AppendNotePreferred(nil, true)) // and nothing of the above
}

func TestPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := pair(t, info2, Options{CanAckPings: true})
		go func() {
			for {
				if _, err := c.Recv(); err != nil {
					return
				}
			}
		}()
		r.send(relay.AppendPing(nil, [8]byte{1, 2}))
		r.expect(relay.AppendPong(nil, [8]byte{1, 2}))
		go func() {
			_, payload := r.next()
			time.Sleep(30 * time.Millisecond)
			r.send(relay.AppendFrame(nil, relay.FramePong, payload))
		}()
		if d, err := c.Ping(context.Background()); err != nil || d != 30*time.Millisecond {
			t.Errorf("ping %v, %v", d, err)
		}
		go func() {
			r.next() // and no answer
			r.next() // but the end
			r.nc.Close()
		}()
		start := time.Now()
		if _, err := c.Ping(context.Background()); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != maxPingTimeout {
			t.Errorf("unanswered ping: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		if _, err := c.Ping(context.Background()); !errors.Is(err, errEnded) || time.Since(start) != 0 {
			t.Errorf("ping on a connection that ends: %v after %v", err, time.Since(start))
		}
		if len(c.pings) != 0 {
			t.Error("pings are left over")
		}
		c.Close()
	})
}

func TestReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, r := pair(t, info2, Options{})
		start := time.Now()
		go func() {
			time.Sleep(119 * time.Second)
			r.send(relay.AppendKeepAlive(nil))
		}()
		if m, err := c.Recv(); err != nil || m.Kind != KindKeepAlive {
			t.Fatalf("%+v, %v", m, err)
		}
		_, err := c.Recv()
		if d := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || d != 119*time.Second+readTimeout {
			t.Errorf("%v after %v", err, d)
		}
	})
}

func TestRateLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cost = relay.HeaderLen + relay.KeyLen + 63 // 100 bytes
		c, r := pair(t, relay.ServerInfo{Version: 2, TokenBucketBytesPerSecond: cost, TokenBucketBytesBurst: 2 * cost}, Options{})
		peer := key.NewNode().Public()
		batch := func(from byte) (pkts [][]byte) {
			for i := range byte(4) {
				pkts = append(pkts, bytes.Repeat([]byte{from + i}, 63))
			}
			return pkts
		}
		send := func(pkts [][]byte) {
			go func() {
				if err := c.SendBatch(peer, pkts); err != nil {
					t.Error(err)
				}
			}()
		}
		send(batch(0)) // the burst goes, the rest is dropped without a word
		r.expect(relay.AppendSendPacket(nil, peer, batch(0)[0]))
		r.expect(relay.AppendSendPacket(nil, peer, batch(0)[1]))
		synctest.Wait()
		time.Sleep(time.Second)
		send(batch(10))
		r.expect(relay.AppendSendPacket(nil, peer, batch(10)[0]))
		synctest.Wait()
		// A later word of the relay replaces the limit.
		go r.sendInfo(info2)
		if m, err := c.Recv(); err != nil || m.Kind != KindConnected {
			t.Fatal(m, err)
		}
		send(batch(20))
		for _, p := range batch(20) {
			r.expect(relay.AppendSendPacket(nil, peer, p))
		}
	})
}

func TestSendAllocates(t *testing.T) {
	c, r := pair(t, info2, Options{})
	go func() {
		buf := make([]byte, 64<<10)
		for {
			if _, err := r.nc.Read(buf); err != nil {
				return
			}
		}
	}()
	peer := key.NewNode().Public()
	pkts := [][]byte{make([]byte, 1300), make([]byte, 1300)}
	n := testing.AllocsPerRun(100, func() {
		if err := c.SendBatch(peer, pkts); err != nil {
			t.Error(err)
		}
	})
	if n >= 1 {
		t.Errorf("%v allocations a batch, want 0", n)
	}
}

// FuzzRecv gives the receiver any bytes from a relay, in pieces of any size.
func FuzzRecv(f *testing.F) {
	peer := key.NewNode().Public()
	f.Add(relay.AppendRecvPacket(relay.AppendKeepAlive(nil), peer, []byte("hi")), 3)
	f.Add(relay.AppendPing(relay.AppendPeerGone(nil, peer, 1), [8]byte{}), 100)
	f.Add([]byte{5, 0, 0x10, 0, 0, 1, 2, 3}, 1)
	f.Add(relay.Restarting{}.Append(relay.AppendHealth(nil, "x")), 7)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		ours, theirs := net.Pipe()
		c := &Conn{nc: ours, raw: ours, priv: key.NewNode(), ended: make(chan struct{})}
		o := Options{}
		o.fill()
		c.opts = o
		c.in.init()
		total := len(b)
		go func() {
			defer theirs.Close()
			n := int(uint(cut)%5000) + 1
			for len(b) > 0 {
				m := min(n, len(b))
				if _, err := theirs.Write(b[:m]); err != nil {
					return
				}
				b = b[m:]
			}
		}()
		for range total + 1 {
			m, err := c.Recv()
			if err != nil {
				return
			}
			if m.Kind == 0 {
				t.Fatal("message without a kind")
			}
		}
		t.Fatal("more messages than bytes")
	})
}
