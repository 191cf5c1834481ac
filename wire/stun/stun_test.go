package stun

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"
)

var testTx = TxID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}

const (
	vectorRequest  = "000100142112a4420102030405060708090a0b0c802200087461696c6e6f646580280004b32c370f"
	vectorResponse = "0101000c2112a4420102030405060708090a0b0c00200008000183bbea12d545"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	req := AppendRequest(nil, testTx)
	if got := hex.EncodeToString(req); got != vectorRequest {
		t.Errorf("request %s, want %s", got, vectorRequest)
	}
	if len(req) != RequestLen {
		t.Errorf("request of %d bytes, want %d", len(req), RequestLen)
	}
	if tx, err := ParseRequest(req); err != nil || tx != testTx {
		t.Errorf("ParseRequest = %x, %v", tx, err)
	}
	addr := netip.MustParseAddrPort("203.0.113.7:41641")
	for _, from := range []netip.AddrPort{addr, netip.MustParseAddrPort("[::ffff:203.0.113.7]:41641")} {
		res := AppendResponse(nil, testTx, from)
		if got := hex.EncodeToString(res); got != vectorResponse {
			t.Errorf("response to %v: %s, want %s", from, got, vectorResponse)
		}
		if tx, got, err := ParseResponse(res); err != nil || tx != testTx || got != addr {
			t.Errorf("ParseResponse = %x, %v, %v", tx, got, err)
		}
	}
}

func TestResponseIPv6(t *testing.T) {
	want := netip.MustParseAddrPort("[2001:db8::42]:65535")
	res := AppendResponse([]byte("x"), testTx, want)[1:]
	if len(res) != 44 {
		t.Fatalf("response of %d bytes, want 44", len(res))
	}
	if tx, got, err := ParseResponse(res); err != nil || tx != testTx || got != want {
		t.Errorf("ParseResponse = %x, %v, %v", tx, got, err)
	}
}

// header is a success response with the given declared attribute length.
func header(n string) string { return "0101" + n + "2112a4420102030405060708090a0b0c" }

func TestResponseTolerance(t *testing.T) {
	addr := netip.MustParseAddrPort("203.0.113.7:41641")
	const xor, plain = "0001 83bbea12d545", "0001 a2a9cb007107"
	for name, msg := range map[string]string{
		"wrong number":             header("000c") + "80200008" + xor,
		"plain only":               header("000c") + "00010008" + plain,
		"plain first, XOR wins":    header("0018") + "00010008 0001 0001 01020304" + "00200008" + xor,
		"unknown attribute padded": header("0014") + "80220003 61626300" + "00200008" + xor,
		"bytes after the end":      header("000c") + "00200008" + xor + "deadbeef00",
		"mapped into IPv6": header("0018") + "00200014 0002 83bb" +
			// 0:0:0:0:0:ffff:cb00:7107 under the cookie and the transaction ID
			"2112a442 01020304 0506f8f7 c20a7a0b",
	} {
		tx, got, err := ParseResponse(unhex(t, msg))
		if err != nil || tx != testTx || got != addr {
			t.Errorf("%s: %x, %v, %v", name, tx, got, err)
		}
	}
}

func TestResponseRefused(t *testing.T) {
	good := unhex(t, vectorResponse)
	for name, c := range map[string]struct {
		msg  []byte
		want error
	}{
		"empty":                 {nil, ErrNotSTUN},
		"short":                 {good[:19], ErrNotSTUN},
		"no cookie":             {unhex(t, "0101000c2112a4430102030405060708090a0b0c"), ErrNotSTUN},
		"top bits":              {append([]byte{0xc1}, good[1:]...), ErrNotSTUN},
		"request":               {AppendRequest(nil, testTx), ErrNotBinding},
		"error response":        {append([]byte{1, 0x11}, good[2:]...), ErrNotBinding},
		"length past the end":   {good[:len(good)-1], ErrMalformed},
		"no attribute":          {unhex(t, header("0000")), ErrMalformed},
		"attribute runs over":   {unhex(t, header("000c")+"00200009000183bbea12d545"), ErrMalformed},
		"unknown family":        {unhex(t, header("000c")+"00200008000383bbea12d545"), ErrMalformed},
		"address of three byte": {unhex(t, header("000c")+"00200007000183bbea12d545"), ErrMalformed},
		"half an attribute":     {unhex(t, header("0002")+"0020"), ErrMalformed},
	} {
		if _, _, err := ParseResponse(c.msg); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func TestRequestAcceptance(t *testing.T) {
	const bare = "00010000 2112a442 0102030405060708090a0b0c"
	if tx, err := ParseRequest(unhex(t, bare)); err != nil || tx != testTx {
		t.Errorf("bare request: %x, %v", tx, err)
	}
	bad := unhex(t, vectorRequest)
	bad[len(bad)-1] ^= 1
	for name, c := range map[string]struct {
		msg  []byte
		want error
	}{
		"wrong fingerprint": {bad, ErrMalformed},
		"cut attribute":     {unhex(t, vectorRequest)[:30], ErrMalformed},
		"response":          {unhex(t, vectorResponse), ErrNotBinding},
		"disco":             {append([]byte("TS\xf0\x9f\x92\xac"), make([]byte, 60)...), ErrNotSTUN},
	} {
		if _, err := ParseRequest(c.msg); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	buf := make([]byte, 0, 64)
	addr := netip.MustParseAddrPort("[2001:db8::42]:1")
	n := testing.AllocsPerRun(100, func() {
		if _, err := ParseRequest(AppendRequest(buf, testTx)); err != nil {
			t.Error(err)
		}
		if _, _, err := ParseResponse(AppendResponse(buf, testTx, addr)); err != nil {
			t.Error(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a round, want 0", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, vectorRequest))
	f.Add(unhex(f, vectorResponse))
	f.Add(unhex(f, header("000c")+"00010008 0001a2a9cb007107"))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		if tx, err := ParseRequest(b); err == nil && tx != TxID(b[8:20]) {
			t.Errorf("transaction %x of request %x", tx, b)
		}
		if tx, addr, err := ParseResponse(b); err == nil {
			tx2, addr2, err := ParseResponse(AppendResponse(nil, tx, addr))
			if err != nil || tx2 != tx || addr2 != addr {
				t.Errorf("%v came back as %v (%v)", addr, addr2, err)
			}
		}
		if !bytes.Equal(in, b) {
			t.Error("input was changed")
		}
	})
}

func BenchmarkRequest(b *testing.B) {
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(AppendRequest(buf, testTx)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResponse(b *testing.B) {
	buf := make([]byte, 0, 64)
	addr := netip.MustParseAddrPort("203.0.113.7:41641")
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := ParseResponse(AppendResponse(buf, testTx, addr)); err != nil {
			b.Fatal(err)
		}
	}
}
