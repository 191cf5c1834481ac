package relay

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/ginnel/ginnel/wire/key"
)

// FuzzFrame gives any bytes to the parser of every frame type and checks that what
// parses is what would be sent again.
func FuzzFrame(f *testing.F) {
	server := key.NewNode()
	k := testKey(0xab)
	info, err := AppendClientInfo(nil, key.NewNode(), server.Public(), ClientInfo{Version: 2})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range [][]byte{
		AppendKeepAlive(nil), AppendNotePreferred(nil, true), AppendWatchConns(nil),
		AppendPing(nil, [8]byte{1}), AppendServerKey(nil, k), AppendPeerGone(nil, k, GoneNotHere),
		PeerPresent{Key: k}.Append(nil), Restarting{time.Second, time.Second}.Append(nil),
		AppendSendPacket(nil, k, []byte("hi")), AppendForwardPacket(nil, k, k, []byte("hi")), info,
		AppendClosePeer(nil, k), AppendHealth(nil, "ill"), {0xff, 0xff, 0xff, 0xff, 0xff},
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		typ, n, ok := ParseHeader(b)
		if !ok {
			return
		}
		p := b[HeaderLen:]
		if uint64(n) < uint64(len(p)) {
			p = p[:n]
		}
		in := bytes.Clone(p)
		if again, ok := parseAndAppend(typ, p, server); ok {
			if min := len(again) - HeaderLen; len(p) < min || !bytes.Equal(again[HeaderLen:], p[:min]) {
				t.Errorf("frame %v: %x came back as %x", typ, p, again[HeaderLen:])
			}
		}
		if !bytes.Equal(in, p) {
			t.Error("input was changed")
		}
	})
}

// parseAndAppend parses a payload and encodes the result. It reports false for what
// does not parse, and for frames that have several encodings.
func parseAndAppend(typ FrameType, p []byte, server key.NodePrivate) ([]byte, bool) {
	switch typ {
	case FrameServerKey:
		k, err := ParseServerKey(p)
		return AppendServerKey(nil, k), err == nil
	case FrameClientInfo:
		ParseClientInfo(p, server)
	case FrameServerInfo:
		ParseServerInfo(p, server, server.Public())
	case FrameSendPacket:
		k, data, err := ParseSendPacket(p)
		return AppendSendPacket(nil, k, data), err == nil
	case FrameRecvPacket:
		k, data, err := ParseRecvPacket(p)
		return AppendRecvPacket(nil, k, data), err == nil
	case FrameForwardPacket:
		src, dst, data, err := ParseForwardPacket(p)
		return AppendForwardPacket(nil, src, dst, data), err == nil
	case FrameNotePreferred:
		ParseNotePreferred(p)
	case FramePeerGone:
		k, reason, err := ParsePeerGone(p)
		return AppendPeerGone(nil, k, reason), err == nil && len(p) > KeyLen
	case FramePeerPresent:
		ParsePeerPresent(p)
	case FrameClosePeer:
		k, err := ParseClosePeer(p)
		return AppendClosePeer(nil, k), err == nil
	case FramePing, FramePong:
		data, err := ParsePing(p)
		return AppendPing(nil, data), err == nil
	case FrameRestarting:
		r, err := ParseRestarting(p)
		return r.Append(nil), err == nil
	}
	return nil, false
}

// FuzzNames reads any text as a certificate's common name and as a pin: what is
// taken is written again as the same, but for the case of digits.
func FuzzNames(f *testing.F) {
	f.Add(MetaCommonName(testKey(1)))
	f.Add(FormatPin([32]byte{1}))
	f.Add("sha256-raw:")
	f.Add("relay.example")
	f.Fuzz(func(t *testing.T, text string) {
		if k, ok := ParseMetaCommonName(text); ok && !strings.EqualFold(MetaCommonName(k), text) {
			t.Errorf("%q is taken for the key %v", text, k)
		}
		sum, isPin, err := ParsePin(text)
		if isPin != strings.HasPrefix(text, PinPrefix) || !isPin && err != nil {
			t.Errorf("%q: is a pin %v, error %v", text, isPin, err)
		}
		if isPin && err == nil && !strings.EqualFold(FormatPin(sum), text) {
			t.Errorf("pin %q read as %x", text, sum)
		}
	})
}
